"""A short soak of the gateway in every run of the tests; the whole one is `python -m tests.soak.gateway`."""

from __future__ import annotations

from tests.soak.gateway import soak


def test_every_caller_is_answered_or_gone_and_no_job_runs_twice():
    outcome = soak(calls=100, kills=1, seed=3)
    assert outcome.wrong == []
    assert outcome.calls.total() == 100
    assert sum(count for ending, count in outcome.calls.items() if "gave up" in ending) < 10, outcome.calls
    assert outcome.trouble.total() > 10
    assert outcome.jobs["workers killed"]
