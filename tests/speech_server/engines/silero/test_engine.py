"""The voice detector gives the library's probabilities, whatever the blocks it is fed in."""

from __future__ import annotations

import numpy as np
from faster_whisper.vad import get_vad_model

from speech_server.audio import decode
from speech_server.domain import FRAME
from speech_server.engines.silero.engine import Detector
from tests.speech_server.conftest import ENGLISH

CLIP = np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
CLIP = CLIP[: len(CLIP) // FRAME * FRAME]


def test_probabilities_are_the_library_s(detector: Detector):
    ended = np.concatenate((CLIP, np.zeros(FRAME, np.float32)))  # the library damages its input's last samples
    np.testing.assert_allclose(detector.stream().feed(ended), get_vad_model()(ended).reshape(-1), atol=1e-5)
