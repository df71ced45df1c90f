"""An answer on its way -> pieces for /stream, each under 1 MB, never inside a character, an event or a base64 block."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import IO, Any, Protocol

import pybase64

from worker.answer.events import EVENT_END, Event, parse_event
from worker.errors import BadReply
from worker.plain import Base64, make_plain
from worker.scratch import keep

MAX_PIECE = 900_000  # bytes of JSON; the platform takes 1 MB with what is put around it
_RAW_PIECE = MAX_PIECE // 4 * 3 // 3 * 3 - 600  # bytes that become less than that as base64, divisible by 3
_TEXT_PIECE = MAX_PIECE // 6  # characters; the worst is 6 bytes each: \\u0000
_BACKLOG = 8 << 20  # bytes taken from the server ahead of the platform
_LONGEST_EVENT = 64 << 20  # bytes kept in memory until an event's end comes


class Cutter(Protocol):
    """Cuts a growing body; `take` gives the next piece that is complete, None until there is one."""

    def add(self, block: bytes) -> None: ...
    def end(self) -> None: ...
    def take(self) -> Any | None: ...


def cutter_for(content_type: str, *, raw_events: bool) -> Cutter:
    if content_type == "text/event-stream":
        return _Events(raw=raw_events)
    if content_type.startswith("text/") or content_type == "application/x-subrip":
        return _Text()
    if content_type == "application/json":
        return _Whole()
    return _Bytes(content_type)


async def pieces(blocks: AsyncIterator[bytes], body: IO[bytes], cutter: Cutter | None) -> AsyncGenerator[Any, None]:
    """Reads an answer into `body`, and gives pieces of it as they become complete (none without a cutter): what comes
    while one is being sent travels as the next."""
    if cutter is None:
        async for block in blocks:
            keep(body, block)  # memory or page cache, 64 kB at a time: quicker than handing it to a thread
        return
    news, room = asyncio.Event(), asyncio.Event()
    backlog = 0

    async def read() -> None:
        nonlocal backlog
        try:
            async for block in blocks:
                keep(body, block)
                cutter.add(block)
                backlog += len(block)
                news.set()
                if backlog > _BACKLOG:
                    room.clear()
                    await room.wait()
        finally:
            cutter.end()
            news.set()

    reader = asyncio.create_task(read())
    try:
        ended = False
        while not ended:
            await news.wait()
            news.clear()
            ended = reader.done()
            while (piece := cutter.take()) is not None:
                yield piece
            backlog = 0
            room.set()
        await reader
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)  # whoever left early has a reason of his own


class _Bytes:
    """Audio and other bytes: each piece is decodable by itself."""

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._key = "audio_content" if content_type.startswith("audio/") else "data"
        self._rest = bytearray()

    def add(self, block: bytes) -> None:
        self._rest += block

    def end(self) -> None:
        pass

    def take(self) -> Any | None:
        if not self._rest:
            return None
        block = bytes(self._rest[:_RAW_PIECE])
        del self._rest[:_RAW_PIECE]
        return {"content_type": self._content_type, self._key: Base64(pybase64.b64encode(block).decode("ascii"))}


class _Text:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def add(self, block: bytes) -> None:
        self._rest += self._decoder.decode(block)

    def end(self) -> None:
        self._rest += self._decoder.decode(b"", final=True)

    def take(self) -> Any | None:
        text, self._rest = self._rest[:_TEXT_PIECE], self._rest[_TEXT_PIECE:]
        return {"text": text} if text else None


class _Whole:
    """JSON has no pieces: it is one, if it fits."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._ended = False

    def add(self, block: bytes) -> None:
        if len(self._body) <= MAX_PIECE:
            self._body += block

    def end(self) -> None:
        self._ended = True

    def take(self) -> Any | None:
        if not self._ended or not self._body:
            return None
        body, self._body = bytes(self._body), bytearray()
        value, size = make_plain(Event("", body.decode(errors="replace")).value())
        return value if size <= MAX_PIECE else None


class _Events:
    """One event is one piece: its JSON, or (raw) the events that came so far, as they came."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._rest = bytearray()
        self._events: deque[bytes] = deque()

    def add(self, block: bytes) -> None:
        start = max(0, len(self._rest) - 3)  # an end may have begun in the last block; what is before has none
        self._rest += block
        taken = 0
        for end in EVENT_END.finditer(self._rest, start):
            self._events.append(bytes(self._rest[taken : end.start()]))
            taken = end.end()
        del self._rest[:taken]
        if len(self._rest) > _LONGEST_EVENT:
            raise BadReply(f"the server sent an event of more than {_LONGEST_EVENT >> 20} MiB")

    def end(self) -> None:
        if self._rest.strip():
            self._events.append(bytes(self._rest))
        self._rest.clear()

    def take(self) -> Any | None:
        return self._take_raw() if self._raw else self._take_value()

    def _take_value(self) -> Any | None:
        while self._events:
            event = parse_event(self._events.popleft())
            if event is not None:
                value, size = make_plain(event.value())
                return value if size <= MAX_PIECE else _stub(event, size)
        return None

    def _take_raw(self) -> str | None:
        taken: list[str] = []
        size = 0
        while self._events and (not taken or size + len(self._events[0]) < MAX_PIECE // 2):
            raw = self._events.popleft()
            text = raw.decode(errors="replace") + "\n\n"
            if len(json.dumps(text, ensure_ascii=False).encode()) > MAX_PIECE:
                event = parse_event(raw)
                text = f"data: {json.dumps(_stub(event, len(raw)))}\n\n" if event else ": \n\n"
            taken.append(text)
            size += len(raw)
        return "".join(taken) or None


def _stub(event: Event, size: int) -> dict[str, Any]:
    """In place of an event that no piece can hold; the whole result at the end has what it held."""
    value = event.value()
    kind = value.get("type") if isinstance(value, dict) else None
    return {"type": str(kind or event.name or "message")[:100], "omitted_bytes": size, "reason": "over 1 MB"}
