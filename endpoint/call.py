"""ENDPOINT is a queue endpoint. The job is a file ("-": stdin) with {"input": {...}} or the input alone. Progress goes
to stderr, the result to stdout or a file. Ctrl-C cancels the job.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from endpoint.errors import INTERRUPTED, REFUSED, BadArgument, NoResult
from endpoint.platform.answers import body, piece_body, readable
from endpoint.platform.jobs import Piece, State, open_jobs, reason
from endpoint.where import find


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("endpoint", metavar="ENDPOINT", help="id or URL of a queue endpoint; local: `make serve`")
    add("job", metavar="JOB.json", help="examples/jobs has some; - reads standard input")
    add("--output", "-o", type=Path, metavar="FILE", help="write the audio or text of the result here")
    add("--stream", action="store_true", help="show pieces as they come (the job must say stream: true)")
    add("--timeout", type=float, default=3600, metavar="S", help="give up after this long (%(default)s)")
    add("--api-key", help="(RUNPOD_API_KEY)")


async def run(args: argparse.Namespace) -> int:
    job = read_job(args.job)
    where = find(args.endpoint, os.environ, args.api_key)
    if not where.takes_jobs:
        raise BadArgument(f"{args.endpoint} takes no jobs: `call` wants a queue endpoint's id or its URL (…/v2/ID)")
    if args.stream and args.output:
        args.output.unlink(missing_ok=True)
    job_id = "the job"
    try:
        async with open_jobs(where) as jobs, jobs.kept(job) as job_id, asyncio.timeout(args.timeout):
            return await show(jobs.follow(job_id, streams=args.stream), args.output)
    except TimeoutError:
        late = f"{job_id} had not ended after {args.timeout:g} s: cancelled (--timeout gives it longer)"
        raise NoResult(late) from None
    except asyncio.CancelledError:  # Ctrl-C
        tell(f"{job_id} cancelled")
        return INTERRUPTED


def read_job(name: str) -> dict[str, Any]:
    try:
        job = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
    except (OSError, ValueError) as error:
        raise BadArgument(f"{name}: {error}") from error
    if not isinstance(job, dict):
        raise BadArgument(f"{name}: a job is a JSON object")
    return job if "input" in job else {"input": job}


async def show(job: AsyncIterator[State | Piece], to: Path | None) -> int:
    """Shows what comes of a job until it has ended; the exit status."""
    shown, has_written = "", False
    async for seen in job:
        if isinstance(seen, Piece):
            has_written |= show_piece(seen.output, to)
            continue
        if not seen.is_final:
            if (line := progress(seen)) != shown:
                tell(f"{seen.id} {line}")
                shown = line
            continue
        tell(f"{seen.status} in {seen.ran:.1f} s, queued {seen.queued:.1f} s")
        if seen.status != "COMPLETED":
            tell(reason(seen))
            return REFUSED
        if not has_written:
            await show_result(seen.output, to)
    return 0


def progress(state: State) -> str:
    if state.status == "IN_PROGRESS" and isinstance(state.output, dict):
        return "IN_PROGRESS " + " ".join(f"{key} {value}" for key, value in state.output.items() if value is not None)
    return state.status


def show_piece(piece: Any, to: Path | None) -> bool:
    """Text to stdout as it comes, audio to the end of the file; True when it went into the file."""
    text = piece if isinstance(piece, str) else piece_text(piece) if isinstance(piece, dict) else None
    if text is not None:
        print(text, end="", flush=True)
    elif to and (sound := piece_body(piece)) is not None:
        with to.open("ab") as file:
            file.write(sound)
        return True
    else:
        print(readable(piece))
    return False


def piece_text(piece: dict[str, Any]) -> str | None:
    """What a piece adds to the text: a transcript's or a plain text's next words, a chat's next token."""
    if str(piece.get("type", "")).endswith(".done"):
        return "\n"
    if "choices" in piece:
        delta = piece["choices"][0].get("delta", {}) if piece["choices"] else {}
        return str(delta.get("content") or (delta.get("audio") or {}).get("transcript") or "")
    text = piece.get("delta", piece.get("text"))
    return text if isinstance(text, str) else None


async def show_result(output: Any, to: Path | None) -> None:
    if to is None:
        print(readable(output))
        return
    with to.open("wb") as file:
        async for block in body(spoken(output)):
            file.write(block)
    tell(f"{to}: {to.stat().st_size} bytes")


def spoken(output: Any) -> Any:
    """The sound of a chat's answer where it has one, else the output as it is."""
    try:
        return {"content_type": "audio", "data": output["choices"][0]["message"]["audio"]["data"]}
    except (TypeError, KeyError, IndexError):
        return output


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
