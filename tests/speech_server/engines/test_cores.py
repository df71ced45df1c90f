"""A container's CPU quota counts, not only the cores it sees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speech_server.engines.cores import core_count

SEEN = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", SEEN),
        ("100000 100000", 1),
        ("50000 100000", 1),
        (f"{(SEEN - 1) * 100_000 + 1} 100000", SEEN),
        ("12800000 100000", min(SEEN, 128)),
        ("nonsense", SEEN),
    ],
)
def test_the_quota_of_version_2(tmp_path: Path, limit: str, cores: int):
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert core_count(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", SEEN), ("100000", 1)])
def test_the_quota_of_version_1(tmp_path: Path, quota: str, cores: int):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert core_count(tmp_path) == cores


@pytest.mark.parametrize(
    ("told", "quota", "cores"),
    [
        ("1", "max", 1),
        ("512", "max", SEEN),
        ("0", "max", SEEN),
        ("", "max", SEEN),
        ("x", "max", SEEN),
        ("8", "100000", 1),
    ],
)
def test_what_a_platform_allows_counts_where_it_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, quota: str, cores: int
):
    monkeypatch.setenv("CPU_COUNT", told)
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    assert core_count(tmp_path) == cores


def test_no_control_group_at_all(tmp_path: Path):
    assert core_count(tmp_path) == SEEN
