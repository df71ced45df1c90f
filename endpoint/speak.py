"""Without --output the sound goes to speech.mp3, or to the first of speech-2.mp3, speech-3.mp3, ... that is free."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

from endpoint.api import Request, answer
from endpoint.progress import Progress
from endpoint.transcribe import add_common
from endpoint.where import find

FORMATS = ("mp3", "wav", "flac", "opus", "aac", "pcm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("text", metavar="TEXT", help="what to say; - reads standard input")
    add("--model", default="tts-1", help="model id or alias (tts-1)")
    add("--voice", default="", help="a voice of the model; see GET /v1/audio/voices")
    add("--speed", type=float, default=1.0, help="times the voice's own pace (1.0)")
    add("--format", choices=FORMATS, help="(by --output's name, else mp3)")
    add("--stream", action="store_true", help="write audio while it is made, wav too")
    add_common(parser, "audio file to write, - for standard output")


async def run(args: argparse.Namespace) -> int:
    where = find(args.at, os.environ, args.api_key)
    named = Path(args.output).suffix.removeprefix(".") if args.output else ""
    shape = args.format or (named if named in FORMATS else "mp3")
    output = args.output or str(next(path for path in names(shape) if not path.exists()))
    text = sys.stdin.read() if args.text == "-" else args.text
    body: dict[str, Any] = {"model": args.model, "input": text, "voice": args.voice, "response_format": shape}
    body["speed"] = args.speed
    if args.stream:
        body["stream_format"] = "audio"
    request = Request("/audio/speech", body, streams=args.stream)
    with Progress() as bar:
        parts = answer(where, request, bar, args.timeout)
        first = await anext(parts, b"")  # a refusal leaves the file alone
        with nullcontext(sys.stdout.buffer) if output == "-" else Path(output).open("wb") as file:
            file.write(first if isinstance(first, bytes) else b"")
            async for part in parts:
                if isinstance(part, bytes):
                    file.write(part)
                    file.flush()
                    bar.received(len(part))
    if output != "-":
        print(output)
    return 0


def names(shape: str) -> Iterator[Path]:
    yield Path(f"speech.{shape}")
    for number in count(2):
        yield Path(f"speech-{number}.{shape}")
