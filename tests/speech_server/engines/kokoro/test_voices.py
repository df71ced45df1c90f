from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.domain import Voice
from speech_server.engines.kokoro import phonemes
from speech_server.engines.kokoro.voices import OPENAI_VOICES, describe, parse_blend, resolve_language, usable
from speech_server.errors import InvalidRequest

KNOWN = ("af_heart", "af_sky", "bm_george", "zf_xiaoxiao", *OPENAI_VOICES.values())


def test_a_name_tells_language_and_gender():
    assert describe("af_heart") == Voice("af_heart", "en-us", "female")
    assert describe("zm_yunyang") == Voice("zm_yunyang", "zh", "male")


def test_a_blend_is_voices_with_weights_that_sum_to_one():
    assert parse_blend("af_heart", KNOWN) == (("af_heart", 1.0),)
    assert parse_blend("af_heart+af_sky", KNOWN) == (("af_heart", 0.5), ("af_sky", 0.5))
    assert parse_blend(" af_heart(3) + af_sky(.75) ", KNOWN) == (("af_heart", 0.8), ("af_sky", 0.2))
    assert parse_blend("alloy(1)+AF_SKY(1)", KNOWN) == (("af_alloy", 0.5), ("af_sky", 0.5))


def test_a_voice_named_many_times_is_one_voice():
    assert parse_blend("+".join(["af_heart", "af_heart(3)", "af_sky"] * 10_000), KNOWN) == (
        ("af_heart", 0.8),
        ("af_sky", 0.2),
    )


def test_voices_whose_language_cannot_be_read_are_not_offered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(phonemes._EXTRAS, "zh", ("no_such_front_end",))
    assert [voice.id for voice in usable(KNOWN)] == [name for name in KNOWN if name != "zf_xiaoxiao"]
    with pytest.raises(InvalidRequest) as refused:
        parse_blend("nobody", KNOWN)
    assert "zf_xiaoxiao" not in refused.value.message
    assert [voice.id for voice in usable(["zf_xiaoxiao"])] == ["zf_xiaoxiao"]
    monkeypatch.setitem(phonemes._EXTRAS, "zh", ())
    assert [voice.id for voice in usable(KNOWN)] == list(KNOWN)


@pytest.mark.parametrize(
    "name",
    ["alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"],
)
def test_each_openai_voice_is_an_english_voice(name: str):
    ((voice, _),) = parse_blend(name, KNOWN)
    assert describe(voice).language in ("en-us", "en-gb")


@pytest.mark.parametrize(
    "text",
    ["", "nobody", "af_heart+", "af_heart(2", "af_heart(0)", "af_heart(-1)+af_sky", "af_heart(1e9)", "af_heart(nan)"],
)
def test_what_is_no_voice_is_refused(text: str):
    with pytest.raises(InvalidRequest) as refused:
        parse_blend(text, KNOWN)
    assert refused.value.param == "voice"


def test_the_refusal_names_the_voices_there_are():
    with pytest.raises(InvalidRequest, match=r"'nobody'.*af_heart, af_nova.*alloy"):
        parse_blend("nobody", KNOWN)


@given(st.text())
def test_any_text_is_a_blend_or_refused(text: str):
    try:
        blend = parse_blend(text, KNOWN)
    except InvalidRequest:
        return
    assert sum(weight for _, weight in blend) == pytest.approx(1)
    assert all(name in KNOWN for name, _ in blend)


@pytest.mark.parametrize(
    ("asked", "voice", "language"),
    [
        (None, "ef_dora", "es"),
        (None, "bm_george", "en-gb"),
        ("fr", "af_heart", "fr-fr"),
        ("EN", "ef_dora", "en-us"),
        ("pt_BR", "af_heart", "pt-br"),
        ("zh-CN", "af_heart", "zh"),
    ],
)
def test_the_language_is_the_voices_unless_asked_otherwise(asked: str | None, voice: str, language: str):
    assert resolve_language(asked, voice) == language


def test_a_language_kokoro_does_not_speak_is_refused():
    with pytest.raises(InvalidRequest, match=r"'sv'.*en-us"):
        resolve_language("sv", "af_heart")
