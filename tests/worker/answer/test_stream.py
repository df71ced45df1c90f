"""However an answer arrives, its pieces are small, whole in themselves, and add up to it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answer.events import parse_events
from worker.answer.stream import MAX_PIECE, cutter_for, pieces
from worker.errors import BadReply, StorageFull

pytestmark = pytest.mark.anyio


def blocks_of(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(body) + 1) for cut in cuts}), len(body)]
    return [body[a:b] for a, b in pairwise(edges)]


async def cut(blocks: Iterable[bytes], content_type: str, *, raw_events: bool = False) -> list[Any]:
    async def arriving() -> AsyncIterator[bytes]:
        for block in blocks:
            await asyncio.sleep(0)
            yield block

    body = io.BytesIO()
    found = [piece async for piece in pieces(arriving(), body, cutter_for(content_type, raw_events=raw_events))]
    assert body.getvalue() == b"".join(blocks)
    assert all(len(json.dumps({"output": piece}, ensure_ascii=False).encode()) < 1_000_000 for piece in found)
    return found


cuts = st.lists(st.integers(0, 5000), max_size=12)


@given(st.binary(max_size=5000), cuts)
async def test_audio_pieces_decode_one_by_one(body: bytes, at: list[int]):
    found = await cut(blocks_of(body, at), "audio/mpeg")
    assert b"".join(base64.b64decode(piece["audio_content"], validate=True) for piece in found) == body
    assert {piece["content_type"] for piece in found} <= {"audio/mpeg"}


@given(st.text(max_size=300), cuts)
async def test_text_pieces_split_no_character(text: str, at: list[int]):
    found = await cut(blocks_of(text.encode(), at), "text/vtt")
    assert "".join(piece["text"] for piece in found) == text


values = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=40), min_size=1), max_size=8)


@given(values, cuts, st.sampled_from(["\n", "\r\n", "\r"]))
async def test_event_pieces_are_whole_events(events: list[dict[str, Any]], at: list[int], end: str):
    body = "".join(f"data: {json.dumps(event)}{end}{end}" for event in events).encode()
    assert await cut(blocks_of(body, at), "text/event-stream") == events


@given(values, cuts)
async def test_raw_pieces_are_whole_events_too(events: list[dict[str, Any]], at: list[int]):
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    found = await cut(blocks_of(body, at), "text/event-stream", raw_events=True)
    assert "".join(found).encode() == body
    assert all(piece.endswith("\n\n") for piece in found)


async def test_large_bodies_are_cut_under_the_limit():
    audio = bytes(range(256)) * 12_000
    assert len(await cut([audio], "audio/wav")) == 5
    text = "\x00\U0001f600é" * 200_000
    assert "".join(piece["text"] for piece in await cut([text.encode()], "text/plain")) == text


@pytest.mark.parametrize("raw", [True, False])
async def test_an_event_too_large_for_a_piece_is_named_in_its_place(raw: bool):
    body = (
        b'data: {"type": "speech.audio.delta", "audio": "' + b"A" * (MAX_PIECE + 5) + b'"}\n\ndata: {"type": "b"}\n\n'
    )
    found = await cut([body[i : i + 65536] for i in range(0, len(body), 65536)], "text/event-stream", raw_events=raw)
    events = [event.value() for piece in found for event in parse_events(piece.encode())] if raw else found
    assert [event["type"] for event in events] == ["speech.audio.delta", "b"]
    assert events[0]["omitted_bytes"] > MAX_PIECE


async def test_an_event_that_never_ends_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.answer.stream._LONGEST_EVENT", 1 << 20)
    with pytest.raises(BadReply, match="an event of more than 1 MiB"):
        await cut([b"data: " + b"x" * 65536] * 20, "text/event-stream")


@pytest.mark.parametrize("streams", [True, False])
async def test_a_full_disk_is_named(streams: bool):
    async def blocks() -> AsyncIterator[bytes]:
        yield b"x"

    cutter = cutter_for("text/plain", raw_events=False) if streams else None
    with io.FileIO("/dev/full", "w") as body, pytest.raises(StorageFull, match="disk is full"):
        await anext(pieces(blocks(), body, cutter))


async def test_json_is_one_piece_if_it_fits():
    assert await cut([b'{"a":', b" 1}"], "application/json") == [{"a": 1}]
    assert await cut([b'"' + b"x" * MAX_PIECE + b'"'], "application/json") == []


async def test_what_comes_while_a_piece_is_sent_travels_as_one_piece():
    sent = asyncio.Event()

    async def arriving() -> AsyncIterator[bytes]:
        yield b"a"
        await sent.wait()
        for _ in range(50):
            yield b"b"

    found = []
    async for piece in pieces(arriving(), io.BytesIO(), cutter_for("text/plain", raw_events=False)):
        found.append(piece["text"])
        sent.set()
        for _ in range(100):
            await asyncio.sleep(0)
    assert found == ["a", "b" * 50]


async def test_an_error_of_the_server_comes_through_after_the_pieces_before_it():
    async def breaking() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionError("gone")

    found = pieces(breaking(), io.BytesIO(), cutter_for("text/plain", raw_events=False))
    assert await anext(found) == {"text": "a"}
    with pytest.raises(ConnectionError, match="gone"):
        await anext(found)


async def test_leaving_early_stops_the_reading():
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"a"
                await asyncio.sleep(0)
        finally:
            closed.set()

    before = asyncio.all_tasks()
    async with aclosing(endless()) as blocks:
        async with aclosing(pieces(blocks, io.BytesIO(), cutter_for("text/plain", raw_events=False))) as found:
            await anext(found)
        assert asyncio.all_tasks() == before
    assert closed.is_set()
