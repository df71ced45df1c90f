"""A small soak in every run of the tests; the whole one is `python -m tests.soak --jobs 1000`."""

from __future__ import annotations

from pathlib import Path

from tests.soak.run import soak


def test_every_job_ends_once_and_nothing_is_left_whatever_goes_wrong(tmp_path: Path) -> None:
    outcome = soak(jobs=120, kills=3, seed=7, temporary=tmp_path)
    assert outcome.wrong == []
    assert outcome.counts.total() == 120
    assert outcome.kills >= 2
    assert outcome.trouble["refused"] > 0
    assert outcome.trouble["dropped"] > 0
