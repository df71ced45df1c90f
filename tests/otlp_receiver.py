"""A collector: takes traces over OTLP/HTTP as any does, and remembers their spans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Told
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Seen:
    """One span as it arrived; ids in hexadecimal, as in a traceparent."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    attributes: dict[str, Any]
    failed: bool
    service: str
    began: int  # nanoseconds since 1970
    ended: int
    rest: str  # events, links and the status' text: what should be empty


class Receiver:
    """`gate`: where it is closed, what comes is not answered for 20 s."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.url = ""

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(pair.value.string_value for pair in resource.resource.attributes if pair.key == SERVICE)
            for scope in resource.scope_spans:
                self.spans += [seen(told, service) for told in scope.spans]

    def named(self, name: str, count: int = 1, seconds: float = 30.0) -> list[Seen]:
        """The spans of a name, once there are so many."""
        limit, pause = time.monotonic() + seconds, threading.Event()
        while len(found := [span for span in self.spans if span.name == name]) < count:
            assert time.monotonic() < limit, f"{len(found)} spans {name!r}; seen: {[span.name for span in self.spans]}"
            pause.wait(0.02)
        return found

    def children(self, of: Seen) -> list[str]:
        return sorted(span.name for span in self.spans if span.parent == of.id)


SERVICE = "service.name"


def seen(told: Told, service: str) -> Seen:
    return Seen(
        told.name,
        told.trace_id.hex(),
        told.span_id.hex(),
        told.parent_span_id.hex(),
        Told.SpanKind.Name(told.kind).removeprefix("SPAN_KIND_").lower(),
        {pair.key: plain(pair.value) for pair in told.attributes},
        told.status.code == Status.STATUS_CODE_ERROR,
        service,
        told.start_time_unix_nano,
        told.end_time_unix_nano,
        f"{list(told.events) or ''}{list(told.links) or ''}{told.status.message}",
    )


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [plain(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, str(kind))


@contextmanager
def collector() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.gate.wait(20)
            if receiver.status == 200:
                receiver.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(receiver.status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.shutdown()
        server.server_close()


@contextmanager
def told_to(receiver: Receiver, warn: Callable[[str], None] = print) -> Iterator[None]:
    """What this process does in the block, whose end sends the last of it."""
    from outgoing import tracing
    from outgoing.collector import Collector

    tracing.start(Collector(f"{receiver.url}/v1/traces", 30.0), "tested", warn)
    try:
        yield
    finally:
        tracing.stop()
