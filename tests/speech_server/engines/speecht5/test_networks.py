"""The decoder's loop: ended by the decoder, bounded by the text's length, broken off when its caller has gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from speech_server.engines.onnx import Stop, StoppableSession, open_session
from speech_server.engines.speecht5 import networks as speecht5
from speech_server.engines.speecht5.files import VARIANTS
from speech_server.engines.speecht5.networks import Networks
from tests.speech_server.engines.speecht5.tiny import HOP, said, write_model

VOICE = np.full((1, 512), 0.25, np.float32)
TOKENS = [4, 35, 5, 15, 15, 8, 2]  # ▁Hello and the end


def networks(folder: Path, watched: type[StoppableSession] = StoppableSession) -> Networks:
    encoder, decoder, vocoder = (open_session(folder / name, 1) for name in VARIANTS[0])
    return Networks(StoppableSession(encoder), watched(decoder), StoppableSession(vocoder))


def test_it_ends_where_the_decoder_is_sure(tmp_path: Path):
    assert said(networks(write_model(tmp_path)).speak(TOKENS, VOICE)) == "Hello|"


def test_an_end_that_never_comes_is_where_no_text_lasts_longer(tmp_path: Path):
    sound = networks(write_model(tmp_path, endless=True)).speak(TOKENS, VOICE)
    assert len(sound) == 10 * len(TOKENS) * 2 * HOP


def test_nothing_takes_more_steps_than_the_decoder_has_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speecht5, "_MOST_STEPS", 12)
    sound = networks(write_model(tmp_path, endless=True)).speak(TOKENS, VOICE)
    assert len(sound) == 12 * 2 * HOP


def test_who_stops_it_waits_for_one_step_at_most(tmp_path: Path):
    stop, runs = Stop(), 0

    class Watched(StoppableSession):
        def run(self, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
            nonlocal runs
            runs += 1
            results = super().run(outputs, inputs)
            if runs == 3:
                stop.set()
            return results

    endless = networks(write_model(tmp_path, endless=True), Watched)
    with stop, pytest.raises(Fail, match="terminate"):
        endless.speak(TOKENS, VOICE)
    assert runs == 4
