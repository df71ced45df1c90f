"""Where recordings are read: the threads for it, and what is looked at before."""

from __future__ import annotations

import binascii
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from speech_server.audio.lent.file import Lent
from speech_server.audio.pulling import Puller
from speech_server.domain import Samples
from speech_server.engines.cores import core_count
from speech_server.engines.queue.fair_queue import MUCH
from speech_server.engines.queue.standing import STANDING
from speech_server.errors import Busy, InvalidRequest
from speech_server.pools import Pool

T = TypeVar("T")

# Decoding and voice detection: steps of a tenth of a second where they can be, taken in turn by all requests. One of
# each is here at a time, far fewer than may wait.
ahead = Pool("decode", core_count() + 1, waiting=1024)
_behind = Pool("decode-behind", 1, waiting=1024)  # for callers who hung up lately: much of it is for nothing

_lent = Pool("decode-lent", 8, waiting=1024)  # a network may be slow: nobody else's recording waits for it

_base64 = Pool("base64", threads=1, waiting=1000)
BLOCK = 1 << 18  # characters of base64, four by four


def read(
    source: Path | BinaryIO,
    work: Callable[[Iterator[Samples]], Iterator[T]],
    *,
    max_seconds: float,
    pcm: bool,
    start: float = 0.0,
    block_seconds: float = 30.0,
) -> Puller[T]:
    """What `work` makes of a recording's blocks (audio/decode.py), on these threads, and after the file was vetted.
    Pulling raises AudioUnreadable, InvalidRequest (no samples), RequestTooLarge, Busy, and what `work` raises."""
    from speech_server.audio import decode
    from speech_server.audio.budget import Limits
    from speech_server.audio.vetting import vet

    stop = threading.Event()
    blocks = decode.stream(source, Limits(max_seconds), stop, pcm=pcm, start=start, block_seconds=block_seconds)
    ours = _behind if STANDING.debt() > MUCH else ahead
    pool = _lent if isinstance(source, Lent) else ours
    return Puller(work(blocks), pool, stop, None if pcm else partial(vet, source))


async def borrowed(content_type: str, key: str) -> Lent:
    """The file that a form part of this type names. Raises InvalidRequest, LenderFailed."""
    return await _lent.run(Lent, content_type, key)


async def from_base64(text: str, where: str) -> bytes:
    """Also of a data URL. Raises InvalidRequest, which names the place it came from."""
    text = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return await _base64.run(_decoded, text)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{where} is not valid base64", param=where) from None


def _decoded(text: str) -> bytes:
    """Block by block: a second of decoding in one piece would hold up every other thread."""
    blocks = [text[start : start + BLOCK] for start in range(0, len(text), BLOCK)]
    if any(block.endswith("=") for block in blocks[:-1]):
        raise ValueError("padding in the middle")
    return b"".join(binascii.a2b_base64(block, strict_mode=True) for block in blocks)


def warm_up() -> None:
    """Begins what the first file would wait for: worth calling while it is still on its way."""
    from speech_server.audio.vetting import warm

    warm()
    with suppress(Busy):
        _behind.submit(bool)  # its thread, while one can be had
