"""The same clips and requests against any OpenAI-compatible server: throughput and latency by concurrency."""

from __future__ import annotations

import asyncio
import time

import httpx

from benchmarks.clips import Clip, clips
from benchmarks.report import Report, median, percentile
from benchmarks.words import error_rate

CONCURRENCY = (1, 2, 4, 8, 16)


def run(report: Report, url: str, model: str) -> None:
    asyncio.run(_measure(report, url.rstrip("/"), model))


async def _measure(report: Report, url: str, model: str) -> None:
    material = clips()
    async with httpx.AsyncClient(timeout=600) as client:
        await _transcribe(client, url, model, material[0])  # loads the model
        for concurrency in CONCURRENCY:
            await _at(report, client, url, model, material, concurrency)


async def _at(
    report: Report, client: httpx.AsyncClient, url: str, model: str, material: list[Clip], concurrency: int
) -> None:
    gate = asyncio.Semaphore(concurrency)
    seconds: list[float] = []

    async def one(clip: Clip) -> str:
        async with gate:
            started = time.perf_counter()
            text = await _transcribe(client, url, model, clip)
            seconds.append(time.perf_counter() - started)
            return text

    work = material * max(1, 2 * concurrency // len(material))
    started = time.perf_counter()
    texts = await asyncio.gather(*map(one, work))
    took = time.perf_counter() - started
    speed = sum(clip.seconds for clip in work) / took
    wrong = error_rate([clip.text for clip in work], list(texts))
    label = f"{concurrency} at once"
    report.add(f"throughput, {label}", speed, "x real", note=f"{100 * wrong:.1f} % of words wrong")
    report.add(f"latency p50, {label}", median(seconds), "s", note=f"p95 {percentile(seconds, 95):.2f} s")
    report.series.setdefault("times real time", []).append((concurrency, speed))
    report.series.setdefault("seconds, p50", []).append((concurrency, median(seconds)))


async def _transcribe(client: httpx.AsyncClient, url: str, model: str, clip: Clip) -> str:
    response = await client.post(
        f"{url}/audio/transcriptions",
        data={"model": model, "language": "en"},
        files={"file": (clip.path.name, await asyncio.to_thread(clip.path.read_bytes))},
    )
    return str(response.raise_for_status().json()["text"])
