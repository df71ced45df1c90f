"""A conversation whose truth is known, and small ways to ask about voices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np

from speech_server.domain import Embeddings, Samples, SpeakerTurn
from speech_server.engines.interfaces import VoiceEncoder
from tests.conftest import ROOT

CONVERSATION = ROOT / "examples/clips/conversation.opus"
TRUTH = (
    SpeakerTurn(0.93, 4.73, "A"),
    SpeakerTurn(4.88, 9.36, "B"),
    SpeakerTurn(9.53, 14.44, "C"),
    SpeakerTurn(14.84, 16.30, "A"),
    SpeakerTurn(16.79, 18.36, "C"),
    SpeakerTurn(18.96, 20.86, "B"),
    SpeakerTurn(21.39, 22.41, "A"),
)
SAID = (
    "the new version is faster but it uses more memory than i would like",
    "i would rather wait until the rain has stopped and then walk home along the river",
    "my grandmother used to bake bread every sunday and the whole street could smell it",
    "could you say that again please",
    "okay let us go on",
    "what did the doctor say about your knee",
    "no not really",
)


async def samples_of(*sounds: Samples) -> AsyncIterator[Sequence[Samples]]:
    for sound in sounds:
        yield [sound]


async def voices_of(encoder: VoiceEncoder, sounds: Sequence[Samples]) -> Embeddings:
    """One for each sound."""
    return np.concatenate([part async for part in encoder.embed(samples_of(*sounds))])
