"""The environment is the lock's, to the version; and the Pythons the README promises are those the tools look for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.locks import pinned, requirements

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
TOOL = ROOT / "tools/pythons"
SEED = {"pip", "setuptools"}  # what python -m venv puts into an environment


def test_what_is_installed_is_what_the_lock_says():
    installed = {canonicalize_name(found.name): found.version for found in distributions()}
    assert {name: version for name, version in installed.items() if name not in SEED} == pinned(
        ROOT / "requirements/dev.txt"
    )


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_python_gets_the_same_version_and_every_line_has_its_hash(lock: Path):
    names = [canonicalize_name(row.name) for row in requirements(lock)]
    assert [name for name in names if names.count(name) > 1] == []
    assert len(re.findall(r"==.*\\\n(?=\s+--hash=sha256:)", lock.read_text())) == len(names)


def test_the_locks_agree_on_versions():
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        if lock.name == "runtime.txt":  # beside the others, not with them
            continue
        for name, version in pinned(lock).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def supported() -> list[str]:
    return re.search(r'versions="([\d. ]+)"', TOOL.read_text()).group(1).split()


def test_the_supported_pythons_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = [f"3.{minor}" for minor in range(8, 30)]
    assert supported() == list(SpecifierSet(project["requires-python"]).filter(every))
    assert (
        re.search(r'python: \["([^\]]+)"\]', (ROOT / ".github/workflows/checks.yml").read_text()).group(1).split('", "')
        == supported()
    )
    assert f"Python {supported()[0]} to {supported()[-1]}" in (ROOT / "README.md").read_text()


def look(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """tools/pythons where the named folder comes first on the PATH, and pyenv has nothing."""
    env = {**os.environ, "PATH": f"{path}:/usr/bin:/bin", "PYENV_ROOT": str(path / "pyenv")}
    return subprocess.run([TOOL, *arguments], env=env, capture_output=True, text=True)


def stand_in(folder: Path, version: str) -> Path:
    """A python3 that says it is another version, and runs nothing."""
    python = folder / "python3"
    python.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" || exit 1\n')
    python.chmod(0o755)
    return python


@pytest.fixture
def this_python(tmp_path: Path) -> str:
    """The Python that runs the tests is the only one of its version on the PATH: pythonX.Y."""
    name = "python{}.{}".format(*sys.version_info)
    (tmp_path / name).symlink_to(sys.executable)
    return name


def test_python3_is_taken_where_it_fits(tmp_path: Path):
    (tmp_path / "python3").symlink_to(sys.executable)
    chosen = look(tmp_path, "choose")
    assert (chosen.stdout.strip(), chosen.stderr) == (str(tmp_path / "python3"), "")


@pytest.mark.parametrize("version", ["3.10.9", "3.99.0"])
def test_a_python3_that_does_not_fit_gives_way_to_the_newest_that_does(tmp_path: Path, this_python: str, version: str):
    stand_in(tmp_path, version)
    found = look(tmp_path).stdout.splitlines()
    chosen = look(tmp_path, "choose")
    assert found
    assert chosen.stdout.strip() == found[-1].split()[1]
    assert f"python3 is Python {version}, which does not fit: taking Python " in chosen.stderr


def test_a_named_python_that_does_not_fit_is_refused_with_those_that_do(tmp_path: Path, this_python: str):
    refused = look(tmp_path, "check", str(stand_in(tmp_path, "3.99.0")))
    assert refused.returncode == 1
    assert re.fullmatch(
        r".*python3 is Python 3\.99\.0: take one of Python 3\.11 .* found here: .*\n", refused.stderr
    ), refused.stderr
