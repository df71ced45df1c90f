"""A job is a span whose steps are its children; the server is told where it is called from; nothing secret is told."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.otlp_receiver import Receiver, Seen, collector, told_to
from tests.worker.conftest import Jobs, free_port

pytestmark = pytest.mark.anyio

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
STEPS = ["encode_reply", "ensure_ready", "fetch_media", "forward"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with collector() as running:
        yield running


async def run(jobs: Jobs, receiver: Receiver, **job_input: Any) -> tuple[Any, dict[str, Seen]]:
    """A job's output, and its spans by name."""
    with told_to(receiver):
        output = await jobs(**job_input)
    names = [span.name for span in receiver.spans]
    assert len(names) == len(set(names))
    return output, {span.name: span for span in receiver.spans}


async def test_the_steps_of_a_job_are_its_children(jobs: Jobs, receiver: Receiver):
    await jobs(path="/echo")  # the server is ready, and its client open
    _, spans = await run(
        jobs, receiver, path="/give?type=text/plain", method="POST", file_base64=base64.b64encode(b"hi").decode()
    )
    assert receiver.children(spans["job"]) == STEPS
    assert len({span.trace for span in receiver.spans}) == 1
    assert (spans["job"].kind, spans["job"].parent) == ("consumer", "")
    assert spans["job"].attributes == {"faas.invocation_id": "job-1", "faas.trigger": "pubsub"}
    assert spans["fetch_media"].attributes == {"worker.files": 1}
    assert spans["encode_reply"].attributes == {"worker.answer.bytes": 2}
    assert spans["forward"].kind == "client"
    assert spans["forward"].attributes == {
        "http.request.method": "POST",
        "url.path": "/give",
        "http.response.status_code": 200,
    }


async def test_the_server_is_told_which_step_asks(jobs: Jobs, receiver: Receiver):
    echo, spans = await run(jobs, receiver, path="/echo")
    assert dict(echo["headers"])["traceparent"].startswith(f"00-{spans['job'].trace}-{spans['forward'].id}-")


@pytest.mark.parametrize("name", ["traceparent", "TraceParent"])
async def test_a_callers_trace_goes_on(jobs: Jobs, receiver: Receiver, name: str):
    echo, spans = await run(jobs, receiver, path="/echo", headers={name: PARENT, "tracestate": "vendor=1"})
    assert (spans["job"].trace, spans["job"].parent) == (TRACE, CALLER)
    sent = dict(echo["headers"])
    assert sent["traceparent"] == f"00-{TRACE}-{spans['forward'].id}-01"
    assert sent["tracestate"] == "vendor=1"


async def test_untraced_the_server_gets_the_callers_own(jobs: Jobs):
    echo = await jobs(path="/echo", headers={"traceparent": PARENT})
    assert dict(echo["headers"])["traceparent"] == PARENT


async def test_a_job_that_cannot_be_is_a_failed_span_of_its_callers(jobs: Jobs, receiver: Receiver):
    _, spans = await run(jobs, receiver, path="//elsewhere", headers={"traceparent": PARENT})
    assert list(spans) == ["job"]
    assert (spans["job"].failed, spans["job"].parent) == (True, CALLER)
    assert spans["job"].attributes["error.type"] == "invalid_job"


@pytest.mark.parametrize("raw", [None, [], {"headers": 1}, {"headers": {"traceparent": 1}}, {"headers": {"a": None}}])
async def test_whatever_shape_a_job_has_it_is_a_span(jobs: Jobs, receiver: Receiver, raw: Any):
    with told_to(receiver):
        await jobs.raw({"id": "job-1", "input": raw})
    assert [(span.name, span.failed, span.parent) for span in receiver.spans] == [("job", True, "")]


async def test_what_the_server_refuses_is_told_by_its_status(jobs: Jobs, receiver: Receiver):
    _, spans = await run(jobs, receiver, path="/nowhere")
    assert spans["forward"].failed
    assert spans["forward"].attributes["http.response.status_code"] == 404
    assert spans["job"].failed


async def test_a_file_that_cannot_be_had_fails_its_step(jobs: Jobs, receiver: Receiver):
    url = f"http://127.0.0.1:{free_port()}/a.wav?token=secret"
    _, spans = await run(jobs, receiver, path="/echo", file_url=url)
    assert receiver.children(spans["job"]) == ["fetch_media"]
    assert spans["fetch_media"].attributes["error.type"] == "MediaUnavailable"
    assert spans["job"].attributes["error.type"] == "media_unavailable"


async def test_a_job_that_takes_too_long_is_told(jobs: Jobs, receiver: Receiver):
    _, spans = await run(jobs, receiver, path="/sleep?seconds=60", timeout=0.3)
    assert spans["job"].attributes["error.type"] == "job_timeout"
    assert spans["forward"].attributes["error.type"] == "CancelledError"


async def test_no_query_no_header_and_no_body_is_told(jobs: Jobs, receiver: Receiver):
    await run(
        jobs,
        receiver,
        path="/echo?a=secret",
        query={"b": "secret"},
        headers={"authorization": "Bearer secret", "x-a": "secret"},
        body={"input": "secret"},
    )
    assert {span.name for span in receiver.spans} >= {"job", "forward"}
    assert "secret" not in repr(receiver.spans)
    assert [span.rest for span in receiver.spans if span.rest] == []


async def test_jobs_side_by_side_are_traces_of_their_own(jobs: Jobs, receiver: Receiver):
    with told_to(receiver):
        await asyncio.gather(*(jobs(f"job-{number}", path="/echo") for number in range(8)))
    roots = receiver.named("job", 8)
    assert len({root.trace for root in roots}) == 8
    for root in roots:
        assert receiver.children(root) == STEPS
