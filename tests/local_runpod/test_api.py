"""The HTTP API without workers: the test is the worker, the clock is turned by hand."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from local_runpod.app import create_app
from local_runpod.control import Control
from local_runpod.server import listen
from local_runpod.settings import Settings, parse_command_line

pytestmark = pytest.mark.anyio


@dataclass
class Api:
    control: Control
    http: httpx.AsyncClient
    now: list[float]

    async def take(self, worker: str = "w") -> dict[str, Any]:
        response = await self.http.get(f"/job-take/{worker}?gpu=local&job_in_progress=0")
        return dict(response.json())

    async def done(self, job_id: str, body: str | bytes, worker: str = "w", stream: str = "false") -> httpx.Response:
        # As runpod 1.12 sends it: JSON, named a form.
        return await self.http.post(
            f"/job-done/{worker}/{job_id}?gpu=local&isStream={stream}",
            content=body,
            headers={"content-type": "application/x-www-form-urlencoded"},
        )

    async def start(self, route: str = "run", **body: Any) -> str:
        response = await self.http.post(f"/{route}", json={"input": {"n": 1}, **body})
        assert (await self.take())["id"] == response.json()["id"]
        return str(response.json()["id"])


def build(**settings: Any) -> Api:
    now = [1000.0]
    control = Control(Settings(**{"poll_seconds": 0.05, "stream_wait": 0.05, **settings}), lambda: now[0])
    transport = httpx.ASGITransport(create_app(control))
    return Api(control, httpx.AsyncClient(transport=transport, base_url="http://platform/v2/local"), now)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = build()
    async with api.http:
        yield api


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"input": NaN}', "not valid JSON"),
        (b'{"input": "\\ud800"}', "not valid JSON"),
        (b"[]", "input is required"),
        (b"{}", "input is required"),
        (b'{"input": null}', "input is required"),
        (b'{"input": {}, "policy": 5}', "policy must be an object"),
        (b'{"input": {}, "policy": {"ttl": 0}}', "policy.ttl must be a positive number"),
        (b'{"input": {}, "policy": {"executionTimeout": "1"}}', "policy.executionTimeout must be a positive number"),
        (b'{"input": {}, "s3Config": []}', "s3Config must be an object"),
        (b'{"input": {}, "webhook": "file:///etc/passwd"}', "webhook must be an http or https URL"),
    ],
)
async def test_a_body_that_cannot_be_a_job_is_400_with_a_reason(api: Api, body: bytes, reason: str) -> None:
    response = await api.http.post("/run", content=body)
    assert response.status_code == 400
    assert reason in response.json()["error"]
    assert api.control.table.jobs == {}


@pytest.mark.parametrize(("route", "limit"), [("run", 10_000_000), ("runsync", 20_000_000)])
async def test_request_limits(api: Api, route: str, limit: int) -> None:
    frame = len(b'{"input":""}')
    over = await api.http.post(f"/{route}", content=b'{"input":"' + b"x" * (limit - frame + 1) + b'"}')
    assert over.status_code == 400
    assert str(limit) in over.json()["error"]
    waiting = asyncio.create_task(api.http.post(f"/{route}", content=b'{"input":"' + b"x" * (limit - frame) + b'"}'))
    job = await api.take()
    assert (await api.done(job["id"], '{"output": 1}')).status_code == 200
    assert (await waiting).status_code == 200


@pytest.mark.parametrize("wait", ["999", "300001", "-1", "abc", "", "1e4", "٥٠٠٠"])
async def test_wait_has_limits(api: Api, wait: str) -> None:
    response = await api.http.post("/runsync", params={"wait": wait}, json={"input": 1})
    assert response.status_code == 400
    assert "1000 to 300000" in response.json()["error"]


async def test_job_take_is_held_until_there_is_a_job_and_204_when_there_is_none(api: Api) -> None:
    assert (await api.http.get("/job-take/w?gpu=local")).status_code == 204
    api = build(poll_seconds=30)
    async with api.http:
        taking = asyncio.create_task(api.take())
        await _until(lambda: bool(api.control.table.workers))
        job_id = (await api.http.post("/run", json={"input": "x"})).json()["id"]
        assert await asyncio.wait_for(taking, 10) == {"id": job_id, "input": "x"}


async def test_job_take_batch_gives_up_to_so_many(api: Api) -> None:
    for n in range(3):
        await api.http.post("/run", json={"input": n + 1})
    first = await api.http.get("/job-take-batch/w?gpu=local&batch_size=2&job_in_progress=0")
    second = await api.http.get("/job-take-batch/w?gpu=local&batch_size=2&job_in_progress=1")
    assert [job["input"] for job in first.json()] == [1, 2]
    assert [job["input"] for job in second.json()] == [3]


@pytest.mark.parametrize("body", [b'{"output": NaN}', b'{"output": "\xed\xa0\x80"}', b"", b"[]", b"not json"])
async def test_a_result_that_is_not_json_is_refused_and_the_job_goes_on(api: Api, body: bytes) -> None:
    job_id = await api.start()
    assert (await api.done(job_id, body)).status_code == 400
    assert (await api.http.get(f"/status/{job_id}")).json()["status"] == "IN_PROGRESS"


async def test_status_stream_cancel_and_retry_of_an_unknown_job_are_404(api: Api) -> None:
    for method, path in [("GET", "status"), ("GET", "stream"), ("POST", "cancel"), ("POST", "retry")]:
        response = await api.http.request(method, f"/{path}/nope-u1")
        assert response.status_code == 404
        assert "nope-u1" in response.json()["error"]


async def test_job_stop_is_held_and_tells_of_a_cancelled_job() -> None:
    api = build(poll_seconds=30)
    async with api.http:
        job_id = await api.start()
        stopping = asyncio.create_task(api.http.get("/job-stop/w?gpu=local"))
        await asyncio.sleep(0)
        assert (await api.http.post(f"/cancel/{job_id}")).json() == {"id": job_id, "status": "CANCELLED"}
        assert (await asyncio.wait_for(stopping, 10)).json() == {"jobsToStop": [job_id]}
        assert (await api.done(job_id, '{"output": 1}')).status_code == 400


async def test_retry_runs_the_same_input_under_the_same_id(api: Api) -> None:
    job_id = await api.start()
    await api.done(job_id, '{"error": "x"}')
    assert (await api.http.post(f"/retry/{job_id}")).json() == {"id": job_id, "status": "IN_QUEUE"}
    assert await api.take() == {"id": job_id, "input": {"n": 1}}
    assert (await api.http.post(f"/retry/{job_id}")).status_code == 400


async def test_purge_health_and_requests(api: Api) -> None:
    running = await api.start()
    await api.http.post("/run", json={"input": 2})
    health = (await api.http.get("/health")).json()
    assert health["jobs"] == {"completed": 0, "failed": 0, "inProgress": 1, "inQueue": 1, "retried": 0}
    assert health["workers"]["running"] == 1
    assert (await api.http.post("/purge-queue")).json() == {"removed": 1, "status": "completed"}
    listed = {job["id"]: job["status"] for job in (await api.http.get("/requests")).json()["requests"]}
    assert sorted(listed.values()) == ["CANCELLED", "IN_PROGRESS"]
    assert listed[running] == "IN_PROGRESS"


async def test_rates_are_limited_and_the_limit_passes() -> None:
    api = build()
    async with api.http:
        codes = [(await api.http.post("/purge-queue")).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        api.now[0] += 10
        assert (await api.http.post("/purge-queue")).status_code == 200


async def test_an_api_key_is_asked_for_when_one_is_set() -> None:
    api = build(api_key="secret")
    async with api.http:
        assert (await api.http.get("/health")).status_code == 401
        assert (await api.http.get("/health", headers={"authorization": "Bearer wrong"})).status_code == 401
        assert (await api.http.get("/health", headers={"authorization": "Bearer secret"})).status_code == 200
        assert (await api.http.get("/health", headers={"authorization": "secret"})).status_code == 200
        assert (await api.http.get("/job-take/stranger")).status_code == 401
        assert (await api.http.get("http://platform/admin/state")).status_code == 401


async def test_openai_post_becomes_a_job_and_its_output_the_answer(api: Api) -> None:
    asking = asyncio.create_task(api.http.post("/openai/v1/audio/speech?x=1", json={"input": "hi"}))
    job = await _taken(api)
    assert job["input"] == {"openai_route": "/v1/audio/speech?x=1", "openai_input": {"input": "hi"}}
    assert job["id"].startswith("sync-")
    await api.done(job["id"], '{"output": {"text": "hi"}}')
    assert (await asking).json() == {"text": "hi"}


async def test_openai_get_has_an_empty_input(api: Api) -> None:
    asking = asyncio.create_task(api.http.get("/openai/v1/models"))
    job = await _taken(api)
    assert job["input"] == {"openai_route": "/v1/models", "openai_input": {}}
    await api.done(job["id"], '{"output": [{"data": []}]}', stream="true")
    assert (await asking).json() == {"data": []}


async def test_openai_failure_is_openais_error_envelope(api: Api) -> None:
    asking = asyncio.create_task(api.http.post("/openai/v1/x", json={}))
    await api.done((await _taken(api))["id"], '{"error": "no such model"}')
    response = await asking
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "no such model"


async def test_openai_stream_passes_pieces_on(api: Api) -> None:
    asking = asyncio.create_task(api.http.post("/openai/v1/chat/completions", json={"stream": True}))
    job_id = (await _taken(api))["id"]
    for piece in ["data: 1\n\n", {"two": 2}, "data: [DONE]\n\n"]:
        await api.http.post(f"/job-stream/w/{job_id}?isStream=false", content=json.dumps({"output": piece}))
    await api.done(job_id, '{"output": []}', stream="true")
    response = await asking
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text == 'data: 1\n\ndata: {"two":2}\n\ndata: [DONE]\n\n'


async def test_openai_takes_no_multipart(api: Api) -> None:
    response = await api.http.post("/openai/v1/audio/transcriptions", files={"file": b"RIFF"})
    assert response.status_code == 400
    assert "multipart" in response.json()["error"]


async def test_every_kind_of_trouble_strikes_when_it_is_certain(api: Api) -> None:
    job_id = await api.start()
    await api.http.post("http://platform/admin/trouble", json={"refuse_results": 1, "refuse_status": 503})
    assert (await api.done(job_id, '{"output": 1}')).status_code == 503
    await api.http.post("http://platform/admin/trouble", json={"refuse_results": 0, "busy": 1})
    assert (await api.http.get("/job-take/w")).status_code == 429
    assert (await api.http.get("/health")).status_code == 429
    assert (await api.done(job_id, '{"output": 1}')).status_code == 200
    state = (await api.http.get("http://platform/admin/state")).json()
    assert state["trouble"]["refused"] == 1
    assert state["trouble"]["busy"] == 2
    assert [job for job in state["jobs"] if job["id"] == job_id] == [
        {"id": job_id, "status": "COMPLETED", "accepted": 1, "refused": 0}
    ]


@pytest.mark.parametrize("body", [{"nonsense": 1}, {"busy": "x"}, {"busy": True}, []])
async def test_trouble_that_does_not_exist_is_400(api: Api, body: Any) -> None:
    assert (await api.http.post("http://platform/admin/trouble", json=body)).status_code == 400


async def test_another_endpoint_does_not_exist(api: Api) -> None:
    assert (await api.http.get("http://platform/v2/other/health")).status_code == 404


async def test_the_command_line_is_the_settings_table() -> None:
    settings, command = parse_command_line(
        ["--port", "9", "--busy=0.5", "--no-rate-limits", "--", "python", "-u", "h.py"]
    )
    assert settings == Settings(port=9, busy=0.5, no_rate_limits=True)
    assert command == ["python", "-u", "h.py"]
    with pytest.raises(SystemExit):
        parse_command_line(["--port", "9"])


async def test_answers_are_not_held_back_by_nagles_algorithm() -> None:
    listener = listen("127.0.0.1", 0)
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    for each in (client, accepted, listener):
        each.close()


async def _taken(api: Api) -> dict[str, Any]:
    await _until(api.control.table.has_queued)
    return await api.take()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in code under test
            await asyncio.sleep(0)
