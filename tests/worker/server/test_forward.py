"""Requests arrive at a real server as the job says, and its answers become the job's output."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.worker.conftest import Jobs, stand_in_settings
from worker.server.supervisor import Supervisor

pytestmark = pytest.mark.anyio


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def form_of(echo: dict[str, Any]) -> list[tuple[str, str | None, bytes]]:
    """(field, file name, content) of each part that arrived."""
    kind = dict(echo["headers"])["content-type"]
    raw = f"Content-Type: {kind}\r\n\r\n".encode() + echo["body"].encode("latin-1")
    message = email.message_from_bytes(raw, policy=email.policy.HTTP)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()  # type: ignore[attr-defined]
    ]


async def test_method_path_query_headers_and_json_arrive(jobs: Jobs):
    echo = await jobs(
        method="PUT", path="/echo/a b?x=1", query={"y": ["2", 3]}, headers={"X-A": "b"}, body={"text": "é", "n": None}
    )
    assert (echo["method"], echo["path"]) == ("PUT", "/echo/a%20b?x=1&y=2&y=3")
    headers = dict(echo["headers"])
    assert headers["x-a"] == "b"
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["x-request-id"] == "job-1"
    assert json.loads(echo["body"].encode("latin-1")) == {"text": "é", "n": None}


async def test_the_server_key_is_sent_unless_the_job_brings_its_own(jobs: Jobs):
    keyed = jobs.with_settings(server_api_key="k")
    assert dict((await keyed(path="/echo"))["headers"])["authorization"] == "Bearer k"
    assert (
        dict((await keyed(path="/echo", headers={"Authorization": "Bearer j"}))["headers"])["authorization"]
        == "Bearer j"
    )
    await keyed.proxy.close()


async def test_a_file_makes_a_form_whose_lists_repeat_and_booleans_are_words(jobs: Jobs):
    echo = await jobs(
        path="/echo",
        file_base64=b64(b"sound"),
        file_name="../ta lk é.wav",
        body={
            "model": "m",
            "stream": False,
            "timestamp_granularities": ["word", None, "segment"],
            "include[]": ["logprobs"],
            "none": None,
            "n": 1.5,
            "o": {"a": [1]},
        },
    )
    assert form_of(echo) == [
        ("model", None, b"m"),
        ("stream", None, b"false"),
        ("timestamp_granularities[]", None, b"word"),
        ("timestamp_granularities[]", None, b"segment"),
        ("include[]", None, b"logprobs"),
        ("n", None, b"1.5"),
        ("o", None, b'{"a": [1]}'),
        ("file", "ta lk é.wav", b"sound"),
    ]
    assert "transfer-encoding" not in dict(echo["headers"])


async def test_several_files_of_all_kinds_arrive_in_order(jobs: Jobs, tmp_path: Path):
    (tmp_path / "c.mp3").write_bytes(b"C")
    here = jobs.with_settings(volume=str(tmp_path))
    echo = await here(
        path="/echo",
        files=[
            {"field": "a", "base64": b64(b"A")},
            {"field": "b", "url": "data:audio/flac;base64," + b64(b"B"), "name": "b.flac"},
            {"field": "c", "path": str(tmp_path / "c.mp3")},
        ],
    )
    await here.proxy.close()
    assert form_of(echo) == [("a", "file", b"A"), ("b", "b.flac", b"B"), ("c", "c.mp3", b"C")]


async def test_the_openai_route_sends_its_file_as_a_form(jobs: Jobs):
    echo = await jobs(openai_route="/echo", openai_input={"model": "m", "file": "data:audio/wav;base64," + b64(b"W")})
    assert form_of(echo) == [("model", None, b"m"), ("file", "file.wav", b"W")]


async def test_a_large_file_arrives_whole(jobs: Jobs, tmp_path: Path):
    content = bytes(range(256)) * 20_000
    (tmp_path / "a.wav").write_bytes(content)
    here = jobs.with_settings(volume=str(tmp_path))
    echo = await here(path="/echo", method="POST", file_path="a.wav")
    await here.proxy.close()
    assert echo["size"] > len(content)
    assert echo["body"] is None


async def test_what_the_server_says_becomes_the_error(jobs: Jobs):
    said = {"error": {"message": "no such voice", "type": "invalid_request_error", "code": "voice"}}
    output = await jobs("id-7", path="/give?status=400&type=application/json", method="POST", body=said)
    assert json.loads(output["error"]) == {
        "type": "invalid_request_error",
        "code": "voice",
        "status": 400,
        "message": "no such voice",
        "request_id": "id-7",
        "source": "server",
    }


async def test_a_redirect_is_not_followed(jobs: Jobs):
    output = await jobs(path="/give?status=302&location=http://example.com/", method="POST")
    assert json.loads(output["error"])["status"] == 302


async def test_a_job_that_takes_too_long_fails_and_its_work_ends(jobs: Jobs):
    output = await jobs(path="/sleep?seconds=60", timeout=0.3)
    assert json.loads(output["error"])["code"] == "job_timeout"
    await jobs.until_in_flight(0, seconds=1)


async def test_a_cancelled_job_posts_nothing_and_its_work_ends(jobs: Jobs):
    task = asyncio.create_task(jobs(path="/sleep?seconds=60"))
    await jobs.until_in_flight(1, seconds=5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await jobs.until_in_flight(0, seconds=1)


CHUNKED = "HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ntransfer-encoding: chunked\r\n\r\n"
PLAIN = "HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: 1000000\r\n\r\n"


@pytest.mark.parametrize(
    "query",
    [
        {"head": PLAIN, "hold": 60},  # a head, and then nothing
        {"head": "HTTP/1.1 200 OK\r\ncontent-type: audio", "hold": 60},  # half a head
        {"head": "HTTP/1.1 100 Continue\r\n\r\n", "hold": 60},
        {"head": CHUNKED + "ffffffffffffff\r\n", "text": "x" * 1000, "hold": 60},  # a chunk that will never be whole
        {"head": CHUNKED, "text": "5;" + "x" * 1000, "repeat": 200, "hold": 60},  # a chunk's size that never ends
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_never_ends_ends_with_the_jobs_limit(jobs: Jobs, query: dict[str, Any], stream: bool):
    error = json.loads((await jobs(path="/raw", query=query, timeout=0.5, stream=stream))["error"])
    assert (error["code"], error["message"]) in (
        ("job_timeout", "the job took longer than 0.5 s"),
        ("reply_broke_off", error["message"]),  # where it can be told that no end will come
        ("server_unavailable", error["message"]),
    )
    await jobs.until_in_flight(0, seconds=5)


async def test_a_byte_at_a_time_ends_with_the_jobs_limit(jobs: Jobs):
    output = await jobs(path="/drip?count=1000&pause=0.1&size=1000", method="POST", timeout=0.5)
    assert json.loads(output["error"])["code"] == "job_timeout"
    await jobs.until_in_flight(0, seconds=5)


@pytest.mark.parametrize("kind", ["audio/wav", "text/event-stream", "text/plain", "application/json"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_endless_answer_ends_at_its_largest_size(jobs: Jobs, kind: str, stream: bool):
    small = jobs.with_settings(max_answer_mb=2)
    error = json.loads((await small(path=f"/endless?type={kind}", stream=stream))["error"])
    await small.proxy.close()
    assert (error["status"], error["code"]) == (413, "reply_too_large")
    assert "WORKER_MAX_ANSWER_MB" in error["message"]
    await jobs.until_in_flight(0, seconds=5)


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ({"head": PLAIN, "text": "RIFF"}, 4),
        ({"head": CHUNKED, "text": "4\r\nRIFF\r\n"}, 4),
        ({"head": CHUNKED}, 0),
    ],
)
async def test_an_answer_that_breaks_off_says_that_it_began(jobs: Jobs, query: dict[str, Any], taken: int):
    error = json.loads((await jobs(path="/raw", query=query))["error"])
    assert (error["status"], error["code"], error["source"]) == (502, "reply_broke_off", "worker")
    assert f"began to answer (200, audio/wav) and broke off after {taken} bytes" in error["message"]
    assert "try again" not in error["message"]


@pytest.mark.parametrize(
    "query",
    [
        {"head": "nonsense\r\n\r\n"},
        {"head": "HTTP/1.1 200 OK\r\nx: ", "text": "x" * 1000, "repeat": 100},
        {"head": "HTTP/1.1 200 OK\r\n", "text": "x: y\r\n", "repeat": 100_000},
        {"head": ""},
    ],
)
async def test_a_head_that_no_server_sends_is_a_reason(jobs: Jobs, query: dict[str, Any]):
    error = json.loads((await jobs(path="/raw", query=query))["error"])
    assert error["code"] == "server_unavailable"
    await jobs.until_in_flight(0, seconds=5)


async def test_a_query_that_no_url_holds_is_refused(jobs: Jobs):
    error = json.loads((await jobs(path="/echo", query={"a": "x" * 70_000}))["error"])
    assert (error["status"], error["code"]) == (400, "invalid_job")
    assert error["message"].startswith("input.query: ")


async def test_an_id_that_jobs_bring_stays_in_theirs_and_is_no_other_jobs(jobs: Jobs):
    seen = [dict((await jobs(f"j{i}", path="/echo", headers={"X-Request-ID": "same"}))["headers"]) for i in (1, 2)]
    assert [headers["x-request-id"] for headers in seen] == ["same-j1", "same-j2"]
    long = dict((await jobs("j3", path="/echo", headers={"X-Request-ID": "x" * 500}))["headers"])["x-request-id"]
    blank = dict((await jobs("jé 4", path="/echo", headers={"X-Request-ID": "a b"}))["headers"])["x-request-id"]
    assert blank == "a_b-j__4"
    assert len(long) < 128
    assert long.endswith("-j3")


async def test_many_jobs_run_at_once(jobs: Jobs):
    async with asyncio.timeout(8):  # one after the other they would take 24 s
        outputs = await asyncio.gather(*(jobs(f"j{i}", path="/sleep?seconds=3") for i in range(8)))
    assert outputs == [{"slept": 3.0}] * 8


async def test_the_death_of_the_server_fails_its_jobs_and_the_next_job_succeeds(supervise: Callable[..., Supervisor]):
    jobs = Jobs(supervise(), stand_in_settings())
    sleeping = asyncio.create_task(jobs("sleeping", path="/sleep?seconds=60"))
    await jobs.until_in_flight(1, seconds=10)
    async with asyncio.timeout(2):
        crashed = await jobs("crashing", path="/crash?status=7")
        slept = await sleeping
    for output in (crashed, slept):
        error = json.loads(output["error"])
        assert error["code"] == "server_died"
        assert "exit status 7" in error["message"]
        assert "CUDA error in x.cu" in error["message"]
        assert "/srv" not in output["error"]
        assert "Traceback" not in output["error"]
    assert (await jobs(path="/echo"))["method"] == "GET"
    await jobs.proxy.close()


async def test_a_request_that_was_not_sent_goes_to_the_next_server(supervise: Callable[..., Supervisor]):
    supervisor = supervise()
    jobs = Jobs(supervisor, stand_in_settings())
    first = supervisor.wait_ready()
    assert await jobs(path="/deaf?seconds=0.3") == {}
    echo = await jobs(path="/echo", method="POST", file_base64=b64(b"x" * 1000))
    assert form_of(echo) == [("file", "file", b"x" * 1000)]
    assert supervisor.wait_ready().url != first.url
    await jobs.proxy.close()


async def test_a_server_that_is_deaf_and_stays_is_a_reason(supervise: Callable[..., Supervisor]):
    jobs = Jobs(supervise(), stand_in_settings())
    assert await jobs(path="/deaf?seconds=60") == {}
    error = json.loads((await jobs(path="/echo"))["error"])
    assert error["code"] == "server_unavailable"
    assert "connection to the speech server broke (ConnectError)" in error["message"]
    await jobs.proxy.close()
