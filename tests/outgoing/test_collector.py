"""Whether spans are sent, and where to, as OpenTelemetry's variables say; what cannot be is refused by its name."""

from __future__ import annotations

import pytest

from outgoing.collector import Collector, named_in
from outgoing.errors import CollectorRefused

BASE, EXACT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HEADERS, FLUSH = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_BSP_EXPORT_TIMEOUT"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({BASE: "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({BASE: "https://host/otlp/"}, "https://host/otlp/v1/traces"),
        ({EXACT: "http://host:4318/v1/traces"}, "http://host:4318/v1/traces"),
        ({BASE: "http://one", EXACT: "http://other/take"}, "http://other/take"),
    ],
)
def test_spans_go_where_the_environment_says(environ: dict[str, str], url: str):
    assert named_in(environ) == Collector(url, flush_seconds=2.0)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {BASE: " "},
        {"OTEL_SERVICE_NAME": "speech", HEADERS: "a=b"},
        {BASE: "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"},
        {BASE: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_wish_for_traces_nothing_is_sent(environ: dict[str, str]):
    assert named_in(environ) is None


@pytest.mark.parametrize("headers", ["", "api-key=abc", "Authorization=Basic%20YTpi, x-scope=1", "a=b=c==", "a=,"])
def test_headers_that_the_library_reads_pass(headers: str):
    assert named_in({BASE: "http://collector:4318", HEADERS: headers, FLUSH: "250"}).flush_seconds == 0.25


@pytest.mark.parametrize(
    "headers", ["secret", "api-key=a,secret", 'x="secret"', "x=secret%0d%0a", "x=secret\u2026", "x y=secret", "=secret"]
)
@pytest.mark.parametrize("name", [HEADERS, "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
def test_headers_that_it_would_log_are_refused_without_a_word_of_them(name: str, headers: str):
    with pytest.raises(CollectorRefused, match=f"{name}: its header [12] is not name=value") as refused:
        named_in({BASE: "http://collector:4318", name: headers})
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({BASE: "collector:4317"}, f"{BASE}: only http and https"),
        ({BASE: "http://user:secret@collector"}, f"{BASE}: has a user name"),
        ({EXACT: "http://collector/v1/traces?key=secret"}, rf"{EXACT}: has a \?"),
        ({BASE: "http://collector", FLUSH: "soon"}, f"{FLUSH}: 'soon' is not a number of milliseconds"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(environ: dict[str, str], words: str):
    with pytest.raises(CollectorRefused, match=words) as refused:
        named_in(environ)
    assert "secret" not in refused.value.message
