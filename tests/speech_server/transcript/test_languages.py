"""What clients write for a language."""

from __future__ import annotations

import pytest

from speech_server.errors import InvalidRequest
from speech_server.transcript.languages import NAMES, language_code


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


def test_the_table_is_that_of_the_model():
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(NAMES) == set(_LANGUAGE_CODES)
