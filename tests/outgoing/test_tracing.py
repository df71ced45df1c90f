"""Steps become spans of one trace, by whatever thread they are done; off, they cost nothing and import nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from outgoing import tracing
from outgoing.collector import Collector
from outgoing.errors import CollectorRefused
from tests.conftest import ROOT
from tests.local_runpod.local_platform import eventually
from tests.otlp_receiver import Receiver, collector, told_to

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with collector() as running:
        yield running


def test_a_step_in_a_step_is_its_child(receiver: Receiver):
    with told_to(receiver), tracing.span("outer", {"n": 1}), tracing.span("inner", kind="client"):
        pass
    inner, outer = receiver.spans
    assert (outer.name, outer.parent, outer.attributes, outer.kind) == ("outer", "", {"n": 1}, "internal")
    assert (inner.parent, inner.trace, inner.kind) == (outer.id, outer.trace, "client")
    assert outer.began <= inner.began <= inner.ended <= outer.ended
    assert outer.service == "tested"


def test_what_a_thread_does_for_a_task_is_part_of_its_step(receiver: Receiver):
    def work(place: object) -> None:
        with tracing.begin("work", place, ago=2.0) as step, tracing.begin("part", step.place):
            assert tracing.here() is None

    with told_to(receiver):
        with tracing.span("asked") as asked:
            thread = threading.Thread(target=work, args=(tracing.here(),))
        thread.start()
        thread.join()
        assert asked.place is not None
    (outer,), (inner,), (root,) = (receiver.named(name) for name in ("work", "part", "asked"))
    assert (outer.parent, inner.parent) == (root.id, outer.id)
    assert inner.began - outer.began >= 2e9


def test_tasks_have_places_of_their_own(receiver: Receiver):
    async def step(name: str) -> None:
        with tracing.span(name):
            await asyncio.sleep(0)
            with tracing.span(f"in {name}"):
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(step("a"), step("b"))

    with told_to(receiver):
        asyncio.run(both())
    for name in ("a", "b"):
        (outer,) = receiver.named(name)
        assert receiver.children(outer) == [f"in {name}"]


def test_a_callers_trace_goes_on_and_the_next_process_is_told(receiver: Receiver):
    with told_to(receiver), tracing.span("served", carrier={"traceparent": f"00-{TRACE}-{CALLER}-01"}):
        passed = tracing.headers()["traceparent"]
    (served,) = receiver.spans
    assert (served.trace, served.parent) == (TRACE, CALLER)
    assert passed == f"00-{TRACE}-{served.id}-01"


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{TRACE}-{CALLER}", f"00-{'0' * 32}-{CALLER}-01"])
def test_a_traceparent_that_is_none_begins_a_trace(receiver: Receiver, traceparent: str):
    with told_to(receiver), tracing.span("served", carrier={"traceparent": traceparent}):
        pass
    (served,) = receiver.spans
    assert served.parent == ""
    assert served.trace != TRACE


def test_a_trace_that_its_caller_does_not_keep_is_not_sent(receiver: Receiver):
    with told_to(receiver), tracing.span("served", carrier={"traceparent": f"00-{TRACE}-{CALLER}-00"}):
        assert tracing.headers()["traceparent"].endswith("-00")
    assert receiver.spans == []


def test_a_failure_is_told_by_its_kind_and_not_by_its_words(receiver: Receiver):
    with told_to(receiver), pytest.raises(ValueError, match="a transcript"), tracing.span("step"):
        raise ValueError("a transcript")
    (step,) = receiver.spans
    assert (step.failed, step.attributes, step.rest) == (True, {"error.type": "ValueError"}, "")


def test_the_services_name_and_the_headers_are_the_environments(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "speech-eu")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc%20d")
    with told_to(receiver), tracing.span("step"):
        pass
    assert receiver.spans[0].service == "speech-eu"
    assert receiver.headers[0]["api-key"] == "abc d"


def test_the_sampler_is_the_environments(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with told_to(receiver), tracing.span("step"):
        pass
    assert receiver.spans == []


def test_settings_that_the_library_refuses_are_refused(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    with pytest.raises(CollectorRefused, match="OpenTelemetry refuses its settings"), told_to(receiver):
        pass


@pytest.mark.parametrize("status", [401, 503])
def test_spans_that_nobody_takes_are_one_line(receiver: Receiver, status: int):
    receiver.status = status
    lines: list[str] = []
    tracing.start(Collector(f"{receiver.url}/v1/traces", 0.2), "tested", lines.append)
    for _ in range(600):  # more than one batch
        with tracing.span("step"):
            pass
    tracing.stop()
    eventually(lambda: lines and len(receiver.headers) >= 2, what="two batches refused")
    assert len(lines) == 1
    assert lines[0].startswith("traces: ")
    assert "no more about it for 300 s" in lines[0]


def test_the_end_does_not_wait_for_a_collector_that_does_not_answer(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")  # seconds; the collector does answer, after 20
    receiver.gate.clear()
    tracing.start(Collector(f"{receiver.url}/v1/traces", 0.1), "tested", print)
    with tracing.span("step"):
        pass
    tracing.stop()
    assert not receiver.gate.is_set()
    assert receiver.spans == []
    tracing.stop()
    with tracing.span("after the end") as step:
        assert step is tracing.SILENT


def test_off_nothing_is_told_and_nothing_imported():
    code = """
import sys
from outgoing import tracing
from outgoing.collector import named_in
tracing.start(named_in({}), "x", print)
with tracing.span("a", {"b": 1}, kind="server", carrier={}) as step, tracing.begin("c", tracing.here()) as inner:
    assert step is inner is tracing.SILENT
    step.note({"d": 1}), step.rename("e"), step.fail("f")
    assert tracing.headers() == {}
tracing.stop()
sys.exit(sorted(name for name in sys.modules if name.startswith(("opentelemetry", "requests", "google"))) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
