"""A client that goes away stops the work done for it, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import PIPER, WHISPER, ServerProcess
from tests.speech_server.routes.conftest import CLIPS, wav

ABORTS = 8
ROUNDS = 6
PATIENCE = 20.0  # seconds for the server to have let go of everything


@pytest.fixture(scope="module")
def lone_server() -> Iterator[ServerProcess]:
    """Its own, so that what is left behind is ours."""
    server = ServerProcess()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def speech() -> bytes:
    """Two minutes with words in them."""
    import av

    with av.open(str(CLIPS / "english.opus")) as container:
        resampler = av.AudioResampler("s16", "mono", 16_000)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return wav(b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames) * 24)


async def hear(client: httpx.AsyncClient, speech: bytes, **form: str) -> None:
    files = {"file": ("long.wav", speech)}
    async with client.stream(
        "POST", "/v1/audio/transcriptions", files=files, data={"model": WHISPER, **form}
    ) as answer:
        await anext(answer.aiter_bytes())


async def speak(client: httpx.AsyncClient, speech: bytes, **body: str) -> None:
    order = {"model": PIPER, "input": "This is one of many sentences. " * 300, **body}
    async with client.stream("POST", "/v1/audio/speech", json=order) as answer:
        await anext(answer.aiter_bytes())


async def detect(client: httpx.AsyncClient, speech: bytes) -> None:
    await client.post("/v1/audio/speech/timestamps", files={"file": ("long.wav", speech)})


Ask = Callable[..., Any]
WAYS: dict[str, tuple[Ask, dict[str, str], float]] = {
    # what is asked, and how many seconds the client waits for the first bytes before it leaves in any case
    "a whole transcription": (hear, {}, 0.5),
    "a streamed transcription": (hear, {"stream": "true"}, 3),
    "a whole wav": (speak, {"response_format": "wav"}, 0.3),
    "streamed audio": (speak, {"response_format": "mp3"}, 30),
    "spoken events": (speak, {"stream_format": "sse"}, 30),
    "voice activity": (detect, {}, 0.1),
}


async def leave_early(server: ServerProcess, ask: Ask, options: dict[str, str], after: float, speech: bytes) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        try:
            async with asyncio.timeout(after):
                await ask(client, speech, **options)
        except TimeoutError:
            pass


def resources(server: ServerProcess) -> dict[str, int]:
    process = psutil.Process(server.process.pid)
    deleted = [file for file in process.open_files() if "deleted" in file.path]
    vetters = [child for child in process.children() if "speech_server.audio.vetter" in command(child)]
    return {
        "files": len(deleted),
        "processes": len(process.children()) - len(vetters) + max(0, len(vetters) - 1),
        "threads": process.num_threads(),
    }


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


async def until_idle(client: httpx.AsyncClient) -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        while True:
            health = (await client.get("/health")).json()
            details = (await client.get("/api/ps")).json()["details"]
            if health["in_flight"] == 0 and not any(model["references"] for model in details):
                return
            yield


async def leave_together(server: ServerProcess, way: str, speech: bytes) -> dict[str, int]:
    """What is left a while after several clients have gone."""
    ask, options, after = WAYS[way]
    await asyncio.gather(*(leave_early(server, ask, options, after, speech) for _ in range(ABORTS)))
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        async for _ in until_idle(client):
            await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE):
        while True:
            left = resources(server)
            if (left["files"], left["processes"]) == (0, 0):
                return left
            await asyncio.sleep(0.05)


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_the_work_stops_and_everything_is_given_back(way: str, lone_server: ServerProcess, speech: bytes):
    """A pool's threads may come late, and how late is chance: what is left behind comes in every round."""
    left = await leave_together(lone_server, way, speech)
    threads = [left["threads"]]
    while len(threads) < 2 or threads[-1] > threads[-2]:
        assert len(threads) < ROUNDS, f"threads after each round: {threads}"
        left = await leave_together(lone_server, way, speech)
        threads.append(left["threads"])
