"""SpeechT5 on networks of the published shapes: what it was given to say can be read in its sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from speech_server.domain import Samples
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro.voices import OPENAI_VOICES
from speech_server.engines.speecht5 import engine
from speech_server.engines.speecht5.engine import SpeechT5Speaker
from speech_server.errors import InvalidRequest, ModelBroken
from tests.speech_server.engines.speecht5.tiny import said, write_model, write_vector

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechT5Speaker]:
    folder = write_model(tmp_path_factory.mktemp("speecht5"), voices={"slt": 0.25, "awb": 0.5, "anna": 0.125})
    loaded = engine.load(folder, EngineArgs())
    yield loaded
    loaded.close()


async def spoken(speaker: SpeechT5Speaker, text: str, options: SpeakOptions) -> list[Samples]:
    async with aclosing(speaker.speak(text, options)) as pieces:
        return [piece async for piece in pieces]


async def test_every_character_is_spoken_in_order_to_the_end(speaker: SpeechT5Speaker):
    pieces = await spoken(speaker, "The quick brown fox jumped over the lazy dog", SpeakOptions("slt", early=False))
    assert [said(piece) for piece in pieces] == ["The quick brown fox jumped over the lazy dog|"]


async def test_a_voice_is_its_speakers_vector(speaker: SpeechT5Speaker):
    for voice, first in (("slt", 0.25), ("awb", 0.5), ("anna", 0.125)):
        (piece,) = await spoken(speaker, "Good morning, everybody.", SpeakOptions(voice, early=False))
        assert said(piece, first) == "Good morning, everybody.|"


async def test_the_known_speakers_come_first(speaker: SpeechT5Speaker):
    assert [(voice.id, voice.gender) for voice in speaker.voices.values()] == [
        ("slt", "female"),
        ("awb", "male"),
        ("anna", None),
    ]


@pytest.mark.parametrize("voice", ["default", *OPENAI_VOICES])
async def test_openais_names_mean_the_first_voice(speaker: SpeechT5Speaker, voice: str):
    (piece,) = await spoken(speaker, "Good morning, everybody.", SpeakOptions(voice, early=False))
    assert said(piece, 0.25) == "Good morning, everybody.|"


async def test_numbers_are_words(speaker: SpeechT5Speaker):
    (piece,) = await spoken(speaker, "It costs $21.50 on the 3rd floor.", SpeakOptions("slt", early=False))
    expected = "It costs twenty-one dollars and fifty cents on the third floor.|"
    assert said(piece) == expected


async def test_spanish_is_read_as_the_model_learned_it(tmp_path: Path):
    args = EngineArgs(extra={"language": "es"})
    spanish = engine.load(write_model(tmp_path), args)
    try:
        pieces = await spoken(
            spanish, "¿Qué es OpenVino? Vuelve mañana a las 8 sin falta.", SpeakOptions("slt", early=False)
        )
        assert [said(piece) for piece in pieces] == [
            "Qué es OpenVino?|",
            "Vuelve manana a las ocho sin falta.|",
        ]
        assert {voice.language for voice in spanish.voices.values()} == {"es"}
        with pytest.raises(InvalidRequest, match="language 'en' is not this voice's: it speaks es"):
            spanish.check(SpeakOptions("slt", language="en"))
    finally:
        spanish.close()


async def test_what_becomes_longer_than_the_model_hears_is_spoken_in_parts(speaker: SpeechT5Speaker):
    text = "7 " * 140 + "is many."
    (piece,) = await spoken(speaker, text, SpeakOptions("slt", early=False))
    parts = said(piece).split("|")[:-1]
    assert len(parts) == 2
    assert " ".join(part.strip() for part in parts) == "seven " * 140 + "is many."


async def test_characters_it_does_not_have_are_nothing_to_say(speaker: SpeechT5Speaker):
    with pytest.raises(InvalidRequest, match="nothing that this voice can say"):
        await spoken(speaker, "こんにちは", SpeakOptions("slt"))


@pytest.mark.parametrize(("place", "precision"), [("onnx/", ""), ("", ""), ("onnx/", "_quantized"), ("", "_quantized")])
async def test_each_layout_of_the_files_speaks(tmp_path: Path, place: str, precision: str):
    loaded = engine.load(write_model(tmp_path, place=place, precision=precision), EngineArgs())
    try:
        (piece,) = await spoken(loaded, "Good morning, everybody.", SpeakOptions("slt", early=False))
        assert said(piece) == "Good morning, everybody.|"
        assert loaded.memory_bytes == sum(file.stat().st_size for file in (tmp_path / place).glob("*.onnx"))
    finally:
        loaded.close()


async def test_ones_own_vector_is_a_voice_and_the_first(tmp_path: Path):
    own = write_vector(tmp_path / "elsewhere" / "vector", 0.75)
    loaded = engine.load(write_model(tmp_path / "model"), EngineArgs(voices={"me": own}))
    try:
        assert list(loaded.voices) == ["me", "slt"]
        (piece,) = await spoken(loaded, "Good morning, everybody.", SpeakOptions("default", early=False))
        assert said(piece, 0.75) == "Good morning, everybody.|"
    finally:
        loaded.close()


async def test_a_model_without_a_voice_says_how_to_give_it_one(tmp_path: Path):
    with pytest.raises(ModelBroken, match=r"has no voice: put a speaker's vector \(512 float32\) there as voices/NAME"):
        engine.load(write_model(tmp_path, voices={}), EngineArgs())


async def test_networks_of_another_model_are_told_at_once(tmp_path: Path):
    folder = write_model(tmp_path) / "onnx"
    (folder / "decoder_model_merged.onnx").write_bytes((folder / "encoder_model.onnx").read_bytes())
    with pytest.raises(ModelBroken, match="the decoder is not SpeechT5's: it lacks encoder_attention_mask"):
        engine.load(tmp_path, EngineArgs())
