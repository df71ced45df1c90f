"""A job about a clip: its URL is fetched in parts and its file on the volume is not copied; what fails is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from speech_server.audio import decode
from tests.conftest import ROOT, WHISPER, ServerProcess
from tests.local_runpod.local_platform import LocalPlatform
from tests.ranged_server import Ranged, served
from tests.sound import wav

pytestmark = pytest.mark.xdist_group("queue")

AT, SECONDS = 700.0, 900.0


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a quarter of an hour in which something is said once."""
    folder = tmp_path_factory.mktemp("volume")
    said = np.concatenate(list(decode.stream(ROOT / "examples/clips/english.opus", decode.Limits(60))))
    samples = np.zeros(round(SECONDS * 16_000), "<i2")
    samples[round(AT * 16_000) :][: len(said)] = (said * 32767).astype("<i2")
    (folder / "long.wav").write_bytes(wav(samples.tobytes()))
    return folder


@pytest.fixture(scope="module")
def platform(volume: Path) -> Iterator[LocalPlatform]:
    env = {
        "SPEECH_SERVER_COMMAND": "",
        "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true",
        "WORKER_VOLUME": str(volume),
        "WORKER_DOWNLOAD_STALL_TIMEOUT": "20",
    }
    with LocalPlatform([sys.executable, "-u", "handler.py"], env=env) as running:
        yield running


def clip(**file: str) -> dict[str, Any]:
    fields = {
        "model": WHISPER,
        "clip_start": AT - 5,
        "clip_end": AT + 10,
        "clip_zone": 1,
        "language": "en",
        "response_format": "verbose_json",
        "timestamp_granularities": ["word"],
    }
    return {"path": "/v1/audio/transcriptions", "body": fields, **file}


def heard(done: dict[str, Any]) -> tuple[list[str], float]:
    words = done["output"]["words"]
    return [word["word"] for word in words], words[0]["start"]


def test_a_clip_is_heard_alike_wherever_the_recording_is_and_little_of_it_is_fetched(
    platform: LocalPlatform, volume: Path
):
    data = (volume / "long.wav").read_bytes()
    with served(Ranged(data)) as ranges, served(Ranged(data, ranges=False)) as whole:
        answers = [
            platform.runsync(clip(**file))
            for file in (
                {"file_path": "long.wav"},
                {"file_url": f"{ranges.url}/long.wav"},
                {"file_url": f"{whole.url}/long.wav"},
            )
        ]
        assert ranges.sent < len(data) / 10
        assert whole.sent == len(data)
    assert answers[0]["status"] == "COMPLETED", answers[0]
    words, start = heard(answers[0])
    assert len(words) > 3
    assert AT - 1 < start < AT + 3
    assert [heard(answer) for answer in answers] == [(words, start)] * 3


def test_a_url_that_ends_in_the_middle_fails_the_job_and_is_named(platform: LocalPlatform, volume: Path):
    with served(Ranged((volume / "long.wav").read_bytes(), status_after=(1, 403))) as server:
        done = platform.runsync(clip(file_url=f"{server.url}/long.wav?token=secret"))
    assert done["status"] == "FAILED"
    error = json.loads(done["error"])
    assert (error["code"], error["source"]) == ("media_unavailable", "worker")
    assert "input.file_url: the URL answered 403" in error["message"]
    assert "secret" not in done["error"]


def test_nothing_is_lent_by_strangers():
    server = ServerProcess()
    try:
        with served(Ranged(b"x")) as elsewhere:
            kind = f'message/external-body; access-type=URL; URL="{elsewhere.url}/key/id"'
            form = {"model": WHISPER}
            files = {"file": ("a.wav", b"", kind)}
            refused = httpx.post(f"{server.url}/v1/audio/transcriptions", data=form, files=files, timeout=60)
            assert elsewhere.asked == []
        assert refused.status_code == 400
        assert "uploaded" in refused.json()["error"]["message"]
    finally:
        server.stop()
