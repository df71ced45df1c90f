"""The memory models may take, where a container allows less than the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speech_server.app import compose
from speech_server.engines.container_memory import container_memory, model_budget
from speech_server.settings import Settings

PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
GB = 1_000_000_000


def v2(folder: Path, limit: str) -> Path:
    (folder / "memory.max").write_text(limit)
    return folder


def v1(folder: Path, limit: str) -> Path:
    (folder / "memory").mkdir()
    (folder / "memory" / "memory.limit_in_bytes").write_text(limit)
    return folder


@pytest.mark.parametrize("version", [v1, v2])
def test_a_containers_limit_is_its_memory(tmp_path: Path, version):
    assert container_memory(version(tmp_path, "123456789\n")) == 123_456_789


@pytest.mark.parametrize(
    ("version", "limit"), [(v2, "max\n"), (v1, "9223372036854771712\n"), (v2, "rubbish"), (v2, "")]
)
def test_without_a_limit_it_is_the_machines(tmp_path: Path, version, limit: str):
    assert container_memory(version(tmp_path, limit)) == PHYSICAL


def test_without_cgroups_it_is_the_machines(tmp_path: Path):
    assert container_memory(tmp_path / "nothing") == PHYSICAL


@pytest.mark.parametrize(
    ("megabytes", "limit", "budget"),
    [
        (700, GB, 700_000_000),
        (-1, GB, 0),  # no limit
        (0, 10 * GB, 7_488_000_000),  # four fifths less 512 MB
        (0, GB, GB // 2),  # at least half
    ],
)
def test_the_budget(tmp_path: Path, megabytes: int, limit: int, budget: int):
    assert model_budget(megabytes, v2(tmp_path, str(min(limit, PHYSICAL)))) == budget


def test_a_server_without_the_setting_has_the_automatic_budget():
    loader = compose(Settings(model_read_caches=[])).loader
    assert loader._memory._budget == model_budget(0) > 0
