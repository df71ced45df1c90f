"""The options of `transcribe` that say who speaks, and the form fields they become."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any

from endpoint.bulk.cutting import Readers
from endpoint.errors import BadArgument, Refused
from speech_server.domain import MOST_KNOWN, Count

OPENAI = "diarized_json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who speaks")
    add = group.add_argument
    add("--speakers", action="store_true", help="name the speakers: A, B, C, as they first speak")
    add("--num-speakers", type=int, metavar="N", help="so many people speak")
    add("--min-speakers", type=int, metavar="N", help="at least so many")
    add("--max-speakers", type=int, metavar="N", help="at most so many")
    add(
        "--speaker", action="append", default=[], metavar="NAME=FILE",
        help="somebody whose voice is known, by 2 to 10 s of it; once for each",
    )  # fmt: skip


async def speaker_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Nothing where nobody wants to know. Raises BadArgument."""
    counts = {name: getattr(args, name) for name in ("num_speakers", "min_speakers", "max_speakers")}
    try:
        Count.asked(*counts.values())
    except ValueError as error:
        raise BadArgument(str(error)) from None
    counts = {name: value for name, value in counts.items() if value is not None}
    known = _known(args.speaker)
    if not (args.speakers or args.format == OPENAI or counts or known):
        return {}
    if args.stream:
        raise BadArgument("--speakers: who speaks is known when all has been heard; leave out --stream")
    fields: dict[str, Any] = {"diarize": True, **counts}
    if known:
        fields |= {"known_speaker_names": list(known), "known_speaker_references": await _references(known)}
    return fields


def _known(given: list[str]) -> dict[str, Path]:
    known: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        name = name.strip()
        if not name or not equals or not file:
            raise BadArgument(f"--speaker {text!r}: write NAME=FILE, like Anna=anna.wav")
        if "," in name or name.startswith(("[", "{")):
            raise BadArgument(f"--speaker {text!r}: a name has no comma, and begins with no bracket")
        if name in known:
            raise BadArgument(f"--speaker {name} is given twice: each person has a name of their own")
        known[name] = Path(file)
    if len(known) > MOST_KNOWN:
        raise BadArgument(f"--speaker is given {len(known)} times: {MOST_KNOWN} people at most can be known")
    return known


async def _references(known: dict[str, Path]) -> list[str]:
    """Data URLs, small whatever the files are: they go with every piece."""
    readers = Readers(1)
    try:
        return [await _reference(readers, name, path) for name, path in known.items()]
    finally:
        await readers.close()


async def _reference(readers: Readers, name: str, path: Path) -> str:
    try:
        sound = await readers.reference(path)
    except Refused as error:
        raise BadArgument(f"--speaker {name}={path}: {error.message}") from None
    return f"data:audio/mpeg;base64,{base64.b64encode(sound).decode()}"
