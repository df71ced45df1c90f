from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr

from speech_server.domain import RATE, Samples
from speech_server.engines.interfaces import EngineArgs, Speaker, SpeakOptions
from speech_server.engines.kokoro import engine, phonemes
from speech_server.engines.kokoro.voices import describe
from speech_server.errors import InvalidRequest, ThreadsExhausted
from tests.conftest import KOKORO
from tests.speech_server.conftest import model_folder
from tests.speech_server.transcribing import hear, text_of, words_of

if TYPE_CHECKING:
    from speech_server.engines.kokoro.engine import KokoroSpeaker
    from speech_server.engines.whisper.engine import WhisperTranscriber

pytestmark = pytest.mark.anyio

ENGLISH = "The quick brown fox jumps over the lazy dog. She walked slowly along the river, and the sun went down."
HEART = SpeakOptions("af_heart")


async def pieces_of(speaker: Speaker, text: str, options: SpeakOptions) -> list[Samples]:
    async with aclosing(speaker.speak(text, options)) as pieces:
        return [piece async for piece in pieces]


async def heard(transcriber: WhisperTranscriber, speaker: Speaker, text: str, options: SpeakOptions) -> str:
    spoken = np.concatenate(await pieces_of(speaker, text, options))
    (transcript,) = await hear(transcriber, soxr.resample(spoken, speaker.sample_rate, RATE).astype(np.float32))
    return words_of(text_of(transcript.segments))


def loudness(samples: Samples) -> float:
    """dB of the parts that are not silent."""
    frames = samples[: len(samples) // 240 * 240].reshape(-1, 240)
    energy = np.square(frames).mean(axis=1)
    return float(10 * np.log10(energy[energy > energy.max() * 0.01].mean()))


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("ef_dora", "Madrid es la capital de España."),
        ("ff_siwis", "Le train arrive demain matin."),
        ("if_sara", "Il treno parte domani mattina."),
        ("pf_dora", "O tempo está bom hoje."),
        ("bm_george", "The weather is lovely this morning."),
    ],
)
async def test_each_voice_reads_its_own_language(
    kokoro: KokoroSpeaker, transcriber: WhisperTranscriber, voice: str, text: str
):
    assert await heard(transcriber, kokoro, text, SpeakOptions(voice)) == words_of(text)


async def test_signs_are_read(kokoro: KokoroSpeaker, transcriber: WhisperTranscriber):
    said = await heard(transcriber, kokoro, "In 1984, **Dr. Smith** paid $5.50 for 20% of it 😀.", HEART)
    assert said in ("in 1984 dr smith paid 5 50 for 20 of it", "in 1984 doctor smith paid 5 50 for 20 of it")


async def test_there_are_54_voices_in_nine_languages(kokoro: KokoroSpeaker):
    voices = [describe(name) for name in kokoro._styles.files]
    assert len({voice.id for voice in voices}) == 54
    assert len({voice.language for voice in voices}) == 9
    # Listed are those whose language can be read here.
    assert set(kokoro.voices.values()) == {voice for voice in voices if not phonemes.missing(voice.language)}
    assert len(kokoro.voices) >= 41


async def test_a_voice_that_is_not_listed_reads_another_language(kokoro: KokoroSpeaker):
    kokoro.check(SpeakOptions("zf_xiaoxiao", language="en"))


async def test_pieces_start_short_and_join_without_clicks_at_equal_loudness(kokoro: KokoroSpeaker):
    text = "The harbour was quiet that morning, and the fog had not yet lifted. The sun went down behind the hills."
    pieces = await pieces_of(kokoro, text, HEART)
    assert len(pieces) == 3
    assert 0.8 < len(pieces[0]) / 24_000 < 2
    levels = [loudness(piece) for piece in pieces]
    assert max(levels) - min(levels) < 3
    for piece in pieces:
        assert abs(piece[0]) < 1e-3
    for piece in pieces[1:]:  # the ends of the two sentences
        assert not piece[-int(0.24 * 24_000) :].any()


async def test_stretched_speech_is_understood(kokoro: KokoroSpeaker, transcriber: WhisperTranscriber):
    assert await heard(transcriber, kokoro, ENGLISH, SpeakOptions("af_heart", 0.4)) == words_of(ENGLISH)


async def test_a_blend_is_neither_of_its_voices(kokoro: KokoroSpeaker):
    text = "Good morning to all of you."
    blend, heart, adam = [
        np.concatenate(await pieces_of(kokoro, text, SpeakOptions(voice)))
        for voice in ("af_heart(2)+am_adam(1)", "af_heart", "am_adam")
    ]
    assert len(blend) not in (len(heart), len(adam))


@pytest.mark.parametrize(("voice", "text"), [("zf_xiaoxiao", "今天天气很好。"), ("jf_alpha", "今日はいい天気です。")])
async def test_mandarin_and_japanese_speak_or_say_what_to_install(kokoro: KokoroSpeaker, voice: str, text: str):
    if importlib.util.find_spec("misaki"):
        assert await pieces_of(kokoro, text, SpeakOptions(voice))
    else:
        with pytest.raises(InvalidRequest, match=r"requirements/cjk\.in"):
            kokoro.speak(text, SpeakOptions(voice))


async def test_an_engine_whose_second_session_cannot_start_does_not_open_and_leaves_no_thread(
    refuse_threads: Callable[[str, int], None],
):
    before = set(threading.enumerate())
    refuse_threads("kokoro-wide", 0)
    with pytest.raises(ThreadsExhausted):
        engine.load(model_folder(KOKORO), EngineArgs(threads=2))
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("kokoro")]
