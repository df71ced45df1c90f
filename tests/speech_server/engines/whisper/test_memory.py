"""What Whisper takes, by its formula; and what becomes of transcriptions when there is less."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from speech_server.domain import ChunkTranscript, SpeechChunk
from speech_server.engines.interfaces import EngineArgs, TranscribeOptions
from speech_server.engines.whisper import engine as whisper
from speech_server.engines.whisper.engine import WhisperTranscriber
from speech_server.engines.whisper.job import Attempt, Job, Request, is_worth_another
from speech_server.engines.whisper.memory import LARGEST, Dimensions, keys_and_values, need, read_dimensions
from speech_server.errors import DeviceFailed, OutOfMemory
from tests.conftest import ROOT, WHISPER
from tests.speech_server.conftest import ENGLISH_WORDS, model_folder
from tests.speech_server.engines.whisper.test_engine import CLIP
from tests.speech_server.transcribing import hear, text_of, words_of

pytestmark = pytest.mark.anyio

BASE = Dimensions(width=512, layers=6, words=51_865)
TURBO = Dimensions(width=1280, layers=4, words=51_866)
MB = 1_000_000
KNOWN = TranscribeOptions(language="en", temperatures=(0.0,))


# --- the formula ---


def test_dimensions_are_read_from_the_weights():
    assert read_dimensions(model_folder(WHISPER) / "model.bin") == BASE


def test_weights_nobody_here_can_read_count_as_the_largest(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"\x05\0\0\0 of an older format")
    assert read_dimensions(tmp_path / "model.bin") == LARGEST


def test_keys_and_values_of_the_sound_are_those_that_others_report():
    """246 MB a window for large-v3 in float16."""
    assert keys_and_values(32, 1280, 1500, 2) == 245_760_000


@pytest.mark.parametrize(("beams", "least", "most"), [(1, 55, 57), (5, 99, 107)])
def test_the_formula_is_what_a_cpu_was_seen_to_take(beams: int, least: float, most: float):
    """Resident memory grown in batches of 1, 2, 4 and 8 windows of 224 tokens, for each window."""
    assert least * 0.95 < need(BASE, beams, "int8_float32").work / MB < most * 1.05


@pytest.mark.parametrize(("model", "tokens", "published"), [(LARGEST, 110, 340), (TURBO, 94, 50)])
def test_the_formula_is_near_what_is_known_of_gpus(model: Dimensions, tokens: int, published: float):
    """At beam 5 in float16; above, for the text's keys and values are counted twice."""
    assert published < need(model, 5, "float16", tokens).work / MB < 1.35 * published


@pytest.mark.parametrize(
    ("compute_type", "size"),
    [("float32", 4), ("int8_float32", 4), ("float16", 2), ("int8_float16", 2), ("bfloat16", 2), ("int8_bfloat16", 2)],
)
def test_numbers_are_as_wide_as_the_compute_type_says(compute_type: str, size: int):
    assert need(BASE, 5, compute_type).work * 4 == need(BASE, 5, "float32").work * size


def test_cards_of_usual_sizes_get_batches_that_fit():
    """Two workers; free after the weights, of which three quarters may be taken."""
    large, turbo = need(LARGEST, 5, "float16"), need(TURBO, 5, "float16")
    gigabytes = {16: 12, 24: 20, 80: 75}
    assert {card: large.batch(free * 750 * MB, 2, 32) for card, free in gigabytes.items()} == {16: 6, 24: 10, 80: 32}
    assert {card: turbo.batch(free * 750 * MB, 2, 32) for card, free in gigabytes.items()} == {16: 32, 24: 32, 80: 32}


# --- less than that ---


class Narrow:
    """CTranslate2's model, but for batches: more windows than `fits` at once raise what it raises on a full card, and
    so does each call while `error` is set."""

    def __init__(self, model: Any, fits: int) -> None:
        self._model = model
        self.fits = fits
        self.error = ""
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, views: Any, prompts: list[list[int]], **how: Any) -> Any:
        self.sizes.append(len(prompts))
        if self.error:
            raise RuntimeError(self.error)
        if len(prompts) > self.fits:
            raise RuntimeError("CUDA failed with error out of memory")
        return self._model.generate(views, prompts, **how)


@pytest.fixture
async def engine() -> AsyncIterator[WhisperTranscriber]:
    loaded = whisper.load(model_folder(WHISPER), EngineArgs(workers=1))
    yield loaded
    await asyncio.to_thread(loaded.close)


def narrow(engine: WhisperTranscriber, fits: int) -> Narrow:
    engine._decoder.model = Narrow(engine._decoder.model, fits)
    return engine._decoder.model


async def all_hear(engine: WhisperTranscriber, requests: int) -> list[list[ChunkTranscript] | BaseException]:
    return await asyncio.gather(*(hear(engine, CLIP, options=KNOWN) for _ in range(requests)), return_exceptions=True)


def are_right(heard: list[list[ChunkTranscript] | BaseException]) -> bool:
    return all(isinstance(one, list) and words_of(text_of(one[0].segments)) == ENGLISH_WORDS for one in heard)


async def test_a_full_card_costs_nobody_a_transcription(engine: WhisperTranscriber):
    model = narrow(engine, 2)
    assert are_right(await all_hear(engine, 6))
    assert max(model.sizes) > 2, "no batch was too large"
    model.sizes.clear()
    assert are_right(await all_hear(engine, 6))
    assert max(model.sizes) <= 2, "what was too large was tried again at once"


async def test_a_window_that_finds_no_memory_alone_fails_with_advice(engine: WhisperTranscriber):
    model = narrow(engine, 0)
    for error in await all_hear(engine, 3):
        assert isinstance(error, OutOfMemory)
        assert "WHISPER__COMPUTE_TYPE" in error.message
    model.fits = 8
    assert are_right(await all_hear(engine, 2))


async def test_a_lost_gpu_fails_all_there_is_with_the_reason(engine: WhisperTranscriber):
    model = narrow(engine, 8)
    model.error = "CUDA failed with error an illegal memory access was encountered"
    for error in await all_hear(engine, 4):
        assert isinstance(error, DeviceFailed)
        assert "illegal memory access" in error.message
    assert len(model.sizes) == 1, "a lost GPU was used again"
    assert engine.batcher.fault


def test_words_heard_again_after_no_memory_are_not_taken_for_a_refrain():
    """What is heard at two temperatures was said; what is heard twice at one was not."""
    job = Job.of(Request(KNOWN, True, 4), SpeechChunk(CLIP, 0.0), True)
    attempts = [Attempt([], "go go go go", at, -0.1, 9.0, 0.0) for at in (0.0, 0.0, 0.2)]
    job.add(attempts[0])
    job.add(attempts[1])
    assert is_worth_another(job.attempts)
    job.add(attempts[2])
    assert not is_worth_another(job.attempts)


def test_memory_that_really_runs_out_costs_nobody_a_transcription():
    """The real library, under a real limit of a process of its own."""
    child = [sys.executable, "-m", "tests.speech_server.engines.whisper.short_of_memory"]
    ended = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "at once, now" in ended.stderr, "memory did not run out"
    assert ended.stdout.split("\n")[:8] == [ENGLISH_WORDS] * 8
