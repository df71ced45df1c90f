"""A traced job is one trace from the worker to the engine, in the eyes of a collector; so is a request over HTTP."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from tests.conftest import KOKORO, PIPER, ROOT, WHISPER, ServerProcess
from tests.local_runpod.local_platform import LocalPlatform
from tests.otlp_receiver import Receiver, collector

pytestmark = pytest.mark.xdist_group("queue")

CLIP = ROOT / "examples/clips/english.opus"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
KEY = "canary-4711"
AT_THE_END = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_BSP_EXPORT_TIMEOUT": "30000"}
ONE_JOB = '{"input": {"path": "/v1/models"}}'
WORKER_STEPS = ["encode_reply", "ensure_ready", "fetch_media", "forward"]


def environment(receiver: Receiver) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={KEY}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def platform(receiver: Receiver) -> Iterator[LocalPlatform]:
    env = environment(receiver) | {"SPEECH_SERVER_COMMAND": "", "WORKER_PROGRESS_INTERVAL": "0.1"}
    with LocalPlatform([sys.executable, "-u", "handler.py"], env=env) as running:
        yield running


@pytest.fixture(scope="module")
def server(receiver: Receiver) -> Iterator[ServerProcess]:
    running = ServerProcess(environment(receiver))
    yield running
    running.stop()


def test_a_transcription_is_one_trace_from_the_job_to_the_engine(platform: LocalPlatform, receiver: Receiver):
    said = base64.b64encode(CLIP.read_bytes()).decode()
    job = {"path": "/v1/audio/transcriptions", "body": {"model": WHISPER}, "file_base64": said}
    outcome = platform.runsync({**job, "headers": {"traceparent": PARENT}})
    assert "quick brown fox" in outcome["output"]["text"]
    (job_span,), (request,), (engine,) = (
        receiver.named(name) for name in ("job", "POST /v1/audio/transcriptions", "whisper")
    )
    (forward,), (encode,), (decode,) = (receiver.named(name) for name in ("forward", "encode", "decode"))
    assert {span.trace for span in receiver.spans} == {TRACE}
    assert (job_span.parent, job_span.attributes["faas.invocation_id"]) == (CALLER, outcome["id"])
    assert receiver.children(job_span) == WORKER_STEPS
    assert (request.parent, request.kind) == (forward.id, "server")
    assert request.attributes["http.route"] == "/v1/audio/transcriptions"
    assert request.attributes["http.response.status_code"] == 200
    # Whisper's and the voice detector's loading.
    assert receiver.children(request) == ["load_model", "load_model", "queue", "read_audio", "whisper"]
    assert receiver.named("load_model", 2)[0].attributes == {"gen_ai.request.model": WHISPER}
    assert {encode.parent, decode.parent} == {engine.id}
    assert (job_span.service, request.service) == ("speech-worker", "speech-server")
    assert job_span.began <= forward.began <= request.began <= encode.began <= encode.ended <= decode.began
    assert [span.rest for span in receiver.spans if span.rest] == []
    assert not any(word in repr(receiver.spans) for word in ("quick", KEY))
    assert receiver.headers[-1]["api-key"] == KEY
    assert KEY not in platform.log


def test_speech_is_traced_to_its_engine(platform: LocalPlatform, receiver: Receiver):
    receiver.spans.clear()
    body = {"model": PIPER, "voice": "joe", "input": "Nobody should read this sentence in a trace. Nor this one here."}
    assert platform.runsync({"path": "/v1/audio/speech", "body": body})["status"] == "COMPLETED"
    spoken = receiver.named("piper", 2)
    (request,) = receiver.named("POST /v1/audio/speech")
    (job,) = receiver.named("job")
    assert receiver.children(request) == ["load_model", "piper", "piper", "queue", "queue"]
    assert {span.trace for span in receiver.spans} == {job.trace}
    assert job.trace != TRACE
    assert job.parent == ""
    assert [span.attributes["speech.batch.size"] for span in spoken] == [1, 1]
    assert "Nobody" not in repr(receiver.spans)


def test_a_request_over_http_continues_its_callers_trace(server: ServerProcess, receiver: Receiver):
    receiver.spans.clear()
    body = {"model": KOKORO, "voice": "af_heart", "input": "Hello there.", "response_format": "pcm"}
    headers = {"traceparent": PARENT, "x-request-id": "mine"}
    httpx.post(
        f"{server.url}/v1/audio/speech?api_key=secret", json=body, headers=headers, timeout=60
    ).raise_for_status()
    receiver.named("kokoro")
    (request,) = receiver.named("POST /v1/audio/speech")
    assert (request.trace, request.parent) == (TRACE, CALLER)
    assert request.attributes["http.response.header.x-request-id"] == ["mine"]
    assert "secret" not in repr(receiver.spans)


def test_a_refused_request_is_told_by_its_status_and_polls_are_not(server: ServerProcess, receiver: Receiver):
    receiver.spans.clear()
    for path in ("/health", "/ping", "/metrics", "/api/progress/nobody"):
        httpx.get(server.url + path)
    assert httpx.get(f"{server.url}/v1/nothing").status_code == 404
    (request,) = receiver.named("GET")
    assert (request.attributes["http.response.status_code"], request.attributes["url.path"]) == (404, "/v1/nothing")
    assert not request.failed
    assert [span.name for span in receiver.spans] == ["GET"]


def test_a_realtime_session_is_one_request(server: ServerProcess, receiver: Receiver):
    receiver.spans.clear()
    address = f"ws{server.url.removeprefix('http')}/v1/realtime?model={WHISPER}&intent=transcription&api_key=secret"
    with connect(address, additional_headers={"traceparent": PARENT}) as session:
        assert "session.created" in str(session.recv())
    (request,) = receiver.named("GET /v1/realtime")
    assert (request.trace, request.attributes["network.protocol.name"]) == (TRACE, "websocket")
    assert request.attributes["http.response.status_code"] == 101
    assert "secret" not in repr(receiver.spans)


def test_the_last_spans_are_sent_when_the_server_ends(receiver: Receiver):
    receiver.spans.clear()
    server = ServerProcess(environment(receiver) | AT_THE_END)
    httpx.get(f"{server.url}/v1/models")
    assert receiver.spans == []
    server.stop()
    assert [span.name for span in receiver.spans] == ["GET /v1/models"]


def test_the_last_spans_are_sent_when_the_worker_ends(receiver: Receiver):
    receiver.spans.clear()
    env = {**os.environ, **environment(receiver), **AT_THE_END, "SPEECH_SERVER_COMMAND": ""}
    subprocess.run([sys.executable, "handler.py", "--test_input", ONE_JOB], cwd=ROOT, env=env, check=True, timeout=60)
    assert sorted(span.name for span in receiver.spans) == sorted(["GET /v1/models", "job", *WORKER_STEPS])
    assert len({span.trace for span in receiver.spans}) == 1


def test_a_collector_that_is_not_there_is_one_line_in_the_log_and_no_failure(receiver: Receiver):
    env = environment(receiver) | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    server = ServerProcess(env)
    for _ in range(3):
        assert httpx.get(f"{server.url}/v1/models").status_code == 200
    server.stop()
    assert server.process.returncode == 0
    assert "".join(server.lines).count("traces: ") == 1
    assert KEY not in "".join(server.lines)


@pytest.mark.parametrize("program", [["handler.py", "--test_input", ONE_JOB], ["-m", "speech_server", "--port", "0"]])
def test_an_address_that_cannot_be_ends_the_program_with_its_name(program: list[str]):
    env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}
    env.pop("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", None)
    done = subprocess.run([sys.executable, *program], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: only http and https URLs" in done.stderr


def test_untraced_a_request_imports_nothing_of_the_library():
    code = """
import sys, worker.proxy, handler
from fastapi.testclient import TestClient
from speech_server.app import create_app
with TestClient(create_app()) as client:
    assert client.get("/v1/models").status_code == 200
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
