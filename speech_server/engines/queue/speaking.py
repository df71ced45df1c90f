"""The queue speech engines share: pieces of all requests side by side on worker threads, each request's in order."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from speech_server.audio.joins import trim, with_pause
from speech_server.audio.stretch import stretch
from speech_server.domain import Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.onnx import Stop
from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.fair_queue import Lane, Work
from speech_server.engines.queue.turnstile import Turnstile
from speech_server.errors import InvalidRequest
from speech_server.pools import Pool
from speech_server.text.sentences import Piece

# Speaks one text on a worker thread; told whether it is the only work there is.
Say = Callable[[str, bool], Samples]

_LETTERS_PER_SECOND = 15.0
_reading = Pool("reading", 2, waiting=1024)


@dataclass(frozen=True, slots=True)
class _Utterance:
    piece: Piece
    say: Say
    stop: Stop = field(default_factory=Stop)


class _Line:
    """One request's pieces, in order: those in the queue or in work, and those that are still to be read."""

    def __init__(self, lane: Lane[_Utterance, Samples], pieces: Iterator[Piece], say: Say) -> None:
        self._lane = lane
        self._read = partial(next, pieces, None)
        self._say = say
        self.waiting: deque[tuple[_Utterance, Future[Samples]]] = deque()

    async def fill(self, count: int) -> None:
        while len(self.waiting) < count:
            # Reading signs and splitting takes milliseconds per paragraph: not on the event loop.
            piece = await _reading.run(self._read)
            if piece is None:
                return
            utterance = _Utterance(piece, self._say)
            self.waiting.append((utterance, self._lane.submit(utterance, len(piece.text) / _LETTERS_PER_SECOND)))

    async def next(self) -> tuple[Piece, Samples]:
        utterance, future = self.waiting[0]
        samples = await asyncio.wrap_future(future)
        self.waiting.popleft()
        return utterance.piece, samples

    def stop(self) -> None:
        for utterance, _ in self.waiting:
            utterance.stop.set()


class SpeechQueue:
    """Threads that speak pieces, one each; `close` waits for those under way."""

    def __init__(self, name: str, workers: int, args: EngineArgs, turnstile: Turnstile | None = None) -> None:
        self._ahead = workers + 1  # pieces of one request in work or waiting: bounds memory, keeps all workers busy
        self._running = 0
        self._lock = threading.Lock()
        self.batcher: Batcher[_Utterance, Samples] = Batcher(
            self._step,
            name=name,
            workers=workers,
            max_lanes=int(args.extra.get("max_requests", 128)),
            turnstile=turnstile,
        )

    async def speak(
        self,
        pieces: Iterator[Piece],
        say: Say,
        *,
        rate: int,
        pause_scale: float,
        tempo: float = 1.0,
        check: Callable[[str], object] | None = None,
    ) -> AsyncGenerator[Samples, None]:
        """Samples of each piece with the pause after it. Closing it stops the work, that under way included.
        What `say` gives is sped up by `tempo`, its pitch kept.

        The first piece goes alone: whoever waits for the first sound has all cores. `check` sees the text of every
        piece before that, and raises InvalidRequest where it cannot be said.
        """

        def say_in_time(text: str, alone: bool) -> Samples:
            return stretch(trim(say(text, alone), rate), rate, tempo)

        spoken = False
        with self.batcher.lane() as lane:
            if check is not None:
                pieces = iter([piece async for piece in _checked(pieces, check)])
            line = _Line(lane, pieces, say_in_time)
            try:
                await line.fill(1)
                while line.waiting:
                    piece, samples = await line.next()
                    spoken = spoken or len(samples) > 0
                    await line.fill(self._ahead)
                    if len(samples):
                        yield with_pause(samples, piece.pause * pause_scale, rate)
            finally:
                line.stop()
        if not spoken:
            raise InvalidRequest("input has nothing that this voice can say: give it words", param="input")

    def close(self) -> None:
        self.batcher.close()

    def _step(self, batch: list[Work[_Utterance, Samples]]) -> None:
        with self._lock:
            self._running += len(batch)
            alone = self._running == 1 and self.batcher.waiting == 0
        try:
            for work in batch:
                with work.payload.stop:
                    work.future.set_result(work.payload.say(work.payload.piece.text, alone))
        finally:
            with self._lock:
                self._running -= len(batch)


async def _checked(pieces: Iterator[Piece], check: Callable[[str], object]) -> AsyncIterator[Piece]:
    step = partial(next, pieces, None)
    while (piece := await _reading.run(step)) is not None:
        await _reading.run(check, piece.text)
        yield piece
