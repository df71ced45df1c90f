from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

import anyio
import numpy as np
import pytest

from speech_server.domain import Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import StoppableSession, open_session
from speech_server.engines.queue.speaking import Say, SpeechQueue
from speech_server.errors import InvalidRequest
from speech_server.text.sentences import Piece
from tests.conftest import PIPER
from tests.speech_server.conftest import model_folder
from tests.speech_server.engines.test_onnx import INPUTS

pytestmark = pytest.mark.anyio

RATE = 1_000


@asynccontextmanager
async def queue(workers: int = 2) -> AsyncIterator[SpeechQueue]:
    opened = SpeechQueue("test", workers, EngineArgs())
    try:
        yield opened
    finally:
        await anyio.to_thread.run_sync(opened.close)


def beep(text: str, alone: bool) -> Samples:
    """As many samples as the text is long, after 20 ms that trimming leaves."""
    return np.full(100 + len(text), 0.5, np.float32)


async def speak(opened: SpeechQueue, texts: list[str], say: Say, pause: float = 0.0) -> list[Samples]:
    pieces = iter([Piece(text, pause) for text in texts])
    async with aclosing(opened.speak(pieces, say, rate=RATE, pause_scale=1.0)) as spoken:
        return [samples async for samples in spoken]


async def test_pieces_come_in_order_whoever_is_ready_first():
    second_done = threading.Event()

    def say(text: str, alone: bool) -> Samples:
        if text == "bb":
            assert second_done.wait(10)
        if text == "ccc":
            second_done.set()
        return beep(text, alone)

    async with queue() as opened:
        spoken = await speak(opened, ["a", "bb", "ccc", "dddd"], say)
    assert [len(samples) for samples in spoken] == [101, 102, 103, 104]


async def test_what_cannot_be_said_is_found_before_anything_is():
    said: list[str] = []

    def say(text: str, alone: bool) -> Samples:
        said.append(text)
        return beep(text, alone)

    def check(text: str) -> None:
        if text == "third":
            raise InvalidRequest("input cannot be read")

    async with queue() as opened:
        pieces = iter([Piece(text, 0.0) for text in ("first", "second", "third")])
        with pytest.raises(InvalidRequest, match="cannot be read"):
            await anext(opened.speak(pieces, say, rate=RATE, pause_scale=1.0, check=check))
        assert said == []
        pieces = iter([Piece(text, 0.0) for text in ("first", "second")])
        async with aclosing(opened.speak(pieces, say, rate=RATE, pause_scale=1.0, check=check)) as spoken:
            assert [len(samples) async for samples in spoken] == [105, 106]


async def test_the_first_piece_is_alone_and_the_next_are_side_by_side():
    alone: dict[str, bool] = {}
    other = threading.Event()
    meet = threading.Barrier(2, timeout=10)

    def say(text: str, by_itself: bool) -> Samples:
        alone[text] = by_itself
        if text == "first":
            assert not other.wait(0.3)  # none begins while it is spoken
        else:
            other.set()
            meet.wait()
        return beep(text, by_itself)

    async with queue() as opened:
        await speak(opened, ["first", "second", "third"], say)
    assert alone["first"]
    assert not (alone["second"] and alone["third"])


async def test_a_pause_follows_each_piece():
    async with queue() as opened:
        (spoken,) = await speak(opened, ["a"], beep, pause=0.25)
    assert len(spoken) == 101 + 250
    assert not spoken[101:].any()


async def test_silent_pieces_are_left_out_and_nothing_but_silence_is_refused():
    async with queue() as opened:
        spoken = await speak(
            opened, ["", "bb", ""], lambda text, alone: beep(text, alone) if text else np.zeros(50, np.float32)
        )
        assert [len(samples) for samples in spoken] == [102]
        with pytest.raises(InvalidRequest, match="nothing"):
            await speak(opened, ["", ""], lambda text, alone: np.zeros(50, np.float32))
        with pytest.raises(InvalidRequest, match="nothing"):
            await speak(opened, [], beep)


async def test_a_failure_reaches_its_request_and_leaves_the_queue_working():
    def say(text: str, alone: bool) -> Samples:
        if text == "bad":
            raise ArithmeticError("of this piece")
        return beep(text, alone)

    async with queue() as opened:
        with pytest.raises(ArithmeticError):
            await speak(opened, ["a", "bad", "c"], say)
        assert opened.batcher.lanes == 0
        assert len(await speak(opened, ["a", "b"], say)) == 2


async def test_only_a_few_pieces_are_taken_ahead_of_a_slow_listener():
    taken: list[str] = []

    def pieces() -> Iterator[Piece]:
        for number in range(100):
            taken.append(str(number))
            yield Piece("x" * 10, 0.0)

    async with queue(workers=2) as opened, aclosing(opened.speak(pieces(), beep, rate=RATE, pause_scale=1.0)) as spoken:
        for _ in range(3):
            await anext(spoken)
        assert len(taken) <= 3 + 3


async def test_closing_ends_the_run_under_way():
    session = StoppableSession(open_session(model_folder(PIPER) / "model.onnx", 1))
    running, ended, given_up = threading.Event(), threading.Event(), threading.Event()

    def say(text: str, alone: bool) -> Samples:
        if text == "a":
            return beep(text, alone)
        try:
            while not given_up.is_set():  # only its Stop ends it
                session.run(None, INPUTS)
                running.set()
        finally:
            ended.set()

    async with queue() as opened:
        pieces = iter([Piece("a", 0.0), Piece("endless", 0.0)])
        async with aclosing(opened.speak(pieces, say, rate=RATE, pause_scale=1.0)) as spoken:
            await anext(spoken)
            assert await wait(running.is_set)
        stopped = await wait(ended.is_set)
        given_up.set()
    assert stopped


async def wait(condition: Callable[[], bool]) -> bool:
    with anyio.move_on_after(10):
        while not condition():  # noqa: ASYNC110 - set by worker threads
            await anyio.sleep(0.01)
    return condition()
