"""A small soak in every run of the tests; the whole ones are `python -m tests.soak [--chaos] --jobs 1000`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.run import CHAOS, soak

# What the summary must have counted, where the machine lets it be.
COUNTS = {
    "stop": "servers stopped",
    "disk": "disks filled",
    "pids": "processes limited",
    "names": "floods of names",
    "callers": "deaf callers",
    "bucket": "uploads to a slow bucket",
}
KINDS = {"poison": "poison: invalid_job", "bombs": "bomb: invalid_job"}


def test_every_job_ends_once_and_nothing_is_left_whatever_goes_wrong(tmp_path: Path) -> None:
    outcome = soak(jobs=120, kills=3, seed=7, temporary=tmp_path)
    assert outcome.wrong == []
    assert outcome.counts.total() == 120
    assert outcome.kills >= 2
    assert outcome.trouble["refused"] > 0
    assert outcome.trouble["dropped"] > 0


@pytest.mark.slow
def test_no_caller_and_no_machine_can_hurt_more_than_single_jobs(tmp_path: Path) -> None:
    outcome = soak(jobs=150, kills=1, seed=11, temporary=tmp_path, chaos=CHAOS)
    assert outcome.wrong == []
    for kind, why in outcome.skipped.items():
        print(f"no {kind} here: {why}")
    assert [kind for kind in COUNTS if kind not in outcome.skipped and not outcome.chaos[COUNTS[kind]]] == []
    assert all(outcome.counts[kind] for kind in KINDS.values())
