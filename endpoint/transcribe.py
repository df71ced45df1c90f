"""The text of one file goes to stdout, or to a file with --output; a bar on the terminal shows how far it is.

    python -m endpoint transcribe talk.mp3 --at ENDPOINT
    python -m endpoint transcribe talks/ interview.mp4 --at ENDPOINT --format srt --out subtitles
    python -m endpoint transcribe https://example.com/talk.mp3 s3://bucket/talks/ --at ENDPOINT --dry-run

Several files, folders, patterns, URLs and buckets go in pieces to as many workers as there are, and each text beside
its recording or below --out. What is interrupted, by Ctrl-C or worse, goes on with the same command where it was.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from endpoint import speakers
from endpoint.api import Request, answer
from endpoint.bulk import command
from endpoint.errors import BadArgument
from endpoint.progress import Progress
from endpoint.where import SERVER_URL, find

FORMATS = ("text", "json", "verbose_json", "diarized_json", "srt", "vtt")
ROUTES = {"transcribe": "/audio/transcriptions", "translate": "/audio/translations"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="file, folder, pattern, URL or s3://BUCKET/PREFIX; - is stdin")
    add("--model", default="whisper-1", help="model id or alias (whisper-1)")
    add("--language", help="language of the speech, a code or a name; detected by default")
    add("--prompt", help="text to guide spelling and style")
    add("--hotwords", help="words to expect, such as names")
    add("--temperature", type=float, help="of the decoding, 0 to 1")
    add("--format", choices=FORMATS, default="text", help="(text)")
    add("--words", action="store_true", help="with --format verbose_json: the times of words")
    add("--timestamps", action="store_true", help="one line per segment, with its times")
    add("--stream", action="store_true", help="print words as they are heard")
    add_common(parser, "write the text of one file here instead of printing it")
    speakers.add_arguments(parser)
    command.add_arguments(parser)


def add_common(parser: argparse.ArgumentParser, output: str) -> None:
    """What transcribe, translate, speak and talk share."""
    add = parser.add_argument
    add("--output", "-o", metavar="FILE", help=output)
    default = os.environ.get("SPEECH_SERVER_URL", SERVER_URL)
    add("--at", default=default, metavar="ENDPOINT", help=f"who does the work ({default})")
    add("--api-key", help="(RUNPOD_API_KEY for Runpod, API_KEY for other servers)")
    add("--timeout", type=float, default=3600, metavar="S", help="give up after this long (%(default)s)")


async def run(args: argparse.Namespace) -> int:
    where = find(args.at, os.environ, args.api_key)
    many = command.is_asked(args)
    asked = command.fields_of(args) | await speakers.speaker_fields(args)
    if many:
        return await command.run(args, asked, where, ROUTES[args.command])
    file = Path(args.sources[0])
    shape = "verbose_json" if args.timestamps and not args.stream else args.format
    fields = asked | {"response_format": shape} | ({"stream": True} if args.stream else {})
    text = ""
    with open_audio(file) as audio, Progress() as bar:
        request = Request(ROUTES[args.command], fields, audio, file.name, streams=args.stream)
        whole = bytearray()
        async for part in answer(where, request, bar, args.timeout):
            if isinstance(part, bytes):
                whole += part
            elif part.get("type") == "transcript.text.delta":
                bar.close()
                text += part["delta"]
                print(part["delta"], end="", flush=True)
    if args.stream:
        print()
    else:
        text = "\n".join(timed_lines(json.loads(whole))) if args.timestamps else whole.decode()
    if args.output or not args.stream:
        write_text(text, args.output)
    return 0


def open_audio(path: Path) -> BinaryIO:
    if str(path) == "-":
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        return path.open("rb")
    except OSError as error:
        raise BadArgument(f"{path}: {error.strerror}") from None


def timed_lines(body: dict[str, Any]) -> Iterator[str]:
    for part in body["segments"]:
        spoken_by = f" {part['speaker']}:" if part.get("speaker") else ""
        yield f"[{part['start']:8.2f} -> {part['end']:8.2f}]{spoken_by}{part['text']}"


def write_text(text: str, output: str | None) -> None:
    text = text if text.endswith("\n") else text + "\n"
    if output and output != "-":
        Path(output).write_text(text, "utf-8")
    else:
        sys.stdout.write(text)
