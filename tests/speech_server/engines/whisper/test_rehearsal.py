"""Every shape of a request's work is tried where the model was loaded, and what fails there fails then."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.whisper import engine as whisper
from speech_server.engines.whisper.engine import WhisperTranscriber
from speech_server.engines.workspace import Need, Workspace
from speech_server.errors import GpuUnavailable
from tests.conftest import WHISPER
from tests.speech_server.conftest import model_folder


class Card:
    """A real model that counts what it is given, and says it is on a GPU; from `fails` works together it fails."""

    device = "cuda"

    def __init__(self, model: Any, fails: int, words: str) -> None:
        self._model, self._fails, self._words = model, fails, words
        self.batches: list[int] = []

    def generate(self, encoded: Any, prompts: list[Any], **options: Any) -> Any:
        self.batches.append(len(prompts))
        if len(prompts) >= self._fails:
            raise RuntimeError(self._words)
        return self._model.generate(encoded, prompts, **{**options, "max_length": 8})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@pytest.fixture(scope="module")
def on_cpu() -> Iterator[WhisperTranscriber]:
    transcriber = whisper.load(model_folder(WHISPER), EngineArgs("cpu", workers=1))
    yield transcriber
    transcriber.close()


@pytest.fixture
def loaded(on_cpu: WhisperTranscriber, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Called with what its card fails at."""

    def load(fails: int = 1000, words: str = "", **extra: int | bool) -> tuple[WhisperTranscriber, Card]:
        library = on_cpu._library
        card = Card(library.model, fails, words)
        monkeypatch.setattr(library, "model", card)
        args = EngineArgs(extra=extra)
        workspace = Workspace(Need(1, 1), [], workers=1, most=3, given=3)
        transcriber = WhisperTranscriber(library, workers=1, weights=0, workspace=workspace, args=args)
        return transcriber, card

    return load


def test_each_window_alone_in_each_replica_and_in_the_largest_batch(loaded: Any):
    transcriber, card = loaded()
    steps = list(transcriber.rehearse())
    assert [step for step in steps if "alone" in step] == [f"a window of {seconds} s alone" for seconds in (15, 20, 30)]
    assert card.batches == [1, 1, 3] * 3  # a worker's replica, and the newcomers'
    transcriber.batcher.close()


def test_one_window_where_short_ones_are_off(loaded: Any):
    transcriber, card = loaded(short_windows=False)
    assert len(list(transcriber.rehearse())) == 2
    assert card.batches == [1, 1, 3]
    transcriber.batcher.close()


def test_a_library_that_is_missing_is_found_now(loaded: Any):
    transcriber, _ = loaded(1, "Library libcublas.so.12 is not found or cannot be loaded")
    with pytest.raises(GpuUnavailable, match=r"libcublas\.so\.12 is not found.*WHISPER__INFERENCE_DEVICE=cpu"):
        list(transcriber.rehearse())
    transcriber.batcher.close()


def test_a_batch_too_large_for_the_card_is_told_of_and_split_later(loaded: Any, caplog: pytest.LogCaptureFixture):
    transcriber, card = loaded(3, "CUDA failed with error out of memory")
    with caplog.at_level(logging.WARNING):
        list(transcriber.rehearse())
    assert "3 windows of 30 s cannot be decoded together here: CUDA failed with error out of memory" in caplog.text
    assert card.batches == [1, 1, 3, 1] * 3  # the card still does the smaller one
    transcriber.batcher.close()


def test_on_a_cpu_nothing_is_tried(on_cpu: WhisperTranscriber):
    assert list(on_cpu.rehearse()) == []


def test_where_it_runs_is_the_librarys_word(on_cpu: WhisperTranscriber):
    placement = on_cpu.placement
    assert (placement.device, placement.workers, placement.threads, placement.gpus) == ("cpu", 1, 1, ())
    assert placement.numbers.startswith("int8")
