"""Kokoro v1.1-zh, on a tiny model of its shape: its own vocabulary, its voices, its front end where that is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from speech_server.domain import Samples
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro import engine, phonemes
from speech_server.engines.kokoro.engine import KokoroSpeaker
from speech_server.engines.kokoro.voices import OPENAI_VOICES, describe
from speech_server.errors import InvalidRequest, ModelBroken
from tests.speech_server.engines.contracts.subjects import all_of
from tests.speech_server.engines.kokoro.tiny import VOCABULARY, VOICES, said, write_model

pytestmark = pytest.mark.anyio
reads_mandarin = pytest.mark.skipif(bool(phonemes.missing("zh")), reason="misaki[zh] is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("kokoro-zh"))


@pytest.fixture(scope="module")
def speaker(folder: Path) -> Iterator[KokoroSpeaker]:
    loaded = engine.load(folder, EngineArgs())
    yield loaded
    loaded.close()


async def spoken(speaker: KokoroSpeaker, text: str, voice: str, **options: float | str) -> list[Samples]:
    async with aclosing(speaker.speak(text, SpeakOptions(voice, early=False, **options))) as pieces:  # type: ignore[arg-type]
        return await all_of(pieces)


async def test_it_has_103_voices_in_two_languages(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(phonemes._EXTRAS, "zh", ())
    loaded = engine.load(folder, EngineArgs())
    loaded.close()
    assert set(loaded.voices) == set(VOICES)
    kinds = Counter((voice.language, voice.gender) for voice in loaded.voices.values())
    assert kinds == {("zh", "female"): 55, ("zh", "male"): 45, ("en-us", "female"): 2, ("en-gb", "female"): 1}


async def test_without_the_front_end_the_english_ones_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(phonemes._EXTRAS, "zh", ("no_such_front_end",))
    loaded = engine.load(folder, EngineArgs())
    try:
        assert list(loaded.voices) == ["af_maple", "af_sol", "bf_vale"]
        with pytest.raises(InvalidRequest, match=r"no_such_front_end.*requirements/cjk\.in"):
            loaded.check(SpeakOptions("zf_001"))
    finally:
        loaded.close()


async def test_english_is_told_in_its_own_numbers(speaker: KokoroSpeaker):
    (piece,) = await spoken(speaker, "The train leaves at noon on Monday.", "bf_vale")
    assert said(piece, "bf_vale") == phonemes.for_kokoro("The train leaves at noon on Monday.", "en-gb", VOCABULARY)


@reads_mandarin
async def test_mandarin_is_bopomofo_with_tones(speaker: KokoroSpeaker):
    (piece,) = await spoken(speaker, "千里之行，始于足下。", "zf_001")
    assert said(piece, "zf_001") == "ㄑ言1ㄌㄧ3ㄓ十1ㄒ应2, ㄕ十3ㄩ2ㄗㄨ2ㄒ压4."


@reads_mandarin
async def test_english_words_within_mandarin_are_read(speaker: KokoroSpeaker):
    (piece,) = await spoken(speaker, "我喜欢 Python 语言，还有123本书。", "zm_010")
    heard = said(piece, "zm_010")
    assert "pˈaɪθən" in heard
    assert heard.startswith("我")
    assert heard.endswith("ㄧ4ㄅㄞ3ㄦ4ㄕ十2/ㄙㄢ1/ㄅㄣ3ㄕㄨ1.")  # a hundred and twenty-three books


@pytest.mark.parametrize("speed", [0.5, 0.75, 1.25, 1.5, 2.0])
async def test_a_network_that_takes_whole_speeds_is_stretched(speaker: KokoroSpeaker, speed: float):
    """The library would round them, 1.5 to 2."""
    text = "The train leaves at noon on Monday."
    plain, changed = [np.concatenate(await spoken(speaker, text, "af_sol", speed=each)) for each in (1.0, speed)]
    assert len(plain) / len(changed) == pytest.approx(speed, rel=0.01)


@pytest.mark.parametrize("name", OPENAI_VOICES)
async def test_openais_names_mean_its_first_voice(speaker: KokoroSpeaker, name: str):
    (piece,) = await spoken(speaker, "Good morning, everybody.", name)
    assert said(piece, "af_maple") == phonemes.for_kokoro("Good morning, everybody.", "en-us", VOCABULARY)


async def test_languages_of_other_kokoros_are_refused(speaker: KokoroSpeaker):
    with pytest.raises(InvalidRequest, match=r"'es' is not one this Kokoro speaks: use one of en-gb, en-us, zh"):
        speaker.check(SpeakOptions("af_maple", language="es"))


async def test_a_blend_is_of_its_own_voices(speaker: KokoroSpeaker):
    (piece,) = await spoken(speaker, "Good morning, everybody.", "af_maple(1)+bf_vale(1)")
    assert said(piece, "af_sol") == phonemes.for_kokoro("Good morning, everybody.", "en-us", VOCABULARY)


async def test_its_voices_without_its_vocabulary_say_where_that_is(tmp_path: Path):
    (write_model(tmp_path) / "config.json").write_text('{"model_type": "style_text_to_speech_2"}')
    with pytest.raises(ModelBroken, match=r"config\.json of hexgrad/Kokoro-82M-v1\.1-zh"):
        engine.load(tmp_path, EngineArgs())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read as JSON"),
        (b'{"vocab": {"ab": 1}}', "cannot be: vocab"),
        (b'{"vocab": {"a": -1}}', "cannot be: vocab.a"),
        (b" " * (1 << 20) + b"{}", "more than 1048576 bytes"),
    ],
)
async def test_a_vocabulary_that_is_none_is_a_broken_model(tmp_path: Path, content: bytes, complaint: str):
    (write_model(tmp_path) / "config.json").write_bytes(content)
    with pytest.raises(ModelBroken) as broken:
        engine.load(tmp_path, EngineArgs())
    assert complaint in broken.value.message


def test_numbered_voices_tell_their_language():
    assert describe("zf_001").language == "zh"
    assert describe("zm_100").gender == "male"
