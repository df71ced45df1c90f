"""A job's output -> what the speech API answered: its bytes and their type. The opposite of the worker's reply."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from endpoint.errors import Refused, Unreachable
from endpoint.platform.http import open_client
from outgoing.errors import OutgoingError

_LINK_SECONDS = 60.0  # a bucket may stand still for this long
_BYTES = ("audio_content", "audio", "data")  # keys of an output that hold base64


async def body(output: Any) -> AsyncIterator[bytes]:
    """The blocks of the answer: audio decoded, text as UTF-8, a link fetched, JSON written down."""
    if isinstance(output, dict) and "content_type" in output:
        if link := output.get("audio_url") or output.get("url"):
            async for block in fetch(str(link)):
                yield block
            return
        if isinstance(output.get("text"), str):
            yield output["text"].encode()
            return
        if (sound := piece_body(output)) is not None:
            yield sound
            return
    yield json.dumps(output, ensure_ascii=False, indent=2).encode() + b"\n"


def piece_body(piece: Any) -> bytes | None:
    """The audio of one piece of a stream; None where it is an event or text."""
    text = _base64(piece)
    return None if text is None else decoded(text)


def _base64(piece: Any) -> str | None:
    if isinstance(piece, dict):
        for key in _BYTES:
            if isinstance(piece.get(key), str):
                return str(piece[key])
    return None


def _decoded_size(text: str) -> int:
    return len(text) // 4 * 3 - text.count("=", -2)


class Given:
    """What has been given of an answer, piece by piece. When others were lost on their way, the whole answer, which a
    streamed job has at its end all the same, holds the rest."""

    def __init__(self) -> None:
        self._pieces = self._sound = self._text = 0  # their number, bytes, characters

    def add(self, piece: Any) -> None:
        self._pieces += 1
        if (sound := _base64(piece)) is not None:
            self._sound += _decoded_size(sound)
        elif isinstance(piece, dict) and isinstance(text := piece.get("delta", piece.get("text")), str):
            self._text += len(text)

    def rest(self, output: Any, *, is_whole: bool) -> list[Any]:
        """The pieces to come; none where none was lost. Raises Unreachable where the output does not hold them, and
        where more sound has come than there is: another worker began anew then, because the first was lost."""
        sound = _base64(output) if self._sound else None
        if sound is not None and _decoded_size(sound) < self._sound:
            raise Unreachable("the worker was lost in the middle of its answer, and another began it anew")
        if is_whole:
            return []
        if isinstance(output, list) and self._pieces <= len(output):  # of a handler that is a generator
            return output[self._pieces :]
        if isinstance(output, dict):
            if (whole := piece_body(output)) is not None:
                content = base64.b64encode(whole[self._sound :]).decode()
                return [{"content_type": output.get("content_type"), "audio_content": content}]
            if isinstance(text := output.get("text"), str):
                if "content_type" in output:
                    return [{"text": text[self._text :]}]
                delta = {"type": "transcript.text.delta", "delta": text[self._text :]}
                return [delta, {**output, "type": "transcript.text.done"}]
        raise Unreachable("pieces of the answer were lost on the way, and the job's output does not hold them")


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(f"the job's output is no base64: {error}") from None


async def fetch(url: str) -> AsyncIterator[bytes]:
    """A result that was too large for the platform, from the bucket where the worker put it."""
    try:
        async with (
            open_client(timeout=_LINK_SECONDS) as http,
            http.stream("GET", url) as response,
        ):
            response.raise_for_status()
            async for block in response.aiter_bytes():
                yield block
    except (httpx.HTTPError, OutgoingError) as error:
        raise Unreachable(f"the result's link does not answer: {error}") from error


def readable(output: Any) -> str:
    """JSON for a terminal: base64 is told by its size."""
    if isinstance(output, dict):
        output = {
            key: f"<{len(value)} characters of base64; --output FILE writes the bytes>"
            if key in _BYTES and isinstance(value, str)
            else value
            for key, value in output.items()
        }
    return json.dumps(output, ensure_ascii=False, indent=2)
