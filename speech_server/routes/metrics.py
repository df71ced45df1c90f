"""GET /metrics for Prometheus: requests, audio, models in memory, their queues, the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from speech_server.models.memory import Resident

disable_created_metrics()  # type: ignore[no-untyped-call]  # one series less for every counter

router = APIRouter(tags=["health"])

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
FACTORS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class Metrics:
    """One registry per app, so that two apps in one process do not share counters."""

    def __init__(self, loaded: Callable[[], list[Resident]]) -> None:
        self.registry = CollectorRegistry()
        self.in_flight = 0
        ProcessCollector(registry=self.registry)
        self.registry.register(Residents(loaded))
        self.requests = Counter(
            "speech_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "speech_request_seconds", "Time until the last byte.", ("route",), buckets=SECONDS, registry=self.registry
        )
        self._audio = Counter(
            "speech_audio_seconds", "Audio heard or spoken, in seconds.", ("task",), registry=self.registry
        )
        self._factor = Histogram(
            "speech_real_time_factor",
            "Working time per second of audio, waiting included.",
            ("task",),
            buckets=FACTORS,
            registry=self.registry,
        )
        Gauge("speech_requests_in_flight", "Requests being worked on.", registry=self.registry).set_function(
            lambda: self.in_flight
        )

    def count_audio(self, task: str, audio_seconds: float, working_seconds: float) -> None:
        self._audio.labels(task).inc(audio_seconds)
        if audio_seconds > 0:
            self._factor.labels(task).observe(working_seconds / audio_seconds)


class Residents(Collector):
    """Asks the loader when Prometheus asks."""

    def __init__(self, loaded: Callable[[], list[Resident]]) -> None:
        self._loaded = loaded

    def collect(self) -> Iterator[Metric]:
        models = self._loaded()
        gauge, counter = partial(by_model, GaugeMetricFamily), partial(by_model, CounterMetricFamily)
        queues = [(model, model.queue) for model in models if model.queue]
        yield GaugeMetricFamily("speech_models_loaded", "Models in memory.", value=len(models))
        yield gauge("model_memory_bytes", "Memory a model takes.", ((m, m.memory_bytes) for m in models))
        yield gauge("model_gpu_memory_bytes", "GPU memory a model takes, working.", ((m, m.gpu_bytes) for m in models))
        yield gauge("model_references", "Requests that use a model.", ((m, m.references) for m in models))
        yield gauge("queue_works", "Pieces of work that wait.", ((m, q.waiting) for m, q in queues))
        yield gauge("queue_requests", "Requests with work in the queue.", ((m, q.lanes) for m, q in queues))
        yield counter("batches", "Batches begun.", ((m, q.batches) for m, q in queues))
        yield counter("batch_works", "Pieces of work done in batches.", ((m, q.works_done) for m, q in queues))
        yield counter("busy_seconds", "Time workers were busy.", ((m, q.busy_seconds) for m, q in queues))


def by_model(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str, rows: Iterable[tuple[Resident, float]]
) -> Metric:
    family = kind(f"speech_{name}", text, labels=["model"])
    for model, value in rows:
        family.add_metric([model.info.id], value)
    return family


@router.get("/metrics", response_class=Response)
async def get_metrics(request: Request) -> Response:
    """Prometheus' text format."""
    speech = request.app.state.speech
    return Response(generate_latest(speech.metrics.registry), media_type=CONTENT_TYPE_LATEST)
