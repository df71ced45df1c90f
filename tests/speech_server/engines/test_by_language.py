"""Two real transcribers hear as one: what the quick one does not know goes to the one that told it apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.engines.by_language import ByLanguage
from speech_server.engines.interfaces import EngineArgs, TranscribeOptions
from speech_server.engines.parakeet import engine as parakeet
from speech_server.engines.whisper.engine import WhisperTranscriber
from tests.speech_server.conftest import ENGLISH, SPANISH
from tests.speech_server.engines.parakeet_maker import FEW, make_parakeet, tones
from tests.speech_server.transcribing import hear, text_of

pytestmark = pytest.mark.anyio

CLIP = np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
FOREIGN = np.concatenate(list(decode.stream(SPANISH, decode.Limits(60))))


@pytest.fixture
def both(tmp_path: Path, transcriber: WhisperTranscriber):
    """A Parakeet that knows English, and hears nothing in it but tones; and Whisper."""
    quick = parakeet.load(make_parakeet(tmp_path, FEW), EngineArgs(workers=1))
    yield ByLanguage(quick, transcriber)
    quick.close()


async def test_the_first_chunk_s_language_decides_who_hears_them_all(both: ByLanguage, transcriber: WhisperTranscriber):
    english = await hear(both, CLIP, tones(500, 1500))
    assert [text_of(transcript.segments) for transcript in english][1] == "alpha beta."
    assert {transcript.language for transcript in english} == {"en"}
    assert 0.8 < english[0].language_probability < 1
    spanish = await hear(both, FOREIGN, FOREIGN)
    assert ["capital de españa" in text_of(transcript.segments).lower() for transcript in spanish] == [True, True]
    assert {transcript.language for transcript in spanish} == {"es"}
    assert transcriber.batcher.lanes == 0


async def test_together_they_know_what_either_knows(both: ByLanguage, transcriber: WhisperTranscriber):
    assert both.languages == transcriber.languages
    assert await hear(both) == []


async def test_the_language_is_told_without_a_word_being_decoded(transcriber: WhisperTranscriber):
    (chunk,) = [chunk async for chunk in _one(FOREIGN)]
    language, probability = await transcriber.tell_language(chunk)
    (heard,) = await hear(transcriber, FOREIGN, options=TranscribeOptions(beam_size=1))
    assert (language, probability) == (heard.language, heard.language_probability)
    assert transcriber.batcher.lanes == 0


async def _one(samples):
    yield parakeet.SpeechChunk(samples, 0.0)
