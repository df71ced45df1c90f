"""What every speaker keeps to: real Kokoro, real Piper, a tiny SpeechT5, the example engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soxr

from speech_server.domain import RATE, Samples
from speech_server.engines.interfaces import SpeakOptions
from speech_server.engines.kokoro import engine as kokoro
from speech_server.engines.kokoro import phonemes
from speech_server.engines.piper import engine as piper
from speech_server.engines.speecht5 import engine as speecht5
from speech_server.errors import InvalidRequest
from speech_server.text.sentences import SENTENCE_PAUSE
from tests.conftest import KOKORO, PIPER
from tests.speech_server.conftest import model_folder
from tests.speech_server.engines.contracts.subjects import Make, Subject, all_of, linked
from tests.speech_server.engines.examples import speaker as example
from tests.speech_server.engines.kokoro import tiny as tiny_kokoro
from tests.speech_server.engines.speecht5.tiny import said, write_model
from tests.speech_server.transcribing import hear, text_of, words_of

if TYPE_CHECKING:
    from speech_server.engines.whisper.engine import WhisperTranscriber

pytestmark = pytest.mark.anyio

SENTENCES = (
    "The quick brown fox jumps over the lazy dog in the garden.",
    "My sister plays the piano in the evening.",
    "The train leaves at noon on Monday.",
    "Rain falls on the roof of the house.",
)
TEXT = " ".join(SENTENCES)
PLAIN = 0.125  # the first number of the tiny model's vector


@dataclass
class SpeakerSubject(Subject):
    """`voice` reads English. `read`: what the samples of a piece say, where it is not for ears; `spell`: how it would
    tell a text."""

    voice: str = ""
    read: Callable[[Samples], str] | None = None
    spell: Callable[[str], str] = str
    stretched: bool = False  # at every speed, so that lengths are exactly as asked

    def ask(self, engine: Any) -> AsyncGenerator[Samples, None]:
        return engine.speak(TEXT * 4, SpeakOptions(self.voice))


def _kokoro(folder: Path) -> Subject:
    files = ("model.onnx", "voices.bin")
    return SpeakerSubject("kokoro", kokoro.load, model_folder(KOKORO), files, "af_heart")


def _kokoro_zh(folder: Path) -> Subject:
    tiny_kokoro.write_model(folder)

    def spell(text: str) -> str:
        return phonemes.for_kokoro(text, "en-us", tiny_kokoro.VOCABULARY)

    return SpeakerSubject(
        "kokoro", kokoro.load, folder, tiny_kokoro.FILES, "af_maple", tiny_kokoro.said, spell, stretched=True
    )


def _piper(folder: Path) -> Subject:
    """Without its chance, which would make each reading another."""
    config = json.loads((model_folder(PIPER) / "config.json").read_text())
    config["inference"] |= {"noise_scale": 0.0, "noise_w": 0.0}
    linked(folder, model_folder(PIPER), **{"config.json": json.dumps(config).encode()})
    return SpeakerSubject("piper", piper.load, folder, ("model.onnx", "config.json"), "joe")


def _speecht5(folder: Path) -> Subject:
    write_model(folder, voices={"slt": PLAIN, "awb": 0.25})
    networks = ("encoder_model", "decoder_model_merged", "decoder_postnet_and_vocoder")
    files = (*(f"onnx/{name}.onnx" for name in networks), "tokenizer.json")
    return SpeakerSubject("speecht5", speecht5.load, folder, files, "slt", partial(said, voice=PLAIN), stretched=True)


def _example(folder: Path) -> Subject:
    def read(sound: Samples) -> str:
        levels = np.trim_zeros(sound, "b")[example.STEP // 2 :: example.STEP]
        return "".join(chr(round(float(level) * example.LOUDEST)) for level in levels)

    return SpeakerSubject("example", example.load, folder, (), "plain", read, stretched=True)


CASES: dict[str, Make] = {
    "kokoro": _kokoro,
    "kokoro-v1.1-zh": _kokoro_zh,
    "piper": _piper,
    "speecht5": _speecht5,
    "example": _example,
}


async def spoken(subject: SpeakerSubject, text: str, **options: Any) -> list[Samples]:
    async with aclosing(subject.engine.speak(text, SpeakOptions(**{"voice": subject.voice, **options}))) as pieces:
        return await all_of(pieces)


@pytest.fixture
def understand(
    subject: SpeakerSubject, transcriber: WhisperTranscriber
) -> Callable[[Sequence[Samples]], Awaitable[str]]:
    """The words of what was said, piece after piece."""

    async def listen(pieces: Sequence[Samples]) -> str:
        if subject.read is not None:
            return words_of(" ".join(map(subject.read, pieces)))
        sound = soxr.resample(np.concatenate(pieces), subject.engine.sample_rate, RATE).astype(np.float32)
        (transcript,) = await hear(transcriber, sound)
        return words_of(text_of(transcript.segments))

    return listen


async def test_every_voice_it_lists_may_be_asked_for(subject: SpeakerSubject):
    assert subject.voice in subject.engine.voices
    assert 8_000 <= subject.engine.sample_rate <= 48_000
    for name, voice in subject.engine.voices.items():
        assert (voice.id, voice.language) == (name, voice.language.lower())
        subject.engine.check(SpeakOptions(name))
        subject.engine.check(SpeakOptions(name, language=voice.language))


async def test_a_piece_is_sound_that_players_take(subject: SpeakerSubject):
    for piece in await spoken(subject, TEXT):
        assert (piece.dtype, piece.ndim) == (np.float32, 1)
        assert np.isfinite(piece).all()
        assert 0.01 < np.abs(piece).max() <= 1


@pytest.mark.parametrize("early", [True, False])
async def test_all_is_said_and_in_its_order(
    subject: SpeakerSubject, understand: Callable[[Sequence[Samples]], Awaitable[str]], early: bool
):
    pieces = await spoken(subject, TEXT, early=early)
    assert len(pieces) == len(SENTENCES) + early
    assert await understand(pieces) == words_of(" ".join(map(subject.spell, SENTENCES)))


async def test_pieces_join_without_clicks_and_with_pauses(subject: SpeakerSubject):
    pause = int((SENTENCE_PAUSE - 0.01) * subject.engine.sample_rate)
    first, *rest = await spoken(subject, TEXT)
    assert abs(first[0]) < 1e-3
    for piece in rest:
        assert abs(piece[0]) < 1e-3
        assert not piece[-pause:].any()
        assert piece[: -2 * pause].any()


async def test_the_first_piece_comes_while_the_others_are_to_be_spoken(subject: SpeakerSubject):
    async with aclosing(subject.ask(subject.engine)) as pieces:
        first = await anext(pieces)
        assert subject.engine.batcher.lanes == 1
        second = await anext(pieces)
    assert len(first) < len(second)


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
async def test_a_speed_changes_the_length_of_every_piece(subject: SpeakerSubject, speed: float):
    """Also of the pauses; what a model speaks faster by itself gets no shorter than it can."""
    plain, changed = [await spoken(subject, " ".join(SENTENCES[:2]), speed=speed) for speed in (1.0, speed)]
    assert len(plain) == len(changed)
    exact = subject.stretched or speed in (0.25, 4.0)
    for before, after in zip(plain, changed, strict=True):
        assert len(before) / len(after) == pytest.approx(speed, rel=0.01 if exact else 0.35)
        assert np.abs(after).max() <= 1


async def test_it_is_said_alike_alone_and_in_company(subject: SpeakerSubject):
    """Requests at once, each its own text and voice: the very samples that it gets alone."""
    voices = (subject.voice, next(reversed(subject.engine.voices)))
    asked = [(text, voice) for text in SENTENCES for voice in voices]
    alone = [np.concatenate(await spoken(subject, text, voice=voice)) for text, voice in asked]
    together = await asyncio.gather(*(spoken(subject, text, voice=voice) for text, voice in asked))
    for expected, pieces in zip(alone, together, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), expected)
    assert not any(np.array_equal(one, other) for one, other in pairwise(alone[::2]))
    assert (subject.engine.batcher.lanes, subject.engine.batcher.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"voice": "nobody"}, "voice"),
        ({"voice": ""}, "voice"),
        ({"voice": "x" * 100_000}, "voice"),
        ({"language": "klingon"}, "language"),
        ({"speed": 0.24}, "speed"),
        ({"speed": 4.01}, "speed"),
        ({"speed": float("nan")}, "speed"),
    ],
    ids=str,
)
async def test_what_it_cannot_do_is_refused_at_once(subject: SpeakerSubject, asked: dict[str, Any], param: str):
    options = SpeakOptions(**{"voice": subject.voice, **asked})
    for call in (lambda: subject.engine.check(options), lambda: subject.engine.speak("Hello", options)):
        with pytest.raises(InvalidRequest) as refused:
            call()
        assert refused.value.param == param
        assert len(refused.value.message) < 5_000


@pytest.mark.parametrize("text", ["", " \n\n ", "...", "😀", "\u202e\u200b", "<!-- hidden -->"], ids=ascii)
async def test_nothing_to_say_is_refused_on_the_first_step(subject: SpeakerSubject, text: str):
    with pytest.raises(InvalidRequest):
        await anext(subject.engine.speak(text, SpeakOptions(subject.voice)))
    assert subject.engine.batcher.lanes == 0


@pytest.mark.parametrize(
    "text",
    ["a", "I " * 200, "x" * 700, "1" * 300, "a\x00b \ud800 c", "word\n" * 100, "Hello, 世界 и مرحبا!", "?!.,;: yes"],
    ids=lambda text: ascii(text[:12]),
)
async def test_whatever_has_letters_is_said_and_no_error(subject: SpeakerSubject, text: str):
    sound = np.concatenate(await spoken(subject, text))
    assert 0.01 < np.abs(sound).max() <= 1
