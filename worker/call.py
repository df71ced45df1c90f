"""Send one job to an endpoint and wait for it: progress to stderr, the result to stdout or a file.

ENDPOINT is an endpoint's id, or a URL: http://127.0.0.1:8010/v2/local is what `make serve` starts. The job is a file
("-": stdin) with {"input": {...}} or the input alone. RUNPOD_API_KEY is sent when it is set. Ctrl-C cancels the job.
Exit status: 0 completed, 1 failed, 2 not sent, 3 no result in time, 130 cancelled.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from outgoing.errors import OutgoingError
from outgoing.url import parse_url
from worker.platform_api import Jobs, PlatformError, open_client

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0  # seconds between two questions about a job
BYTES_IN = ("audio_content", "audio", "data")  # keys of an output or a piece that hold base64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("endpoint", metavar="ENDPOINT")
    parser.add_argument("job", metavar="JOB.json")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the audio or text of the result here")
    parser.add_argument(
        "--stream", action="store_true", help="show pieces as they come (the job must say stream: true)"
    )
    parser.add_argument(
        "--timeout", type=float, default=3600, metavar="S", help="give up after this long (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    job = read_job(args.job)
    with Jobs(args.endpoint, os.environ.get("RUNPOD_API_KEY")) as jobs:
        job_id = jobs.run(job)["id"]
        try:
            follower = Follower(jobs, job_id, args.output, stream=args.stream)
            state = follower.follow(until=time.monotonic() + args.timeout)
        except KeyboardInterrupt:
            jobs.cancel(job_id)
            tell(f"{job_id} cancelled")
            return 130
        if state["status"] not in FINAL:
            jobs.cancel(job_id)
            tell(f"{job_id} is still {state['status']} after {args.timeout:g} s: cancelled (--timeout gives it longer)")
            return 3
    ran, queued = (state.get(key, 0) / 1000 for key in ("executionTime", "delayTime"))
    tell(f"{state['status']} in {ran:.1f} s, queued {queued:.1f} s")
    if state["status"] != "COMPLETED":
        tell(reason(state))
        return 1
    if not follower.wrote:
        show(state.get("output"), args.output)
    return 0


def read_job(name: str) -> dict[str, Any]:
    try:
        job = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
    except (OSError, ValueError) as error:
        raise PlatformError(f"{name}: {error}") from error
    if not isinstance(job, dict):
        raise PlatformError(f"{name}: a job is a JSON object")
    return job if "input" in job else {"input": job}


class Follower:
    """Watches one job; `wrote` tells whether its pieces went into the file already."""

    def __init__(self, jobs: Jobs, job_id: str, to: Path | None, *, stream: bool) -> None:
        self.jobs, self.job_id, self.to, self.stream = jobs, job_id, to, stream
        self.wrote = False

    def follow(self, *, until: float) -> dict[str, Any]:
        """Ask until the job has ended or `until` has come; returns its last status."""
        pause, shown = FIRST_PAUSE, ""
        if self.stream and self.to:
            self.to.unlink(missing_ok=True)
        while True:
            pieces = self.jobs.stream(self.job_id)["stream"] if self.stream else []
            for piece in pieces:
                self.wrote |= show_piece(piece["output"], self.to)
            state = self.jobs.status(self.job_id)
            if (state["status"] in FINAL and not pieces) or time.monotonic() > until:
                return state
            if (line := progress(state)) != shown:
                tell(f"{self.job_id} {line}")
                shown = line
            pause = FIRST_PAUSE if pieces else min(pause * 1.5, LONGEST_PAUSE)
            time.sleep(pause)


def progress(state: dict[str, Any]) -> str:
    done = state.get("output")
    if state["status"] == "IN_PROGRESS" and isinstance(done, dict):
        return "IN_PROGRESS " + " ".join(f"{key} {value}" for key, value in done.items() if value is not None)
    return str(state["status"])


def reason(state: dict[str, Any]) -> str:
    """The message of a failed job; ours carry one JSON object as a string."""
    error = state.get("error")
    try:
        parsed = json.loads(error) if isinstance(error, str) else error
    except ValueError:
        return str(error)
    if isinstance(parsed, dict) and "message" in parsed:
        return f"{parsed.get('status', '')} {parsed.get('code') or parsed.get('type', '')}: {parsed['message']}".strip()
    return str(error or state)


def show_piece(piece: Any, to: Path | None) -> bool:
    """Text to stdout as it comes, audio to the end of the file; True when it went into the file."""
    if isinstance(piece, str):
        print(piece, end="", flush=True)
    elif isinstance(piece, dict) and (text := piece_text(piece)) is not None:
        print(text, end="", flush=True)
    elif isinstance(piece, dict) and to and (sound := next((piece[key] for key in BYTES_IN if key in piece), None)):
        with to.open("ab") as file:
            file.write(base64.b64decode(sound))
        return True
    else:
        print(shortened(piece))
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


def show(output: Any, to: Path | None) -> None:
    if to is None:
        print(shortened(output))
        return
    with to.open("wb") as file:
        write(output, file)
    tell(f"{to}: {to.stat().st_size} bytes")


def write(output: Any, file: BinaryIO) -> None:
    if isinstance(output, dict):
        if "audio_url" in output:
            fetch(output["audio_url"], file)
            return
        for key in BYTES_IN:
            if key in output and "content_type" in output:
                file.write(base64.b64decode(output[key]))
                return
        if "content_type" in output and "text" in output:
            file.write(output["text"].encode())
            return
    file.write(json.dumps(output, ensure_ascii=False, indent=2).encode() + b"\n")


def fetch(url: str, file: BinaryIO) -> None:
    try:
        with open_client() as http, http.stream("GET", parse_url(url).text) as response:
            response.raise_for_status()
            file.writelines(response.iter_bytes())
    except (httpx.HTTPError, OutgoingError) as error:
        raise PlatformError(f"the result's link does not answer: {error}") from error


def shortened(output: Any) -> str:
    """JSON for a terminal: base64 is told by its size."""
    if isinstance(output, dict):
        output = {
            key: f"<{len(value)} characters of base64; --output FILE writes the bytes>"
            if key in BYTES_IN and isinstance(value, str)
            else value
            for key, value in output.items()
        }
    return json.dumps(output, ensure_ascii=False, indent=2)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
