"""Kokoro beside a GPU: a session for each worker, never two pieces in one, and each tried out before it is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro import engine
from speech_server.engines.kokoro.engine import KokoroSpeaker
from speech_server.errors import OutOfMemory
from tests.conftest import KOKORO
from tests.speech_server.conftest import model_folder

pytestmark = pytest.mark.anyio

SHORT = "One. Two. Three. Four. Five. Six."


@pytest.fixture
def kokoro(claims_gpu: None) -> Iterator[KokoroSpeaker]:
    speaker = engine.load(model_folder(KOKORO), EngineArgs())
    yield speaker
    speaker.close()


async def say(speaker: KokoroSpeaker, text: str) -> int:
    async with aclosing(speaker.speak(text, SpeakOptions("af_heart", early=False))) as pieces:
        return sum([len(piece) async for piece in pieces])


async def test_two_workers_two_sessions_and_no_wide_one(kokoro: KokoroSpeaker):
    assert (kokoro.placement.device, kokoro.placement.workers, kokoro.placement.gpus) == ("cuda", 2, (0,))
    assert kokoro._free.qsize() == 2
    assert kokoro._opening is None
    assert kokoro.memory_bytes > 2 * (model_folder(KOKORO) / "model.onnx").stat().st_size


async def test_requests_at_once_are_never_in_one_session(kokoro: KokoroSpeaker, monkeypatch: pytest.MonkeyPatch):
    inside: dict[int, threading.Lock] = {id(library): threading.Lock() for library in kokoro._free.queue}
    used = []

    def create(self: Any, *_: Any, **__: Any) -> tuple[Any, int]:
        assert inside[id(self)].acquire(blocking=False), "two pieces in one session"
        used.append(id(self))
        for _ in range(10_000):  # long enough for the other worker to begin
            pass
        inside[id(self)].release()
        return np.full(2400, 0.1, np.float32), 24_000

    monkeypatch.setattr(type(kokoro._library), "create", create)
    lengths = await asyncio.gather(*(say(kokoro, SHORT) for _ in range(6)))
    assert min(lengths) > 0
    assert set(used) <= set(inside)
    assert kokoro._free.qsize() == 2


async def test_a_session_is_free_again_after_a_piece_that_failed(
    kokoro: KokoroSpeaker, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA failure 2: out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(type(kokoro._library), "create", fail)
        for _ in range(3):
            with pytest.raises(OutOfMemory):
                await say(kokoro, "One.")
    assert await say(kokoro, "One.") > 0


async def test_the_rehearsal_is_a_short_and_a_long_sentence_in_each_session(kokoro: KokoroSpeaker):
    assert len(list(kokoro.rehearse())) == 4
    assert kokoro._free.qsize() == 2


async def test_the_same_number_of_phonemes_is_not_the_same_length(kokoro: KokoroSpeaker):
    """Why pieces are not grouped by length: the model's own durations are in the shapes of its convolutions."""
    vocabulary = kokoro._library.tokenizer.vocab
    letters = [letter for letter in "aeiouts" if letter in vocabulary]
    style = kokoro._style("af_heart")
    spoken = [kokoro._library.create(letter * 8, style, 1.0, is_phonemes=True, trim=False) for letter in letters]
    assert len({len(samples) for samples, _ in spoken}) > 1
