"""Spans: what each step of the work took, told over OTLP where the environment names a collector.

The rooms share it, for a trace goes through both. It alone knows OpenTelemetry, and imports that in `start`; where
nobody traces, a step costs the call that returns SILENT.

Told are names, sizes and the kinds of errors. Never a text, a header, a query or the message of an error, which may
quote all of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from outgoing.collector import Collector
from outgoing.errors import CollectorRefused

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as Told
    from opentelemetry.trace import Tracer

Attributes: TypeAlias = Mapping[str, str | int | float | bool | Sequence[str]]
Kind: TypeAlias = Literal["internal", "server", "client", "consumer"]

QUIET = 300.0  # seconds between two lines about spans that cannot be sent; the library writes several for each batch
LONGEST_PATH = 200  # characters of a path in a span

_current: ContextVar[Context | None] = ContextVar("current", default=None)


class Span:
    """One step, ended by `end` or by leaving its block. `place`: where in the trace its own steps belong."""

    __slots__ = ("_told", "place")

    def __init__(self, told: Told | None = None, place: Context | None = None) -> None:
        self._told = told
        self.place = place

    def note(self, attributes: Attributes) -> None:
        if self._told:
            self._told.set_attributes(attributes)

    def rename(self, name: str) -> None:
        if self._told:
            self._told.update_name(name)

    def fail(self, kind: str) -> None:
        if self._told:
            from opentelemetry.trace import StatusCode

            self._told.set_attribute("error.type", kind)
            self._told.set_status(StatusCode.ERROR)

    def end(self) -> None:
        if self._told:
            self._told.end()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.fail(kind.__name__)
        self.end()


SILENT = Span()


@dataclass(frozen=True, slots=True)
class _Telling:
    provider: TracerProvider
    tracer: Tracer
    flush_seconds: float


_telling: _Telling | None = None


def start(collector: Collector | None, service: str, warn: Callable[[str], None]) -> None:
    """From now on steps are told; without a collector nothing is. `service`: its name where OTEL_SERVICE_NAME gives
    none; `warn` gets a line where spans cannot be sent. Raises CollectorRefused."""
    global _telling
    if collector is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    library = logging.getLogger("opentelemetry")
    library.handlers[:] = [_Seldom(warn)]
    library.setLevel(logging.WARNING)
    library.propagate = False
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    try:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=collector.url)))
    except ValueError as error:
        raise CollectorRefused(f"OpenTelemetry refuses its settings (OTEL_*): {error}") from None
    _telling = _Telling(provider, provider.get_tracer("runpod-speech"), collector.flush_seconds)


def stop() -> None:
    """Sends the last spans, and leaves those that the collector does not take in time."""
    global _telling
    telling, _telling = _telling, None
    if telling is not None:
        # The library's own limit is 30 s, and cannot be set.
        ending = threading.Thread(target=telling.provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(telling.flush_seconds)


def here() -> Context | None:
    """The place in the trace that this task is at, for steps that others do for it; None where there is no trace."""
    return _current.get()


def begin(
    name: str,
    place: Context | None,
    attributes: Attributes | None = None,
    *,
    kind: Kind = "internal",
    ago: float = 0.0,
) -> Span:
    """A step of the work at `place`, begun `ago` seconds ago, on any thread; no step where there is no place."""
    return SILENT if place is None else _begun(name, place, attributes, kind, ago)


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: Kind = "internal",
    carrier: Mapping[str, str] | None = None,
) -> Iterator[Span]:
    """A step of this task; what is done in the block is part of it. It continues the trace that `carrier`, headers by
    their names in lower case, came from. Not for a block that yields: another task may go on behind that."""
    if _telling is None:
        yield SILENT
        return
    before = _current.get()
    with _begun(name, before if carrier is None else _continued(carrier), attributes, kind) as step:
        _current.set(step.place)
        try:
            yield step
        finally:
            _current.set(before)


def headers() -> dict[str, str]:
    """What tells a server which step its request is part of: W3C's trace context."""
    if (place := _current.get()) is None:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, place)
    return carrier


def _continued(carrier: Mapping[str, str]) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carrier, Context())


def _begun(name: str, place: Context | None, attributes: Attributes | None, kind: Kind, ago: float = 0.0) -> Span:
    telling = _telling
    if telling is None:  # it was stopped meanwhile
        return SILENT
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, set_span_in_context

    told = telling.tracer.start_span(
        name,
        place or Context(),
        SpanKind[kind.upper()],
        attributes=attributes,
        start_time=time.time_ns() - int(ago * 1e9),
    )
    return Span(told, set_span_in_context(told, place or Context()))


class _Seldom(logging.Handler):
    """What the library says about sending, at most once in QUIET seconds."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        self._quiet_until = 0.0

    def emit(self, record: Any) -> None:
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + QUIET
            self._warn(f"traces: {record.getMessage()} (no more about it for {QUIET:g} s)")
