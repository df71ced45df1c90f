"""Real engines and real speech for the tests below: each made once per test process, when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr

from speech_server.domain import RATE, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.models.library.catalog import SILERO, Catalog
from speech_server.models.library.store import Store
from speech_server.settings import Settings
from tests.conftest import ENCODER, KOKORO, PIPER, ROOT, WHISPER
from tests.speech_server.stand_in_driver import StandInDriver, install

if TYPE_CHECKING:
    from speech_server.engines.kokoro.engine import KokoroSpeaker
    from speech_server.engines.piper.engine import PiperSpeaker
    from speech_server.engines.silero.engine import Detector
    from speech_server.engines.wespeaker.engine import WeSpeaker
    from speech_server.engines.whisper.engine import WhisperTranscriber

ENGLISH = ROOT / "examples/clips/english.opus"
SPANISH = ROOT / "examples/clips/spanish.opus"
ENGLISH_WORDS = "the quick brown fox jumps over the lazy dog speech on demand paid by the second"

Say = Callable[[str], Samples]


@cache
def model_folder(model_id: str) -> Path:
    settings = Settings()
    folder = Store(settings, Catalog(settings)).folder(model_id)
    if folder is None:
        pytest.fail(f"{model_id} is not installed: run `make models`")
    return folder


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> StandInDriver:
    """A GPU for this test, behind a driver that is not there."""
    return install(monkeypatch, StandInDriver())


@pytest.fixture(scope="session")
def transcriber() -> Iterator[WhisperTranscriber]:
    from speech_server.engines.whisper import engine as whisper

    engine = whisper.load(model_folder(WHISPER), EngineArgs())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def detector() -> Iterator[Detector]:
    from speech_server.engines.silero import engine as silero

    engine = silero.load(model_folder(SILERO), EngineArgs())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def encoder() -> Iterator[WeSpeaker]:
    from speech_server.engines.wespeaker import engine as wespeaker

    engine = wespeaker.load(model_folder(ENCODER), EngineArgs())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def kokoro() -> Iterator[KokoroSpeaker]:
    from speech_server.engines.kokoro import engine as kokoro

    engine = kokoro.load(model_folder(KOKORO), EngineArgs())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def piper() -> Iterator[PiperSpeaker]:
    from speech_server.engines.piper import engine as piper

    engine = piper.load(model_folder(PIPER), EngineArgs())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def say() -> Say:
    """Text -> speech at 16 kHz, by the Piper library itself."""
    from piper import PiperVoice, SynthesisConfig

    folder = model_folder(PIPER)
    voice = PiperVoice.load(folder / "model.onnx", folder / "config.json")
    steady = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)  # the same words sound the same every time

    @cache
    def speak(text: str) -> Samples:
        spoken = np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, steady)])
        return soxr.resample(spoken, voice.config.sample_rate, RATE).astype(np.float32)

    return speak


@pytest.fixture
def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """From now on only so many more threads whose names begin so can start."""
    start = threading.Thread.start

    def refuse(name: str, allowed: int) -> None:
        def limited(thread: threading.Thread) -> None:
            nonlocal allowed
            if thread.name.startswith(name):
                if not allowed:
                    raise RuntimeError("can't start new thread")
                allowed -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)

    return refuse
