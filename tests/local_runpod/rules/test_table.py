"""The rules between jobs and workers, without HTTP and without waiting: the clock is turned by hand."""

from __future__ import annotations

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from local_runpod.api.request import JobRequest
from local_runpod.errors import BadRequest, NotFound, NotHeld, TooLarge, Unauthorized
from local_runpod.rules.jobs import Job, Status
from local_runpod.rules.table import JobTable
from local_runpod.settings import Settings


class Bench:
    """A table, a clock to turn, and every change it told."""

    def __init__(self, **settings: object) -> None:
        self.now = 1000.0
        self.changes: list[tuple[str, Status]] = []
        self.table = JobTable(
            Settings(**settings),  # type: ignore[arg-type]  # the tests name real settings
            lambda: self.now,
            lambda job: self.changes.append((job.id, job.status)),
        )

    def submit(self, *, sync: bool = False, execution_timeout: float = 600, ttl: float = 86400) -> Job:
        return self.table.submit(JobRequest({"n": 1}, execution_timeout, ttl), sync=sync)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.table.expire()

    def finish(self, job: Job, result: object, worker: str = "w", size: int = 10) -> Job:
        return self.table.finish(worker, job.id, result, size=size, streamed=False)


def test_jobs_are_given_out_in_order_and_once() -> None:
    bench = Bench()
    jobs = [bench.submit() for _ in range(5)]
    given = bench.table.take("w1", 2) + bench.table.take("w2", 9)
    assert [job["id"] for job in given] == [job.id for job in jobs]
    assert bench.table.take("w1", 9) == []


def test_delay_and_execution_times_are_milliseconds() -> None:
    bench = Bench()
    job = bench.submit()
    bench.pass_time(1.5)
    bench.table.take("w", 1)
    bench.pass_time(0.25)
    bench.finish(job, {"output": 1})
    assert (job.view()["delayTime"], job.view()["executionTime"]) == (1500, 250)


def test_a_second_result_is_refused() -> None:
    bench = Bench()
    job = bench.submit()
    bench.table.take("w", 1)
    bench.finish(job, {"output": 1})
    with pytest.raises(NotHeld, match="COMPLETED"):
        bench.finish(job, {"output": 2})
    with pytest.raises(NotHeld):
        bench.finish(job, {"status": "IN_PROGRESS", "output": 2})
    assert job.view()["output"] == 1
    assert (job.accepted, job.refused) == (1, 2)


def test_a_result_from_a_worker_that_lost_the_job_is_refused() -> None:
    bench = Bench()
    job = bench.submit()
    bench.table.take("old", 1)
    bench.table.remove_worker("old")
    bench.table.take("new", 1)
    with pytest.raises(NotHeld):
        bench.finish(job, {"output": "stale"}, worker="old")
    bench.finish(job, {"output": "fresh"}, worker="new")
    assert job.view()["output"] == "fresh"


def test_an_error_that_is_no_string_is_shown_as_json() -> None:
    bench = Bench()
    job = bench.submit()
    bench.table.take("w", 1)
    bench.finish(job, {"error": {"code": 1}})
    assert job.status is Status.FAILED
    assert job.view()["error"] == '{"code":1}'


@pytest.mark.parametrize(("sync", "limit"), [(False, 10_000_000), (True, 20_000_000)])
def test_the_result_limit_is_that_of_the_jobs_kind(sync: bool, limit: int) -> None:
    bench = Bench()
    job = bench.submit(sync=sync)
    bench.table.take("w", 1)
    with pytest.raises(TooLarge, match=str(limit)):
        bench.finish(job, {"output": ""}, size=limit + 1)
    assert job.status is Status.IN_PROGRESS
    bench.finish(job, {"output": ""}, size=limit)
    assert job.status is Status.COMPLETED


@pytest.mark.parametrize(("sync", "kept"), [(False, 1800.0), (True, 60.0)])
def test_an_ended_job_is_kept_for_the_time_of_its_kind(sync: bool, kept: float) -> None:
    bench = Bench()
    job = bench.submit(sync=sync)
    bench.pass_time(300)
    bench.table.take("w", 1)
    bench.finish(job, {"output": 1})
    bench.pass_time(kept - 1)
    assert bench.table.find(job.id) is job
    bench.pass_time(2)
    with pytest.raises(NotFound):
        bench.table.find(job.id)


def test_ttl_ends_a_queued_job_and_execution_timeout_a_running_one() -> None:
    bench = Bench()
    queued, running = bench.submit(ttl=10), bench.submit(execution_timeout=5)
    bench.table.cancel(queued.id)
    queued = bench.submit(ttl=10)
    bench.table.take("w", 1)
    bench.pass_time(4.9)
    assert running.status is Status.IN_PROGRESS
    bench.pass_time(0.2)
    assert running.status is Status.TIMED_OUT
    assert bench.table.drain_stops("w") == [running.id]
    bench.pass_time(5)
    assert queued.status is Status.TIMED_OUT
    assert "policy.ttl of 10000 ms" in queued.view()["error"]


def test_cancel_tells_the_worker_that_holds_the_job_once() -> None:
    bench = Bench()
    job = bench.submit()
    bench.table.take("w", 1)
    bench.table.cancel(job.id)
    assert bench.table.drain_stops("w") == [job.id]
    assert bench.table.drain_stops("w") == []
    bench.table.cancel(job.id)
    assert bench.table.drain_stops("w") == []
    assert job.view()["status"] == "CANCELLED"


def test_a_ping_that_still_lists_a_cancelled_job_repeats_the_stop() -> None:
    bench = Bench()
    job = bench.submit()
    bench.table.take("w", 1)
    bench.table.cancel(job.id)
    bench.table.drain_stops("w")
    bench.table.ping("w", [job.id])
    assert bench.table.drain_stops("w") == [job.id]


def test_a_cancelled_queued_job_is_never_given_out() -> None:
    bench = Bench()
    job = bench.submit()
    bench.table.cancel(job.id)
    assert bench.table.take("w", 1) == []


def test_retry_is_for_failed_and_timed_out_jobs_only() -> None:
    bench = Bench()
    job = bench.submit()
    with pytest.raises(BadRequest, match="IN_QUEUE"):
        bench.table.retry(job.id)
    bench.table.take("w", 1)
    bench.finish(job, {"error": "x"})
    assert bench.table.retry(job.id).status is Status.IN_QUEUE
    given = bench.table.take("w", 1)
    assert given == [{"id": job.id, "input": {"n": 1}}]
    bench.finish(job, {"output": 2})
    assert "error" not in job.view()
    with pytest.raises(BadRequest, match="COMPLETED"):
        bench.table.retry(job.id)
    assert bench.table.health()["jobs"]["retried"] == 1


def test_purge_removes_queued_jobs_only() -> None:
    bench = Bench()
    running, queued = bench.submit(), bench.submit()
    bench.table.take("w", 1)
    assert bench.table.purge() == 1
    assert (running.status, queued.status) == (Status.IN_PROGRESS, Status.CANCELLED)


def test_a_lost_workers_jobs_are_queued_again_first_in_line_then_fail() -> None:
    bench = Bench()
    lost, waiting = bench.submit(), bench.submit()
    bench.table.take("w1", 1)
    bench.table.remove_worker("w1")
    assert [job["id"] for job in bench.table.take("w2", 2)] == [lost.id, waiting.id]
    bench.table.remove_worker("w2")
    assert lost.view()["error"] == "job timed out after 1 retries"
    assert (lost.status, waiting.status) == (Status.FAILED, Status.IN_QUEUE)


def test_a_worker_that_falls_silent_is_lost() -> None:
    bench = Bench(worker_silence=60)
    job = bench.submit()
    bench.table.take("w", 1)
    bench.pass_time(59)
    assert job.status is Status.IN_PROGRESS
    bench.pass_time(2)
    assert job.status is Status.IN_QUEUE
    assert "w" not in bench.table.workers


def test_a_job_the_pings_stopped_listing_is_lost() -> None:
    bench = Bench(lost_after=30)
    job = bench.submit()
    bench.table.take("w", 1)
    bench.now += 29
    bench.table.ping("w", [job.id])
    bench.now += 29
    bench.table.ping("w", [])
    assert job.status is Status.IN_PROGRESS
    bench.now += 2
    bench.table.ping("w", [])
    assert job.status is Status.IN_QUEUE


def test_a_lost_job_that_the_same_worker_takes_again_is_not_stopped() -> None:
    bench = Bench(lost_after=30)
    job = bench.submit()
    bench.table.take("w", 1)
    bench.now += 31
    bench.table.ping("w", [])
    bench.table.take("w", 1)
    assert bench.table.drain_stops("w") == []
    bench.table.cancel(job.id)
    assert bench.table.drain_stops("w") == [job.id]


def test_a_retried_job_is_not_stopped_by_the_stop_of_its_first_run() -> None:
    bench = Bench()
    job = bench.submit(execution_timeout=5)
    bench.table.take("w", 1)
    bench.pass_time(6)
    bench.table.retry(job.id)
    bench.table.take("w", 1)
    assert bench.table.drain_stops("w") == []


def test_with_an_api_key_unknown_workers_get_nothing() -> None:
    bench = Bench(api_key="secret")
    bench.submit()
    with pytest.raises(Unauthorized):
        bench.table.take("stranger", 1)
    bench.table.add_worker("own")
    assert len(bench.table.take("own", 1)) == 1


def test_an_input_that_can_never_be_needed_again_is_let_go() -> None:
    bench = Bench()
    job = bench.submit()
    bench.table.take("w", 1)
    bench.finish(job, {"output": 1})
    assert job.request.input is None


class Life(RuleBasedStateMachine):
    """Whatever clients, workers and time do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(lost_after=20, worker_silence=50, run_retention=40, runsync_retention=10)
        self.table = self.bench.table
        self.accepted: dict[str, int] = {}

    @rule(sync=st.booleans(), limit=st.sampled_from([5.0, 600.0]))
    def submit(self, sync: bool, limit: float) -> None:
        self.bench.submit(sync=sync, execution_timeout=limit, ttl=limit * 3)

    @rule(worker=st.sampled_from("ab"), count=st.integers(1, 3))
    def take(self, worker: str, count: int) -> None:
        self.table.take(worker, count)

    @precondition(lambda self: self.table.jobs)
    @rule(data=st.data(), worker=st.sampled_from("ab"), result=st.sampled_from([{"output": 1}, {"error": "e"}]))
    def finish(self, data: st.DataObject, worker: str, result: dict[str, object]) -> None:
        job = data.draw(st.sampled_from(list(self.table.jobs.values())))
        held = job.status is Status.IN_PROGRESS and job.worker_id == worker
        try:
            self.bench.finish(job, result, worker)
            assert held
        except NotHeld:
            assert not held

    @precondition(lambda self: self.table.jobs)
    @rule(data=st.data(), action=st.sampled_from(["cancel", "retry"]))
    def act(self, data: st.DataObject, action: str) -> None:
        job = data.draw(st.sampled_from(list(self.table.jobs.values())))
        retryable = job.status in (Status.FAILED, Status.TIMED_OUT)
        try:
            getattr(self.table, action)(job.id)
            assert action == "cancel" or retryable
        except BadRequest:
            assert action == "retry"
            assert not retryable

    @rule(worker=st.sampled_from("ab"), listed=st.booleans())
    def ping(self, worker: str, listed: bool) -> None:
        holds = self.table.workers[worker].holds if worker in self.table.workers else set()
        self.table.ping(worker, list(holds) if listed else [])

    @rule(worker=st.sampled_from("ab"))
    def lose(self, worker: str) -> None:
        self.table.remove_worker(worker)

    @rule()
    def purge(self) -> None:
        self.table.purge()

    @rule()
    def take_all(self) -> None:
        waiting = {job.id for job in self.table.jobs.values() if job.status is Status.IN_QUEUE}
        given = [job["id"] for job in self.table.take("a", 1000)]
        assert len(given) == len(set(given))
        assert set(given) == waiting

    @rule(seconds=st.sampled_from([0.5, 6.0, 25.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.bench.pass_time(seconds)

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        held = [job_id for worker in self.table.workers.values() for job_id in worker.holds]
        assert len(held) == len(set(held))
        assert set(held) == {job.id for job in self.table.jobs.values() if job.status is Status.IN_PROGRESS}
        queued = [job.id for job in self.table.jobs.values() if job.status is Status.IN_QUEUE]
        assert self.table.health()["jobs"]["inQueue"] == len(queued)

    @invariant()
    def at_most_one_result_is_accepted(self) -> None:
        for job in self.table.jobs.values():
            assert job.accepted <= 1
            assert job.accepted == 0 or job.ended

    @invariant()
    def what_ended_badly_says_why(self) -> None:
        for job in self.table.jobs.values():
            if job.status in (Status.FAILED, Status.TIMED_OUT):
                assert job.view()["error"]

    @invariant()
    def the_counters_are_never_negative(self) -> None:
        assert all(count >= 0 for group in self.table.health().values() for count in group.values())


TestLife = Life.TestCase
TestLife.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
