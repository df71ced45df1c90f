"""What the gateway adds: to a job, to the first sound and the first words, and to its own memory by uploads."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import httpx
import psutil
from moto.server import ThreadedMotoServer

from benchmarks.clips import Clip, minutes, ten_seconds, whole
from benchmarks.report import Report, median
from benchmarks.rows.proxy import STAND_IN
from benchmarks.server import speech_server
from benchmarks.words import error_rate
from tests.endpoint.gateway.conftest import RunningGateway, start, stop
from tests.local_runpod.local_platform import LocalPlatform

WHISPER = "Systran/faster-whisper-base"
PIPER = "speaches-ai/piper-en_US-joe-medium"
TEXT = "The first sound of an answer should come as soon as there is any, whoever stands in between. " * 4
ROUNDS, CALLS = 5, 40
SAMPLES = 15

First = Callable[[httpx.AsyncClient, str], Awaitable[float]]


def run(report: Report) -> None:
    for noisy in ("httpx", "werkzeug"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    quick = {"SPEECH_SERVER_COMMAND": STAND_IN, "WORKER_PROGRESS_INTERVAL": "0"}
    with _platform(quick) as platform, _gateway(platform) as gateway:
        asyncio.run(_added(report, platform.base, gateway.url))
    models = {"PRELOAD_MODELS": f"{WHISPER},{PIPER}", "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true"}
    with _platform(models) as platform, speech_server(models) as server:
        with _gateway(platform) as gateway:
            asyncio.run(_firsts(report, server.url, gateway.url))
        _uploads(report, platform, server.url)


@contextmanager
def _platform(env: dict[str, str]) -> Iterator[LocalPlatform]:
    with LocalPlatform(
        [sys.executable, "-u", "handler.py"], env={"RUNPOD_LOG_LEVEL": "ERROR", **env}, quiet=True
    ) as platform:
        yield platform


@contextmanager
def _gateway(platform: LocalPlatform, *arguments: str, **environment: str) -> Iterator[RunningGateway]:
    gateway = start(platform.base, *arguments, RUNPOD_API_KEY="any", **environment)
    try:
        yield gateway
    finally:
        stop(gateway)


async def _added(report: Report, platform: str, gateway: str) -> None:
    """Milliseconds of a small job's p50, the two ways in turn; the median of the rounds."""
    job = {"input": {"path": "/v1/give", "query": {"type": "application/json"}, "body": {"say": "hello"}}}
    ways: dict[str, list[float]] = {"direct": [], "gateway": []}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:

        async def direct() -> None:
            view = (await http.post(f"{platform}/runsync", json=job)).json()
            assert view["status"] == "COMPLETED", view

        async def through() -> None:
            (await http.post(f"{gateway}/v1/give?type=application/json", json={"say": "hello"})).raise_for_status()

        for turn in range(ROUNDS + 1):
            for name, call in (("direct", direct), ("gateway", through)):
                seconds = [await _timed(call) for _ in range(CALLS)]
                if turn:  # the first round opens connections
                    ways[name].append(median(seconds))
    added = median([through - bare for bare, through in zip(ways["direct"], ways["gateway"], strict=True)])
    note = f"{1000 * median(ways['direct']):.1f} ms directly"
    report.add("added p50 of a small job", 1000 * added, "ms", against="/runsync", at_most=10, note=note)


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def _firsts(report: Report, server: str, gateway: str) -> None:
    for name, first in (("first audio", _first_audio), ("first delta", _first_delta)):
        seconds: dict[str, list[float]] = {server: [], gateway: []}
        async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
            for turn in range(SAMPLES + 1):
                for url in (server, gateway):
                    took = await first(http, url)
                    if turn:
                        seconds[url].append(took)
        late = 1000 * (median(seconds[gateway]) - median(seconds[server]))
        note = f"{1000 * median(seconds[server]):.0f} ms from the server"
        report.add(f"{name} through the gateway, later by", late, "ms", against="the server", at_most=150, note=note)


async def _first_audio(http: httpx.AsyncClient, url: str) -> float:
    order = {"model": PIPER, "voice": "joe", "input": TEXT, "response_format": "mp3"}
    began, first = time.perf_counter(), 0.0
    async with http.stream("POST", f"{url}/v1/audio/speech", json=order) as reply:
        reply.raise_for_status()
        async for _ in reply.aiter_raw():
            first = first or time.perf_counter() - began
    return first


async def _first_delta(http: httpx.AsyncClient, url: str) -> float:
    """Of 44 s of speech."""
    fields, files = {"model": WHISPER, "language": "en", "stream": "true"}, {"file": ("a.wav", whole().path.open("rb"))}
    began, first = time.perf_counter(), 0.0
    async with http.stream("POST", f"{url}/v1/audio/transcriptions", data=fields, files=files) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if line.startswith("data: {") and json.loads(line[6:])["type"] == "transcript.text.delta":
                first = first or time.perf_counter() - began
    return first


# --- uploads: 1, 12, 25 and 100 MB of a person reading, 48 kHz ---


def _uploads(report: Report, platform: LocalPlatform, server: str) -> None:
    quarter = minutes(17)
    with _gateway(platform) as gateway:
        idle = _memory(gateway)
        for name, path in (("1 MB", ten_seconds()), ("12 MB", minutes(2).path)):
            report.add(
                f"words of {name}, as it is", _same(server, gateway.url, path), "% as the server's", at_least=100
            )
        shorter = minutes(4)
        _compare(report, "25 MB as Opus", shorter, server, gateway.url)
        _compare(report, "100 MB as Opus", quarter, server, gateway.url, at_most=0.1)
        log = gateway.log
        report.add("gateway memory above idle", _peak(gateway) - idle, "MB", against=f"{idle:.0f} MB idle", at_most=100)
    assert log.count("as Opus instead of") == 2, log
    with _bucket() as keys, _gateway(platform, "--no-opus", **keys) as gateway:
        idle = _memory(gateway)
        for name, path in (("25 MB over a bucket", shorter.path), ("100 MB over a bucket", quarter.path)):
            report.add(f"words of {name}", _same(server, gateway.url, path), "% as the server's", at_least=100)
        report.add("the same, over a bucket", _peak(gateway) - idle, "MB", against=f"{idle:.0f} MB idle", at_most=100)
        assert gateway.log.count("over bucket") == 2, gateway.log


def _same(server: str, gateway: str, path: Path) -> float:
    return 100.0 * (_heard(server, path) == _heard(gateway, path))


def _compare(report: Report, name: str, clip: Clip, server: str, gateway: str, *, at_most: float | None = None) -> None:
    wrong, wrong_here = (100 * error_rate([clip.text], [_heard(url, clip.path)]) for url in (server, gateway))
    note = f"{wrong_here:.2f} % and {wrong:.2f} % of words wrong, {clip.seconds / 60:.0f} minutes"
    report.add(f"word error rate, {name}", wrong_here - wrong, "points", against="the file", at_most=at_most, note=note)


def _heard(url: str, path: Path) -> str:
    with path.open("rb") as file:
        reply = httpx.post(
            f"{url}/v1/audio/transcriptions",
            data={"model": WHISPER, "language": "en"},
            files={"file": ("a.wav", file)},
            timeout=600,
            trust_env=False,
        )
    return str(reply.raise_for_status().json()["text"])


def _memory(gateway: RunningGateway) -> float:
    return float(psutil.Process(gateway.process.pid).memory_info().rss / 1e6)


def _peak(gateway: RunningGateway) -> float:
    """The highest it ever was (Linux)."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


@contextmanager
def _bucket() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key="secret"
        ).create_bucket(Bucket="uploads")
        yield {
            "GATEWAY_BUCKET": "uploads",
            "GATEWAY_BUCKET_URL": url,
            "GATEWAY_BUCKET_ACCESS_KEY_ID": "id",
            "GATEWAY_BUCKET_SECRET_ACCESS_KEY": "secret",
        }
    finally:
        server.stop()
