"""No line of the log holds a secret, whoever wrote it and wherever in the line it stands."""

from __future__ import annotations

import logging
import logging.config
import time

import pytest

from speech_server.commands.log import RedactingFormatter, log_config
from speech_server.redaction import redact, secret_values

KEY = "s3cr3t-value.with/odd+chars=="


@pytest.mark.parametrize(
    "line",
    [
        f'127.0.0.1:1 - "WebSocket /v1/realtime?api_key={KEY}" [accepted]',
        f"GET /v1/realtime?model=m&api_key={KEY} HTTP/1.1",
        f"https://bucket.example/a.wav?X-Amz-Signature={KEY}&X-Amz-Date=1 answered 403",
        f"('https://bucket.example/a?token={KEY}')",
        f"cannot reach https://user:{KEY.replace('/', '-')}@host.example/v1",
        f"< Authorization: Bearer {KEY}",
        f"< authorization: Basic {KEY}",
        f"< X-API-Key: {KEY}",
        f"{{'x-api-key': '{KEY}'}}",
        f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{KEY}, openai-beta.realtime-v1",
    ],
)
def test_a_secret_is_blanked_where_it_stands(line: str):
    assert "s3cr3t" not in redact(line)
    assert "***" in redact(line)


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/models 200 in 0.001 s, 0 B in, 120 B out, request abc",
        "https://host.example/a/b.wav answered 403: is it public? yes, it should be",
        "model Systran/faster-whisper-base is in memory",
        "missing or wrong API key: send it as `X-API-Key`",
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str):
    assert redact(line, secret_values({"HF_TOKEN": "", "A_KEY": "in", "PATH": "models"})) == line


def test_values_of_the_environment_are_known_by_their_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHAT_COMPLETION_API_KEY", "a-plain-word")
    formatter = RedactingFormatter("%(message)s")
    try:
        raise ValueError("refused: a-plain-word")
    except ValueError as error:
        record = logging.LogRecord("any", logging.ERROR, "", 0, "failed with %s", (error,), (type(error), error, None))
    assert "a-plain-word" not in formatter.format(record)
    assert "ValueError: refused: ***" in formatter.format(record)


@pytest.mark.parametrize(
    "logger", ["uvicorn.error", "uvicorn.access", "speech_server.requests", "websockets", "any.library"]
)
@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_every_logger_goes_through_the_one_place(logger: str, level: str, capsys: pytest.CaptureFixture[str]):
    before = dict(logging.root.manager.loggerDict)
    try:
        logging.config.dictConfig(log_config(level))
        named = logging.getLogger(logger)
        assert {handler.formatter.__class__ for handler in handlers_of(named)} == {RedactingFormatter}
    finally:
        for name in ("uvicorn", "speech_server", "py.warnings", ""):
            logging.getLogger(name).handlers.clear()
        logging.getLogger("speech_server").propagate = logging.getLogger("uvicorn").propagate = True
        logging.getLogger("speech_server").setLevel(logging.NOTSET)
        logging.root.manager.loggerDict.update(before)


def handlers_of(logger: logging.Logger | None) -> list[logging.Handler]:
    found: list[logging.Handler] = []
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found


def test_a_long_line_costs_no_more_than_its_length():
    def seconds(line: str) -> float:
        best = []
        for _ in range(3):
            began = time.thread_time()
            redact(line)
            best.append(time.thread_time() - began)
        return min(best)

    for hostile in ("?a=", "://", "bearer ", "api_key=", "?", "a:", "openai-insecure-api-key.", "://a", "api_key \t"):
        assert seconds(hostile * 8000) < 6 * seconds(hostile * 2000) + 0.005, hostile
