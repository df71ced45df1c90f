"""What lasts: memory after 1,000 mixed requests, /health under load, an hour of audio in one request."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
import wave
from collections.abc import Awaitable, Callable

import httpx

from benchmarks.report import Report, percentile
from benchmarks.server import Running, speech_server

WHISPER = "Systran/faster-whisper-base"
PIPER = "speaches-ai/piper-en_US-joe-medium"
SENTENCES = (
    "The harbour lights went out one by one, and nobody on the pier said a word.",
    "She counted the boxes twice and wrote the number on the back of her hand.",
    "A speech server that is paid by the second should never keep anybody waiting.",
    "In the morning the road was white, and the first bus came an hour late.",
)


def run(report: Report) -> None:
    with speech_server({"PRELOAD_MODELS": f"{WHISPER},{PIPER}", "MAX_UPLOAD_MB": "1024"}) as running:
        asyncio.run(_measure(report, running))


async def _measure(report: Report, running: Running) -> None:
    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=running.url, timeout=1200, limits=limits) as client:
        await _ready(client)
        clips = [await _speak(client, text) for text in SENTENCES]
        loaded = running.memory_mb()
        await _health_under_load(report, client, clips)
        await _mixed(report, client, clips, running)
        await _hour(report, client, clips, running, loaded)


async def _ready(client: httpx.AsyncClient) -> None:
    for _ in range(600):
        if (await client.get("/ping")).status_code == 200:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the models were not loaded within a minute")


async def _speak(client: httpx.AsyncClient, text: str) -> bytes:
    body = {"model": PIPER, "voice": "joe", "input": text, "response_format": "wav", "sample_rate": 16000}
    return (await client.post("/v1/audio/speech", json=body)).raise_for_status().content


async def _transcribe(client: httpx.AsyncClient, clip: bytes, response_format: str = "json") -> httpx.Response:
    return (
        await client.post(
            "/v1/audio/transcriptions",
            data={"model": WHISPER, "language": "en", "response_format": response_format},
            files={"file": ("clip.wav", clip)},
        )
    ).raise_for_status()


async def _health_under_load(report: Report, client: httpx.AsyncClient, clips: list[bytes]) -> None:
    """60 clips in flight; /health asked all the while, each time on its own."""
    work = [asyncio.create_task(_transcribe(client, clip)) for clip in itertools.islice(itertools.cycle(clips), 60)]
    seconds = []
    while not all(task.done() for task in work):
        started = time.perf_counter()
        (await client.get("/health")).raise_for_status()
        seconds.append(time.perf_counter() - started)
        await asyncio.sleep(0.01)
    await asyncio.gather(*work)
    report.add("/health p99 with 60 clips in flight", 1000 * percentile(seconds, 99), "ms", at_most=100)


async def _mixed(report: Report, client: httpx.AsyncClient, clips: list[bytes], running: Running) -> None:
    async def refused() -> None:
        assert (await client.post("/v1/audio/transcriptions", data={"model": "no/such"})).is_client_error

    async def listed() -> None:
        (await client.get("/v1/models")).raise_for_status()

    async def detected(clip: bytes) -> None:
        files = {"file": ("clip.wav", clip)}
        (await client.post("/v1/audio/speech/timestamps", files=files)).raise_for_status()

    def request(number: int) -> Callable[[], Awaitable[object]]:
        clip, text = clips[number % 4], SENTENCES[number % 4]
        kinds: list[Callable[[], Awaitable[object]]] = [
            lambda: _transcribe(client, clip, "verbose_json"),
            lambda: _speak(client, text),
            lambda: detected(clip),
            refused,
            listed,
        ]
        return kinds[number % len(kinds)]

    async def batch(numbers: range) -> None:
        gate = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            async with gate:
                await request(number)()

        await asyncio.gather(*map(one, numbers))

    await batch(range(50))
    after_50 = running.memory_mb()
    for start in range(50, 1000, 190):
        await batch(range(start, min(start + 190, 1000)))
        report.progress(f"{start + 190}/1000 mixed requests")
    report.add(
        "memory after 1,000 mixed requests", running.memory_mb() / after_50, against="memory after 50", at_most=1.10
    )


async def _hour(report: Report, client: httpx.AsyncClient, clips: list[bytes], running: Running, loaded: float) -> None:
    samples = b"".join(clip[44:] + bytes(16000) for clip in clips)
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        while target.tell() < 3600 * 32000:
            file.writeframesraw(samples)
    task = asyncio.create_task(_transcribe(client, target.getvalue(), "srt"))
    peak, started = 0.0, time.perf_counter()
    while not task.done():
        peak = max(peak, running.memory_mb())
        report.progress(f"an hour of audio: {time.perf_counter() - started:.0f} s")
        await asyncio.wait([task], timeout=1)
    took = time.perf_counter() - started
    lines = (await task).text.count("-->")
    report.add("an hour of audio: memory above the loaded models", peak - loaded, "MB", at_most=1500)
    report.add("an hour of audio", 3600 / took, "x real", note=f"{lines} cues")
