"""An honest client beside hostile ones: 10 s clips one after the other, alone and while four of every kind attack."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from dataclasses import replace
from statistics import median

import httpx
import psutil

from benchmarks.attacks import ATTACKS, PATIENCE, Target, chat_sound, go_on, large_json, models, sockets
from benchmarks.clips import ten_seconds
from benchmarks.report import Report, percentile
from benchmarks.server import Running, speech_server
from tests.speech_server.audio import bombs

WHISPER = "Systran/faster-whisper-base"
PIPER = "speaches-ai/piper-en_US-joe-medium"
ALONE_SECONDS, ATTACK_SECONDS, RECOVERY_SECONDS = 30.0, 120.0, 30.0  # p99 of fewer than 100 clips is the slowest
CLIENTS = 4  # of every kind


def run(report: Report) -> None:
    with speech_server({"PRELOAD_MODELS": f"{WHISPER},{PIPER}"}) as running:
        asyncio.run(_measure(report, running))


async def _measure(report: Report, running: Running) -> None:
    clip = ten_seconds().read_bytes()
    async with httpx.AsyncClient(base_url=running.url, timeout=120, trust_env=False) as http:
        await _ready(http)
        await _use_everything(Target(running.url, clip, (clip,), time.monotonic() + PATIENCE), http)
        for _ in range(5):
            await _transcribe(http, clip)
        alone, _ = await _honest(running.url, clip, ALONE_SECONDS)
        before = await _footprint(running)
        attacker = _start(Target(running.url, clip, _bombs(), time.monotonic() + ATTACK_SECONDS))
        beside, pings = await _honest(running.url, clip, ATTACK_SECONDS)
        await asyncio.to_thread(attacker.join, 30)
        after = await _settled(running, before)
        assert running.process.poll() is None, "the server ended"
    p99 = percentile(alone, 99)
    note = f"{len(beside)} clips, p50 {median(beside) / median(alone):.2f} x"
    report.add(
        "p99 of a 10 s clip beside hostile clients",
        percentile(beside, 99) / p99,
        against="its p99 alone",
        at_most=3.0,
        note=note,
    )
    kinds = f"{CLIENTS} clients of each of {len(ATTACKS)} kinds"
    report.add("/ping p99 meanwhile", 1000 * percentile(pings, 99), "ms", at_most=100, note=kinds)
    report.add("memory within 30 s after them", after[0] / before[0], against="memory before", at_most=1.10)
    report.add("threads within 30 s after them", after[1] - before[1], "threads", against="threads before", at_most=0)


def _bombs() -> tuple[bytes, ...]:
    return bombs.packets(200_000), bombs.probing(), bombs.tagged_flac(50_000), bombs.many_tracks(1000)


async def _ready(http: httpx.AsyncClient) -> None:
    for _ in range(600):
        if (await http.get("/ping")).status_code == 200:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the models were not loaded within a minute")


async def _use_everything(target: Target, http: httpx.AsyncClient) -> None:
    """What an honest user does, once: what that takes of memory and threads is not left over from an attack."""
    form = {"model": WHISPER, "language": "en", "prompt": "word " * 800}
    clips = [http.post("/v1/audio/transcriptions", data=form, files={"file": target.clip}) for _ in range(2 * CLIENTS)]
    for reply in await asyncio.gather(*clips):
        reply.raise_for_status()
    speech = {"model": PIPER, "voice": "joe", "input": "A word. " * 50, "response_format": "wav", "speed": 0.25}
    (await http.post("/v1/audio/speech", json={**speech, "sample_rate": 48_000})).raise_for_status()
    for attack in (chat_sound, models, large_json, sockets):  # with a real clip: refused, but not hostile
        await attack(target, http)


async def _transcribe(http: httpx.AsyncClient, clip: bytes) -> float:
    began = time.perf_counter()
    fields, files = {"model": WHISPER, "language": "en"}, {"file": ("clip.wav", clip)}
    (await http.post("/v1/audio/transcriptions", data=fields, files=files)).raise_for_status()
    return time.perf_counter() - began


async def _honest(url: str, clip: bytes, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of each clip, one after the other; seconds of each /ping, twenty a second, all on new connections."""
    until = time.monotonic() + seconds
    clips: list[float] = []
    pings: list[float] = []

    async def ping() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
            while time.monotonic() < until:
                began = time.perf_counter()
                (await http.get("/ping")).raise_for_status()
                pings.append(time.perf_counter() - began)
                await asyncio.sleep(0.05)

    async def transcribe() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
            while time.monotonic() < until:
                clips.append(await _transcribe(http, clip))

    async with asyncio.TaskGroup() as group:
        group.create_task(ping())
        group.create_task(transcribe())
    return clips, pings


def _start(target: Target) -> multiprocessing.process.BaseProcess:
    """In a process of their own: their work must not slow the honest client's clock down. It ends by itself."""
    attacker = multiprocessing.get_context("spawn").Process(target=_attack, args=(target,), daemon=True)
    attacker.start()
    return attacker


def _attack(target: Target) -> None:
    async def all_of_them() -> None:
        hosts = [replace(target, address=f"127.0.0.{2 + number}") for number in range(CLIENTS)]
        await asyncio.gather(*(go_on(attack, host) for attack in ATTACKS for host in hosts))

    psutil.Process().nice(10)  # it is the server that is measured, not who gets the core
    asyncio.run(all_of_them())


async def _footprint(running: Running) -> tuple[float, int]:
    return running.memory_mb(), psutil.Process(running.process.pid).num_threads()


async def _settled(running: Running, before: tuple[float, int]) -> tuple[float, int]:
    until = time.monotonic() + RECOVERY_SECONDS
    while True:
        now = await _footprint(running)
        if (now[0] <= before[0] * 1.05 and now[1] <= before[1]) or time.monotonic() > until:
            return now
        await asyncio.sleep(1)
