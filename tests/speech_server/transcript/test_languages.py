"""What clients write for a language."""

from __future__ import annotations

import pytest

from speech_server.errors import InvalidRequest
from speech_server.transcript.languages import NAMES, asked_languages, language_code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("en", "en"), ("EN", "en"), (" en ", "en"), ("English", "en"), ("en-US", "en"), ("en_GB", "en"),
        ("Castilian", "es"), ("zh-CN", "zh"), ("mandarin", "zh"), ("yue", "yue"), ("Haitian Creole", "ht"),
    ],
)  # fmt: skip
def test_codes_names_and_regions_are_understood(given: str, code: str):
    assert language_code(given) == code


@pytest.mark.parametrize("given", ["xx", "klingon", "e", "englisch!", "-", "en en"])
def test_an_unknown_language_is_refused_with_the_known_ones(given: str):
    with pytest.raises(InvalidRequest, match="af, am") as refused:
        language_code(given)
    assert refused.value.param == "language"


def test_the_languages_it_may_be_are_codes_each_once():
    assert asked_languages(["Spanish", "en-US", "es"], None) == ("es", "en")
    assert asked_languages([], "en") == ()


@pytest.mark.parametrize(("languages", "language"), [(["klingon"], None), (["es", "fr"], "en")])
def test_languages_that_cannot_be_are_refused_by_their_own_name(languages: list[str], language: str | None):
    with pytest.raises(InvalidRequest) as refused:
        asked_languages(languages, language)
    assert refused.value.param == "languages"


def test_the_table_is_that_of_the_model():
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(NAMES) == set(_LANGUAGE_CODES)
