"""A GPU that is lost, from the batch to the job: the server says why and ends, and the worker starts another."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WHISPER
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS
from tests.speech_server.transcribing import words_of
from tests.worker.conftest import Jobs, stand_in_settings, supervise
from worker.server.supervisor import Supervisor

pytestmark = pytest.mark.anyio
LIMIT = 60.0  # seconds any wait here may take
JOB = {
    "path": "/v1/audio/transcriptions",
    "body": {"model": WHISPER, "language": "en"},
    "file_base64": base64.b64encode(ENGLISH.read_bytes()).decode(),
}
__all__ = ["supervise"]  # a fixture


def is_lost(output: Any) -> bool:
    """Whether the job failed as one should whose server lost its GPU; a batch beside the first may have been whole."""
    if words_of(output.get("text", "")) == ENGLISH_WORDS:
        return False
    error = json.loads(output["error"])
    assert (error["status"], error["code"]) == (503, "device_failed"), error
    assert "an illegal memory access was encountered" in error["message"]
    return True


async def test_a_lost_gpu_fails_the_jobs_with_the_reason_and_the_next_server_does_the_next_job(
    supervise: Callable[..., Supervisor], tmp_path: Path
):
    command = shlex.join([sys.executable, "-m", "tests.losing_server", str(tmp_path / "lost")])
    supervisor = supervise(server_command=command)
    jobs = Jobs(supervisor, stand_in_settings())
    first = await supervisor.ensure_ready()
    outputs = await asyncio.gather(*(jobs(f"job-{number}", **JOB) for number in range(3)))
    assert sum(map(is_lost, outputs)) > 0

    died = await asyncio.wait_for(asyncio.wrap_future(first.died), LIMIT)
    assert died.startswith("ended with exit status 1; its last words:")
    assert "ended because of this: the GPU failed (an illegal memory access was encountered)" in died

    second = await asyncio.wait_for(supervisor.ensure_ready(), LIMIT)
    assert second is not first
    assert words_of((await jobs("job-next", **JOB))["text"]) == ENGLISH_WORDS
    await jobs.proxy.close()
