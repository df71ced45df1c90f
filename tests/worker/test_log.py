"""One call is one line, whatever text it was given."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worker.conftest import Jobs
from worker import log

HOSTILE = "a\r\nINFO   | job-2 | COMPLETED\x1b[2J\x7f\x9b\u2028\u2029\x85\u202egnp.exe\ud800 tab\there é"
ESCAPED = (
    r"a\r\nINFO   | job-2 | COMPLETED\x1b[2J\x7f\x9b\u2028\u2029\x85\u202egnp.exe\ud800"
    " tab\there é"
)


def test_a_text_cannot_begin_a_line_or_move_the_cursor(capsys: pytest.CaptureFixture[str]):
    log.warn(f"FAILED: {HOSTILE}", "job-1")
    assert capsys.readouterr().out == f"WARN   | job-1 | FAILED: {ESCAPED}\n"


def test_on_the_platform_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "e")
    log.warn(HOSTILE, "job-1")
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {"requestId": "job-1", "message": ESCAPED, "level": "WARN"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters()))
def test_any_text_is_one_line(capsys: pytest.CaptureFixture[str], text: str):
    log.info(text)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert all(char.isprintable() or char in "\t\n" or not char.isascii() for char in out)


@pytest.mark.anyio
async def test_an_unknown_key_cannot_forge_a_line(jobs: Jobs, capsys: pytest.CaptureFixture[str]):
    await jobs.raw({"id": "job-1", "input": {"path": "/echo", "x\nINFO   | job-2 | COMPLETED in 0.01 s": 1}})
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("INFO   | job-2")]


@pytest.mark.anyio
async def test_a_traceback_is_still_lines(jobs: Jobs, capsys: pytest.CaptureFixture[str]):
    await jobs.raw({"id": "job-1", "input": {5: "a key that is no text cannot come as JSON"}})
    lines = capsys.readouterr().out.splitlines()
    assert any("Traceback" in line for line in lines)
    assert all(line.startswith(("ERROR  | job-1 | ", "WARN   | job-1 | ", "INFO   | ")) for line in lines)
