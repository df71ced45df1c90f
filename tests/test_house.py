"""The house style that a machine can count: sizes, names that mean one thing, nothing swallowed, no bare sleeps."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.conftest import ROOT

PRODUCT = ("outgoing", "worker", "speech_server", "endpoint", "local_runpod")
HOUSE = (*PRODUCT, "tools", "benchmarks")
LONGEST_FUNCTION, LONGEST_HANDLER, MOST_MODULES, LONGEST_MEDIAN = 40, 80, 14, 110

# Exits that swallow, each because somebody else is told.
SWALLOWS = {"speech_server/engines/queue/outcomes.py": "a step's error goes to those who wait for its works"}
# Files of tests that wait by the clock, and what for.
BARE_SLEEPS = {
    "tests/worker/server/test_supervisor.py": "a child's own pace: it downloads for a second",
    "tests/worker/server/one_loop_server.py": "the fault this server is for",
    "tests/local_runpod/test_processes.py": "a child that does not end by itself",
    "tests/speech_server/commands/test_connections.py": "clients that are slow on purpose",
    "tests/speech_server/models/library/test_library.py": "an interval that must be over",
    "tests/speech_server/models/test_loader.py": "a time in which a model must not leave, or may be loaded",
    "tests/worker/job/test_media.py": "a download that must not end",
    "tests/worker/platform/test_sdk.py": "a poll that must not begin",
}


def files(*rooms: str) -> Iterator[tuple[str, str]]:
    """Name and text."""
    for path in [ROOT / "handler.py", *(path for room in rooms for path in sorted((ROOT / room).rglob("*.py")))]:
        yield str(path.relative_to(ROOT)), path.read_text()


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_functions_fit_on_a_screen():
    long = {
        f"{name}:{function.name}": lines
        for name, text in files(*HOUSE)
        for function in functions(ast.parse(text))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > LONGEST_FUNCTION
    }
    assert long == {}


def test_files_are_short_and_the_handler_is_shorter():
    lengths = {name: len(text.splitlines()) for name, text in files(*PRODUCT)}
    assert median(lengths.values()) <= LONGEST_MEDIAN
    assert lengths["handler.py"] <= LONGEST_HANDLER


def test_no_folder_has_more_modules_than_one_remembers():
    modules = Counter(str(Path(name).parent) for name, _ in files(*HOUSE) if not name.endswith("__init__.py"))
    assert {folder: count for folder, count in modules.items() if count > MOST_MODULES} == {}


def test_a_class_name_means_one_thing_in_a_room():
    homes = sorted(
        (room, node.name, name)
        for room in PRODUCT
        for name, text in files(room)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and name != "handler.py"
    )
    assert [(one, other) for one, other in pairwise(homes) if one[:2] == other[:2]] == []


def test_no_exit_swallows_what_happened():
    swallowing = {
        name
        for name, text in files(*PRODUCT)
        for function in functions(ast.parse(text))
        if function.name in ("__exit__", "__aexit__")
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) not in ("None", "False")
    }
    assert swallowing == set(SWALLOWS)


def test_what_is_private_to_a_library_is_used_with_its_reason():
    """A name with an underscore that no file of ours defines is another's, and may go with any release of it."""
    ours = {
        name
        for _, text in files(*HOUSE)
        for node in ast.walk(ast.parse(text))
        for name in (
            [node.attr] if isinstance(node, ast.Attribute) and is_self(node.value) else [getattr(node, "name", "")]
        )
    }
    bare = [
        f"{name}:{node.lineno}"
        for name, text in files(*PRODUCT)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and re.match("_[a-z]", node.attr)
        and node.attr not in ours | {"_exit"}  # os._exit is public
        and not explained(text.splitlines(), node.lineno)
    ]
    assert bare == []


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def explained(lines: list[str], number: int) -> bool:
    """By a comment on the line, or on one of the four above it."""
    return any("#" in line for line in lines[max(0, number - 5) : number])


def test_tests_wait_for_conditions_not_for_the_clock():
    """A sleep stands in the body of a loop that asks, or is one of nothing, which lets others run."""
    bare = {
        name
        for name, text in files("tests")
        for node, loops in with_loops(ast.parse(text))
        if isinstance(node, ast.Call)
        and re.fullmatch(r"(time|asyncio|anyio)\.sleep", ast.unparse(node.func))
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value
        and not loops
    }
    assert bare <= set(BARE_SLEEPS)


def with_loops(node: ast.AST, loops: int = 0) -> Iterator[tuple[ast.AST, int]]:
    yield node, loops
    for child in ast.iter_child_nodes(node):
        yield from with_loops(child, loops + isinstance(node, ast.While | ast.For | ast.AsyncFor))
