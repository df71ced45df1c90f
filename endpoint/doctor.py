"""Sends an endpoint two jobs, a minute of speech each, and says where the time goes, what it costs, and what to change.

The first job may have to wait for a worker and for its model, the second should not. A third asks where the models run.
All are billed. Exit status: 0
all is well, 1 something is wrong (it says what), 2 the endpoint could not be asked, 3 no worker came in time.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from endpoint.errors import BadArgument, NoResult, PlatformRefused, Refused
from endpoint.platform.jobs import Jobs, Piece, State, open_jobs, reason
from endpoint.where import Where, find

CLIP = Path(__file__).parent.parent / "examples" / "clips" / "english.opus"
AUDIO_SECONDS = 60.0
RATE = 16_000
SLOW_QUEUE, SLOW_LOAD, SLOW_WARM = 20.0, 5.0, 1.0  # seconds from which on something can be done about it


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for a person; `advice` is what to do about it."""

    what: str
    advice: str = ""
    is_wrong: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("endpoint", metavar="ENDPOINT", help="id or URL of a queue endpoint; local: `make serve`")
    add("--model", default="whisper-1", help="model to try (whisper-1)")
    add("--price", type=float, metavar="DOLLARS", help="of the endpoint's GPU, per hour; for the cost")
    add("--timeout", type=float, default=600, metavar="S", help="wait so long for a job (%(default)s)")
    add("--json", action="store_true", help="the findings as JSON")
    add("--api-key", help="(RUNPOD_API_KEY)")


async def run(args: argparse.Namespace) -> int:
    where = find(args.endpoint, os.environ, args.api_key)
    if not where.takes_jobs:
        raise BadArgument(f"{args.endpoint} takes no jobs: doctor wants a queue endpoint's id or its URL (…/v2/ID)")
    report: dict[str, Any] = {"endpoint": where.url}
    findings = [finding async for finding in _examine(where, args, report)]
    if args.json:
        print(json.dumps({**report, "findings": [asdict(found) for found in findings]}, indent=2))
    return int(any(found.is_wrong for found in findings))


async def _examine(where: Where, args: argparse.Namespace, report: dict[str, Any]) -> AsyncIterator[Finding]:
    def show(found: Finding) -> Finding:
        if not args.json:
            print(f"{'✗' if found.is_wrong else '·'} {found.what}" + (f"\n  → {found.advice}" if found.advice else ""))
        return found

    async with open_jobs(where) as jobs:
        workers = (await _health(jobs, where)).get("workers") or {}
        report["workers"] = workers
        for found in _of_workers(workers):
            yield show(found)
        speech = await asyncio.to_thread(_speech)
        body = {"model": args.model, "language": "en"}
        source = {"file_base64": base64.b64encode(speech).decode(), "file_name": "minute.opus"}
        runs: list[State] = []
        for name in ("first", "second"):
            _tell(f"{name} job: {AUDIO_SECONDS:g} s of speech to {args.model} ...", args)
            try:
                runs.append(await _run(jobs, {"path": "/v1/audio/transcriptions", "body": body, **source}, args))
            except Refused as error:
                yield show(_of_failure(error.message, args.model))
                return
            report[name] = {"queue_seconds": runs[-1].queued, "worker_seconds": runs[-1].ran}
        for found in _of_runs(runs[0], runs[1], args.price, report):
            yield show(found)
        for found in _of_places(await _places(jobs, args), report):
            yield show(found)


async def _health(jobs: Jobs, where: Where) -> dict[str, Any]:
    try:
        return await jobs.health()
    except PlatformRefused as error:
        if error.status == 404:
            raise PlatformRefused(
                f"there is no endpoint at {where.url}: look at its id in the console, and whose key this is", 404
            ) from None
        raise


def _of_workers(workers: dict[str, Any]) -> Iterator[Finding]:
    counts = [f"{count} {name}" for name, count in workers.items() if count]
    yield Finding("workers: " + (", ".join(counts) or "none at the moment"))
    if workers.get("unhealthy"):
        yield Finding(
            "some workers are unhealthy", "their log says why: a model that does not load, or too little memory", True
        )
    if workers.get("throttled"):
        yield Finding("some workers are throttled", "no such GPU is free there now: allow more types, or regions", True)


async def _places(jobs: Jobs, args: argparse.Namespace) -> dict[str, Any]:
    """Where a worker's models run; empty for a worker with another server, which does not say."""
    try:
        state = await _run(jobs, {"path": "/health"}, args)
    except Refused:
        return {}
    return state.output if isinstance(state.output, dict) else {}


async def _run(jobs: Jobs, job_input: dict[str, Any], args: argparse.Namespace) -> State:
    """Raises Refused for a job that failed, NoResult."""
    job = {"input": job_input}
    state = State("", "IN_QUEUE")
    try:
        async with asyncio.timeout(args.timeout), jobs.kept(job) as job_id:
            async for seen in jobs.follow(job_id):
                if not isinstance(seen, Piece):
                    state = seen
    except TimeoutError:
        if state.status == "IN_QUEUE":
            raise NoResult(
                f"no worker took the job within {args.timeout:g} s: is max workers 0, are there no GPUs of that type, "
                "does the worker not start? The endpoint's workers and their logs are in the console"
            ) from None
        raise NoResult(f"the job was at work for {args.timeout:g} s and did not end (--timeout)") from None
    if state.status != "COMPLETED":
        raise Refused(reason(state))
    return state


def _of_failure(message: str, model: str) -> Finding:
    if "model_not_found" in message or "not installed" in message:
        advice = f"have the worker download {model} (AUTO_DOWNLOAD=true, PRELOAD_MODELS={model}), or name one it has"
    elif "invalid_job" in message:
        advice = "the endpoint runs another worker than this one, or an older version: deploy it again"
    else:
        advice = "the job's id and the worker's log in the console say more"
    return Finding(f"the job FAILED: {message}", advice, is_wrong=True)


def _of_runs(first: State, second: State, price: float | None, report: dict[str, Any]) -> Iterator[Finding]:
    load = max(0.0, first.ran - second.ran)
    speed = AUDIO_SECONDS / second.ran if second.ran else 0.0
    report |= {"load_seconds": round(load, 3), "times_real_time": round(speed, 1)}
    yield Finding(
        f"first job: {first.queued:.1f} s in the queue, about {load:.1f} s until the model was there, "
        f"{second.ran:.1f} s of work; second: {second.queued:.1f} s and {second.ran:.1f} s"
    )
    yield Finding(f"speed: {speed:.0f} times real time, one request alone")
    if price is not None and second.ran:
        cost = price * second.ran / AUDIO_SECONDS
        report["dollars_per_audio_hour"] = round(cost, 5)
        yield Finding(f"cost: {cost:.4f} $ per hour of audio at {price:g} $ per hour, waiting and starting not counted")
    if first.queued > SLOW_QUEUE:
        yield Finding("a cold start takes long", "FlashBoot, a longer idle timeout, or --workers-min 1 keeps one warm")
    if load > SLOW_LOAD:
        yield Finding("the model came late", "PRELOAD_MODELS loads it before the first job; bake it into the image")
    if second.queued > SLOW_WARM:
        yield Finding(
            "a warm worker let the job wait", "more workers, or a higher WORKER_CONCURRENCY: one takes several at once"
        )
    text = str(second.output.get("text", "")) if isinstance(second.output, dict) else ""
    if "fox" not in text.lower():
        yield Finding(f"the words are not those that were said: {text[:80]!r}", "try another model", True)


def _of_places(health: dict[str, Any], report: dict[str, Any]) -> Iterator[Finding]:
    """`health` as /health says it."""
    loaded = health.get("loaded") or []
    report["loaded"] = loaded
    for model in loaded:
        cards = ", ".join(f"{gpu['name']}, {gpu['free_bytes'] / 1e9:.1f} GB free" for gpu in model.get("gpus", []))
        words = [model["device"] + (f" ({cards})" if cards else ""), model.get("compute_type"), *model["providers"]]
        work = f"{model['workers']} at once, {model['threads']} threads each"
        yield Finding(f"{model['engine']} runs on {', '.join(filter(None, words))}: {work}")
    whispers = [model for model in loaded if model["engine"] == "whisper"]
    if health.get("gpu_required") and any(model["device"] == "cpu" for model in whispers):
        yield Finding(
            "Whisper runs on the CPU of a machine with a GPU",
            "take WHISPER__INFERENCE_DEVICE=cpu out of its settings",
            True,
        )


def _speech() -> bytes:
    """A minute of it, as Opus: the clip of the examples, over and over."""
    import numpy as np

    from speech_server.audio.budget import Limits
    from speech_server.audio.decode import stream
    from speech_server.audio.encode import Encoder

    clip = np.concatenate(list(stream(CLIP, Limits(AUDIO_SECONDS), rate=RATE)))
    encoder = Encoder("opus", RATE)
    return encoder.encode(np.resize(clip, int(AUDIO_SECONDS * RATE))) + encoder.finish()


def _tell(what: str, args: argparse.Namespace) -> None:
    if not args.json and sys.stderr.isatty():
        print(what, file=sys.stderr)
