"""The documents hold together: links lead somewhere, jobs are jobs, programs compile, commands have those flags."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoint import deploy
from speech_server import errors as server_errors
from tests.conftest import ROOT
from worker import errors as worker_errors
from worker.job.parse import parse_job

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(where, text) of each fenced block of one language; indented ones too."""
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(rf"^( *)```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
            line = text[: found.start()].count("\n") + 1
            yield f"{page.name}:{line}", re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """GitHub's: lower case, punctuation away, spaces to hyphens."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def jobs() -> list[tuple[str, str]]:
    inline = [
        (f"{page.name}: {found[:60]}", f'{{"input": {found}}}')
        for page in PAGES
        for found in re.findall(r'`(\{"(?:method|path)": .*?\})`', page.read_text())
    ]
    posted = [
        (where, found)
        for where, text in blocks("bash")
        for found in re.findall(r"-d '(\{\"input\".*?)'", text, re.DOTALL)
    ]
    return [*((where, text) for where, text in blocks("json") if text.startswith('{"input"')), *inline, *posted]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name) if name else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


def test_there_are_jobs_to_look_at():
    assert len(jobs()) > 15


@pytest.mark.parametrize(("where", "text"), jobs(), ids=lambda value: value[:70] if ":" in value[:40] else "")
def test_a_job_in_the_documents_is_a_job(where: str, text: str):
    given = json.loads(text)
    if given["input"] == {"...": "..."}:  # about what stands beside it
        given["input"] = {"path": "/health"}
    parse_job({"id": "docs", **given})


@pytest.mark.parametrize(("where", "text"), list(blocks("python")), ids=lambda value: value if len(value) < 40 else "")
def test_a_program_in_the_documents_compiles(where: str, text: str):
    ast.parse(text)


def test_the_commands_in_the_documents_have_those_flags():
    parser = argparse.ArgumentParser()
    deploy.add_arguments(parser)
    known = {flag for action in parser._actions for flag in action.option_strings}
    commands = [found for page in PAGES for found in re.findall(r"endpoint deploy((?:[^`\n]|\\\n)*)", page.read_text())]
    used = {flag for command in commands for flag in re.findall(r"--[a-z][a-z-]*", command)}
    assert used
    assert used - known == set()


def test_every_error_code_is_explained():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    explained = set(re.findall(r"`([a-z_]+)`", page))
    kinds = [kind for module in (worker_errors, server_errors) for kind in vars(module).values()]
    codes = {kind.code for kind in kinds if isinstance(kind, type) and isinstance(getattr(kind, "code", None), str)}
    assert codes - explained == set()


def test_what_security_claims_is_kept_by_tests_that_exist():
    page = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 20
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (file := ROOT / "tests" / path).exists() or f"def {name}" not in file.read_text()
    ]
    assert missing == []
