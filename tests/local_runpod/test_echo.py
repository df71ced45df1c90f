"""Jobs through the real SDK: what a worker returns, streams, reports and raises, and what a client gets to see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.local_runpod.local_platform import LocalPlatform, eventually


def test_runsync_answers_the_output(platform: LocalPlatform) -> None:
    done = platform.runsync({"return": {"text": "héllo \U0001f600"}})
    assert done["status"] == "COMPLETED"
    assert done["output"] == {"text": "héllo \U0001f600"}
    assert done["id"].startswith("sync-")
    assert done["id"].endswith("-u1")
    assert done["delayTime"] >= 0
    assert done["executionTime"] >= 0
    assert done["workerId"] in [worker["id"] for worker in platform.state()["workers"]]


def test_run_answers_at_once_and_status_shows_the_result(platform: LocalPlatform) -> None:
    answer = platform.client.post(f"{platform.base}/run", json={"input": {"sleep": 0.2, "return": [1]}}).json()
    assert answer["status"] == "IN_QUEUE"
    assert not answer["id"].startswith("sync-")
    assert platform.wait(answer["id"])["output"] == [1]
    assert platform.client.post(f"{platform.base}/status/{answer['id']}").json()["output"] == [1]


@pytest.mark.parametrize("value", [{"a": {"b": []}}, [], ["x", None], "text", "", 0, 1.5, True, False, None])
def test_any_json_a_handler_returns_arrives(platform: LocalPlatform, value: object) -> None:
    assert platform.runsync({"return": value})["output"] == value


def test_any_json_but_null_can_be_an_input(platform: LocalPlatform) -> None:
    assert platform.runsync("just text")["output"] == "just text"
    assert platform.runsync([1, 2])["output"] == [1, 2]


def test_a_truthy_error_fails_the_job_and_the_rest_is_its_output(platform: LocalPlatform) -> None:
    done = platform.runsync({"return": {"error": "no such model", "hint": "x"}})
    assert done["status"] == "FAILED"
    assert done["error"] == "no such model"
    assert done["output"] == {"hint": "x"}
    assert platform.runsync({"return": {"error": ""}})["status"] == "COMPLETED"


def test_an_exception_fails_the_job(platform: LocalPlatform) -> None:
    done = platform.runsync({"raise": "broken"})
    assert done["status"] == "FAILED"
    assert json.loads(done["error"])["error_message"] == "broken"


def test_pieces_arrive_in_order_and_the_result_follows(platform: LocalPlatform) -> None:
    job_id = platform.run({"pieces": ["a", {"b": 1}, "c"], "pause": 0.05, "return": "whole"})
    assert list(platform.stream(job_id)) == ["a", {"b": 1}, "c"]
    assert platform.wait(job_id)["output"] == "whole"


def test_a_piece_over_1_mb_is_refused_and_the_job_goes_on(platform: LocalPlatform) -> None:
    job_id = platform.run({"pieces": ["x" * 1_000_100, "small"], "return": "whole"})
    assert list(platform.stream(job_id)) == ["small"]
    assert platform.wait(job_id)["output"] == "whole"


def test_progress_is_seen_until_the_result_replaces_it(platform: LocalPlatform) -> None:
    job_id = platform.run({"progress": [{"done": 1}, {"done": 2}], "sleep": 1, "return": "end"})
    eventually(lambda: platform.status(job_id).get("output") == {"done": 2}, what="progress")
    assert platform.status(job_id)["status"] == "IN_PROGRESS"
    assert platform.wait(job_id)["output"] == "end"


def test_cancelling_a_running_job_stops_it_in_the_worker(platform: LocalPlatform, tmp_path: Path) -> None:
    mark = tmp_path / "cancelled"
    job_id = platform.run({"sleep": 60, "cancelled_mark": str(mark)})
    platform.wait_until_running(job_id)
    # The SDK only knows of a stop once it has started the job, which is up to 100 ms after it took it.
    eventually(lambda: f'"{job_id}", "message": "Started."' in platform.log, what="the SDK started the job")
    assert platform.cancel(job_id) == {"id": job_id, "status": "CANCELLED"}
    eventually(lambda: mark.exists() and mark.read_text() == job_id, what="CancelledError in the handler")
    assert platform.status(job_id)["status"] == "CANCELLED"
    assert platform.health()["jobs"]["inProgress"] == 0


def test_execution_timeout_stops_the_job_and_says_which_limit(platform: LocalPlatform, tmp_path: Path) -> None:
    mark = tmp_path / "cancelled"
    job_id = platform.run({"sleep": 60, "cancelled_mark": str(mark)}, policy={"executionTimeout": 700})
    done = platform.wait(job_id)
    assert done["status"] == "TIMED_OUT"
    assert done["error"] == "job timed out: policy.executionTimeout of 700 ms passed"
    eventually(mark.exists, what="the worker was told")


def test_a_result_over_10_mb_is_refused_and_the_lost_job_fails_after_one_retry(platform: LocalPlatform) -> None:
    job_id = platform.run({"size": 10_000_001})
    done = platform.wait(job_id)
    assert done["status"] == "FAILED"
    assert done["error"] == "job timed out after 1 retries"
    jobs = {job["id"]: job for job in platform.state()["jobs"]}
    assert jobs[job_id]["accepted"] == 0
    assert jobs[job_id]["refused"] == 2


def test_runsync_takes_results_up_to_20_mb(platform: LocalPlatform) -> None:
    done = platform.runsync({"size": 19_000_000})
    assert done["status"] == "COMPLETED"
    assert len(done["output"]) == 19_000_000


def test_runsync_answers_the_state_when_the_wait_is_over(platform: LocalPlatform) -> None:
    seen = platform.runsync({"sleep": 1.5, "return": "late"}, wait=1000)
    assert seen["status"] == "IN_PROGRESS"
    assert "output" not in seen
    assert platform.wait(seen["id"])["output"] == "late"


def test_the_worker_sees_s3_config_and_webhook_but_not_the_policy(platform: LocalPlatform) -> None:
    done = platform.runsync({}, s3Config={"bucketName": "b"}, policy={"ttl": 60_000}, webhook="http://127.0.0.1:9/x")
    assert done["output"]["keys"] == ["id", "input", "s3Config", "webhook"]
