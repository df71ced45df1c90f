"""Whatever bytes the platform answers: no job is lost for another, and the loop goes on, unhurried."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Awaitable, Iterator
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_runpod.local_platform import eventually
from tests.worker.byte_platform import BytePlatform, Reply, job, reply
from worker.platform.poll import RawAnswer
from worker.platform.take import Taker

COMPLETED = ""  # else words of the error
MAX_MB = 21


@pytest.fixture(scope="module")
def platform() -> Iterator[BytePlatform]:
    with BytePlatform(WORKER_MAX_TAKE_MB=str(MAX_MB), WORKER_TAKE_TIMEOUT="1", WORKER_CONCURRENCY="3") as running:
        running.probe()
        yield running


def bad(job_id: str, value: bytes) -> bytes:
    return b'{"id": "%s", "input": {"path": "/echo", "body": {"x": %s}}}' % (job_id.encode(), value)


def batch(*elements: bytes) -> bytes:
    return b"[" + b", ".join(elements) + b"]"


def between(element: bytes) -> Reply:
    return reply(batch(job("first"), element, job("last")))


def dribble(body: bytes) -> Reply:
    """Whole elements at once, then a byte now and then until the worker hangs up."""

    def write(connection: socket.socket) -> None:
        connection.sendall(reply(body, length=len(body) + 1000))
        pause = threading.Event()
        for _ in range(1000):
            connection.sendall(b" ")
            pause.wait(0.05)

    return write


BOTH = {"first": COMPLETED, "last": COMPLETED}
DEEP = b"[" * 990 + b"]" * 990
HALF = batch(job("first"), job("last"))[:-1] + b', {"id": "half", "input": {"path": "/ec'
CASES: dict[str, tuple[Reply, dict[str, str]]] = {
    # one bad job of a batch
    "4,301 digits": (between(bad("bad", b"1" * 4301)), {**BOTH, "bad": "more than 640 digits"}),
    "990 lists": (between(bad("bad", DEEP)), {**BOTH, "bad": "nested more than 500 levels"}),
    "100,000 lists": (between(bad("bad", b"[" * 100_000 + b"]" * 100_000)), {**BOTH, "bad": "nested more than 500"}),
    "100,000 objects": (between(bad("bad", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)), {**BOTH, "bad": "nested"}),
    "65 objects": (between(bad("bad", b'{"a":' * 65 + b"1" + b"}" * 65)), {**BOTH, "bad": "input.body.x.a.a"}),
    "NaN": (between(bad("bad", b"NaN")), {**BOTH, "bad": "input.body.x: nan is not JSON"}),
    "1e999": (between(bad("bad", b"1e999")), {**BOTH, "bad": "input.body.x: inf is not JSON"}),
    "no JSON": (between(bad("bad", b"oops")), {**BOTH, "bad": "is not JSON"}),
    "a control character": (between(bad("bad", b'"\x01"')), {**BOTH, "bad": "is not JSON"}),
    "no UTF-8": (between(bad("bad", b'"\xff\xfe"')), {**BOTH, "bad": "is not UTF-8"}),
    "half a pair": (between(bad("bad", b'"\\ud800"')), {**BOTH, "bad": "half of a surrogate pair"}),
    "half a pair in UTF-8": (between(bad("bad", b'"\xed\xa0\x80"')), {**BOTH, "bad": "half of a surrogate pair"}),
    "id at the end": (between(b'{"input": {"id": "x", "y": %s}, "id": "bad"}' % DEEP), {**BOTH, "bad": "nested"}),
    "no input": (between(b'{"id": "bad"}'), {**BOTH, "bad": "input: must be an object"}),
    "null": (between(b'{"id": "bad", "input": null}'), {**BOTH, "bad": "input: must be an object"}),
    "no id": (between(b'{"input": {"path": "/echo"}}'), BOTH),
    "no id, and no JSON": (between(b'{"input": nonsense}'), BOTH),
    "no objects": (between(b'1, null, "{", [{"id": "x", "input": {}}], -1e5, {}'), BOTH),
    "twice": (between(job("first", query={"a": 1})), BOTH),
    "twice, once bad": (between(bad("first", DEEP)), BOTH),
    "two ids": (between(b'{"id": "other", "input": 1, "id": "bad"}'), {**BOTH, "bad": "input: must be an object"}),
    "an id of lines": (between(b'{"id": "a\\r\\nb", "input": {"path": "/echo"}}'), BOTH),
    "an id of dots": (between(b'{"id": "..", "input": {"path": "/echo"}}'), BOTH),
    "a number as id": (between(b'{"id": 5, "input": {"path": "/echo"}}'), BOTH),
    "keys of Python": (between(b'{"id": "odd", "self": 1, "__class__": 2, "input": 3}'), {**BOTH, "odd": "an object"}),
    "a hostile batchId": (between(b'{"id": "odd", "batchId": "\\n", "input": 3}'), {**BOTH, "odd": "an object"}),
    # one job alone
    "alone": (reply(job("first")), {"first": COMPLETED}),
    "alone and bad": (reply(bad("bad", DEEP)), {"bad": "nested more than 500"}),
    "alone without input": (reply(b'{"id": "bad"}'), {"bad": "input: must be an object"}),
    # the answer around them
    "byte order mark": (reply(b"\xef\xbb\xbf" + batch(job("first"), job("last"))), BOTH),
    "more than asked for": (reply(batch(*(job(f"job{i}") for i in range(40)))), {f"job{i}": "" for i in range(40)}),
    "no list, no end": (reply(job("first") + b"\n" + job("last") + b"\n"), BOTH),
    "text after it": (reply(batch(job("first"), job("last")) + b"]}} oops"), BOTH),
    "another type": (reply(batch(job("first"), job("last")), "200 OK", "Content-Type: text/html"), BOTH),
    "another status": (reply(batch(job("first"), job("last")), "202 Accepted"), BOTH),
    "gzip": (reply(gzip.compress(batch(job("first"), job("last"))), "200 OK", "Content-Encoding: gzip"), BOTH),
    "half of it": (reply(HALF), {**BOTH, "half": "did not come to its end"}),
    "cut": (reply(HALF, length=1_000_000), BOTH),
    "slow": (dribble(HALF), BOTH),
    "huge": (reply(HALF + b"x" * (MAX_MB * 1_000_000)), {**BOTH, "half": "larger than 21 MB (WORKER_MAX_TAKE_MB)"}),
    "gzip bomb": (
        reply(gzip.compress(HALF + bytes(200_000_000)), "200 OK", "Content-Encoding: gzip"),
        {**BOTH, "half": "larger"},
    ),
    "no gzip": (reply(batch(job("x"), job("y")), "200 OK", "Content-Encoding: gzip"), {}),
    # nothing that could be saved
    "empty": (reply(b""), {}),
    "empty list": (reply(b"[]"), {}),
    "a page": (reply(b"<html>{oops}</html>", "200 OK", "Content-Type: text/html"), {}),
    "UTF-16": (reply('[{"id": "x", "input": 1}]'.encode("utf-16")), {}),
    "zeros": (reply(bytes(1000)), {}),
    "quotes": (reply(b'"' * 10_001), {}),
    "brackets": (reply(b"[" * 100_000), {}),
    "braces": (reply(b"{" * 100_000), {}),
    "closed": (b"", {}),
    "no HTTP": (b"\x00\xff\r\n\r\n", {}),
    "a long header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", {}),
    "a bad chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", {}),
    "a bad length": (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", {}),
    **{
        str(status): (reply(b"[" * 10, f"{status} Said"), {})
        for status in (204, 302, 400, 401, 404, 413, 429, 500, 503)
    },
    "away": (reply(b"", "307 Go", "Location: ftp://example.com/\x01"), {}),
    "in circles": (reply(b"", "307 Go", "Location: /v2/local/ping/x"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_no_answer_of_the_platform_costs_another_job(platform: BytePlatform, name: str):
    answer, wanted = CASES[name]
    platform.results.clear()
    platform.send(answer)
    for job_id, words in wanted.items():
        result = platform.wait_for(job_id)
        if words:
            error = json.loads(result["error"])
            assert words in error["message"]
            assert (error["code"], error["status"], error["request_id"]) == ("invalid_job", 400, job_id)
        else:
            assert "error" not in result, result
    platform.probe()
    results = {job_id: said for job_id, said in platform.results.items() if not job_id.startswith("probe")}
    assert set(results) == set(wanted)
    assert {len(said) for said in results.values()} <= {1}


def test_what_is_lost_is_logged_with_its_size_and_without_its_content(platform: BytePlatform):
    before = len(platform.lines)
    platform.send(reply(b'[{"input": {"path": "/a-secret"}}, 5]'), reply(b"a-secret"), reply(HALF, length=10_000))
    platform.probe()
    lines = [json.loads(line) for line in platform.lines[before:] if line.startswith("{")]
    warnings = [line["message"] for line in lines if line["level"] == "WARN"]
    assert any("2 parts of 37 bytes from the platform became no job" in text for text in warnings), warnings
    assert any("1 parts of 8 bytes" in text for text in warnings), warnings
    assert any(f"cut after {len(HALF)} bytes" in text for text in warnings), warnings
    assert "secret" not in platform.log


@pytest.mark.parametrize("answer", [b"", *(reply(b"", f"{status} Said") for status in (204, 400, 500)), reply(b"5")])
def test_answers_that_come_at_once_are_no_reason_to_spin(platform: BytePlatform, answer: bytes):
    platform.probe()
    platform.always = answer
    platform.send(answer)  # ends the poll that is held
    try:
        before, began = platform.asked, time.monotonic()
        eventually(lambda: platform.asked >= before + 5, what="five more questions")
        assert time.monotonic() - began > 1  # without a pause they take milliseconds
    finally:
        platform.always = None
    platform.probe()


@pytest.mark.parametrize("answer", [b"", b"\xff", b"[" * 10_000, b'{"jobsToStop": 5}', b'{"jobsToStop": [5, "x"]}'])
def test_no_stop_signal_ends_the_loop(platform: BytePlatform, answer: bytes):
    for _ in range(3):
        platform.stops.put(reply(answer))
    platform.probe()


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
elements = st.one_of(
    any_json.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=20).map(lambda raw: bad("bad", raw)),
    st.builds(lambda head, tail: head + tail, st.binary(max_size=10), st.just(job("late"))),
    st.sampled_from([b"", b"{", b"[", b"]", b'"', b'{"id": "bad"', bad("bad", DEEP)]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.lists(elements, max_size=4).map(lambda parts: batch(job("first"), *parts)) | st.binary(max_size=200))
def test_any_bytes_leave_the_jobs_before_them_and_the_loop_alive(platform: BytePlatform, body: bytes):
    platform.results.clear()
    platform.send(reply(body))
    if body.startswith(b'[{"id": "first"'):
        assert "output" in platform.wait_for("first")
    platform.probe()
    assert {len(said) for said in platform.results.values()} <= {1}


def test_a_batch_that_comes_while_the_worker_is_stopped_is_read_to_its_end_and_run():
    half_sent, rest = threading.Event(), threading.Event()

    def write(connection: socket.socket) -> None:
        body = batch(job("first"), job("last"))
        connection.sendall(reply(body)[: -len(body) // 2])
        half_sent.set()
        rest.wait(30)
        connection.sendall(reply(body)[-len(body) // 2 :])

    with BytePlatform() as platform:
        platform.probe()
        platform.send(write)
        assert half_sent.wait(30)
        platform.worker.terminate()
        eventually(lambda: "stopping:" in platform.log, 20, "the worker stops")
        rest.set()
        assert all("output" in platform.wait_for(job_id) for job_id in ("first", "last"))
        assert platform.worker.wait(30) == 0


def test_the_worker_survived_it_all(platform: BytePlatform):
    assert platform.worker.poll() is None
    assert platform.stop() == 0
    assert "Traceback" not in platform.log
    assert "was never retrieved" not in platform.log


def test_jobs_are_read_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch):
    async def unless_shutdown(awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def read() -> list[Any]:
        taker = Taker(MAX_MB * 1_000_000, 1, unless_shutdown)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        try:
            return await taker._read(RawAnswer(batch(job("first", body={"x": "y" * 2_000_000}), job("last"))))
        finally:
            monkeypatch.undo()
            taker.close()

    assert [one["id"] for one in anyio.run(read)] == ["first", "last"]
