"""What the gateway does with callers who repeat, leave, send too much or may not come in."""

from __future__ import annotations

import asyncio
import contextlib
import io
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import ROOT, WHISPER
from tests.endpoint.gateway.conftest import RunningGateway, start, stop
from tests.local_runpod.local_platform import FINAL, LocalPlatform, eventually
from tests.speech_server.conftest import ENGLISH


@pytest.fixture(scope="module")
def quick(echo: LocalPlatform) -> Iterator[RunningGateway]:
    running = start(echo.base, RUNPOD_API_KEY="any")
    # After its first answer it asks for the models, once, while a worker is awake.
    assert httpx.get(f"{running.url}/v1/sleep?seconds=0", timeout=30).status_code == 200
    eventually(lambda: len(jobs(echo)) == 2 and all(job["status"] in FINAL for job in jobs(echo)))
    yield running
    stop(running)


def jobs(platform: LocalPlatform) -> list[dict[str, Any]]:
    return list(platform.state()["jobs"])


@pytest.mark.anyio
async def test_a_repeat_joins_the_job_of_the_first(quick: RunningGateway, echo: LocalPlatform):
    before = len(jobs(echo))
    async with httpx.AsyncClient(base_url=quick.url, timeout=30) as http:
        first = asyncio.create_task(http.get("/v1/sleep?seconds=1&mark=join"))
        await until(lambda: len(jobs(echo)) > before)
        repeat = await http.get("/v1/sleep?seconds=1&mark=join", headers={"x-stainless-retry-count": "1"})
        assert (await first).json() == repeat.json()
        again = await http.get("/v1/sleep?seconds=1&mark=join", headers={"x-stainless-retry-count": "2"})
        assert again.headers["x-job-id"] == repeat.headers["x-job-id"]
    assert len(jobs(echo)) == before + 1


@pytest.mark.anyio
async def test_the_same_twice_is_two_jobs(quick: RunningGateway, echo: LocalPlatform):
    before = len(jobs(echo))
    async with httpx.AsyncClient(base_url=quick.url, timeout=30) as http:
        replies = await asyncio.gather(*(http.get("/v1/sleep?seconds=0.2&mark=two") for _ in range(2)))
        replies.append(await http.get("/v1/sleep?seconds=0.2&mark=two"))  # and once more, when those are answered
    assert len({reply.headers["x-job-id"] for reply in replies}) == 3
    assert len(jobs(echo)) == before + 3


@pytest.mark.anyio
async def test_who_hangs_up_cancels_the_job(quick: RunningGateway, echo: LocalPlatform):
    before = {job["id"] for job in jobs(echo)}
    async with httpx.AsyncClient(base_url=quick.url, timeout=30) as http:
        leaving = asyncio.create_task(http.get("/v1/sleep?seconds=30&mark=left"))
        await until(lambda: {job["id"] for job in jobs(echo)} - before)
        leaving.cancel()
        (mine,) = {job["id"] for job in jobs(echo)} - before
        await until(lambda: next(job for job in jobs(echo) if job["id"] == mine)["status"] == "CANCELLED")


@pytest.mark.anyio
async def test_who_comes_back_at_once_finds_the_job(quick: RunningGateway, echo: LocalPlatform):
    before = len(jobs(echo))
    async with httpx.AsyncClient(base_url=quick.url, timeout=30) as http:
        leaving = asyncio.create_task(http.get("/v1/sleep?seconds=1.5&mark=back"))
        await until(lambda: len(jobs(echo)) > before)
        seen = quick.log.count("left after")
        leaving.cancel()
        await until(lambda: quick.log.count("left after") > seen)
        assert (await http.get("/v1/sleep?seconds=1.5&mark=back")).status_code == 200
    assert len(jobs(echo)) == before + 1


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 (the platform is another process)
            await asyncio.sleep(0.02)


def test_what_no_server_has_starts_no_job(quick: RunningGateway, echo: LocalPlatform):
    before = len(jobs(echo))
    reply = httpx.get(f"{quick.url}/favicon.ico")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "http_404")
    assert "OpenAI" in httpx.get(quick.url).text
    assert len(jobs(echo)) == before


def test_a_web_page_of_another_origin_is_refused(quick: RunningGateway):
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        assert httpx.get(f"{quick.url}/v1/models", headers=headers).status_code == 403


def test_the_gateways_own_key_is_asked_for(echo: LocalPlatform):
    running = start(echo.base, RUNPOD_API_KEY="any", GATEWAY_API_KEY="mine")
    try:
        assert httpx.get(f"{running.url}/v1/models").status_code == 401
        assert httpx.get(f"{running.url}/v1/models", headers={"authorization": "Bearer mine"}).status_code == 200
    finally:
        stop(running)
    assert "mine" not in running.log


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["local", "--host", "0.0.0.0"], "GATEWAY_API_KEY"),
        (["http://127.0.0.1:8000/v1"], "not a queue endpoint"),
        (["local", "--route", "kokoro"], "PATTERN=ENDPOINT"),
    ],
)
def test_what_cannot_be_right_is_said_before_it_listens(arguments: list[str], says: str):
    command = [sys.executable, "-m", "endpoint", "gateway", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": "", "RUNPOD_API_KEY": "k"})
    assert done.returncode == 2
    assert says in done.stderr


def test_a_recording_that_is_too_large_for_a_job_goes_as_opus(gateway: RunningGateway, tmp_path: Path):
    with av_samples() as samples:
        long = np.concatenate([samples, np.zeros(16_000 * 600, np.int16)])
    recording = io.BytesIO()
    with wave.open(recording, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(long.tobytes())
    assert recording.tell() > 19_000_000
    recording.seek(0)
    reply = httpx.post(
        f"{gateway.url}/v1/audio/transcriptions", data={"model": WHISPER}, files={"file": ("long.wav", recording)},
        timeout=120,
    )  # fmt: skip
    assert "quick brown fox" in reply.json()["text"]
    assert "long.wav" in gateway.log
    assert "as Opus instead of" in gateway.log


def test_what_is_still_too_large_names_the_ways_out(quick: RunningGateway):
    reply = httpx.post(f"{quick.url}/v1/give", files={"file": ("a.bin", bytes(16_000_000))}, timeout=60)
    assert reply.status_code == 413
    assert "file_url" in reply.json()["error"]["message"]


def test_an_upload_is_bounded_while_it_arrives(quick: RunningGateway):
    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield bytes(1_000_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert httpx.post(f"{quick.url}/v1/give", content=bytes(201_000_000), timeout=60).status_code == 413
    with contextlib.suppress(httpx.WriteError):  # it may hang up on the rest
        assert httpx.post(f"{quick.url}/v1/give", content=endless(), timeout=60).status_code == 413
    broken = httpx.post(f"{quick.url}/v1/give", content=b"no form", headers=headers)
    assert (broken.status_code, "error" in broken.json()) == (400, True)


def av_samples() -> Any:
    import av

    @contextlib.contextmanager
    def read() -> Iterator[np.ndarray[Any, Any]]:
        with av.open(str(ENGLISH)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
            frames = [frame for raw in container.decode(audio=0) for frame in resampler.resample(raw)]
            yield np.concatenate([frame.to_ndarray()[0] for frame in frames])

    return read()
