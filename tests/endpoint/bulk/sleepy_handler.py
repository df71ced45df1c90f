"""A worker that only sleeps: as long as one GPU would take for the sound it is sent. The SDK is the real one.

What it answers follows from the piece alone, so that a text can be told to be whole. SLEEPY_SPEED: times real time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from typing import Any

import runpod

SPEED = float(os.environ.get("SLEEPY_SPEED", "73"))
LONGEST = 600.0


one_at_a_time = asyncio.Semaphore(1)


async def handle(job: dict[str, Any]) -> Any:
    body = job["input"]["body"]
    start = float(body.get("clip_start", body.get("clip_offset", 0.0)))
    end = float(body.get("clip_end", start + float(os.environ.get("SLEEPY_TAIL", LONGEST))))
    if log := os.environ.get("SLEEPY_LOG"):
        with open(log, "a", encoding="ascii") as file:  # noqa: ASYNC230 - it is one line
            file.write(f"{start}\n")
    async with one_at_a_time:  # the next piece is there already when one has ended
        await asyncio.sleep((end - start) / SPEED)
    # Of the piece alone; an Ogg stream's number, which is another each time, is not in its length.
    about = start, end, len(base64.b64decode(job["input"].get("file_base64", "")))
    word = hashlib.sha256(repr(about).encode()).hexdigest()[:8]
    segment = {"id": 0, "start": start, "end": end, "text": f" {word}"}
    return {
        "task": "transcribe",
        "language": "en",
        "duration": round(end - start, 3),
        "text": word,
        "segments": [segment],
        "words": None,
        "usage": {"type": "duration", "seconds": 1},
    }


if __name__ == "__main__":
    sys.stderr.write("ready\n")
    runpod.serverless.start({"handler": handle, "concurrency_modifier": lambda _: 2})
