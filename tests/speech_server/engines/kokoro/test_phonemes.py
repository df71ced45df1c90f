from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from speech_server.engines import espeak
from speech_server.engines.kokoro import phonemes
from speech_server.errors import InvalidRequest

TEXTS = {
    "en-us": "The quick brown fox jumps over the lazy dog.",
    "es": "Madrid es la capital de España.",
    "fr-fr": "Le train arrive demain matin.",
    "it": "Il treno parte domani.",
}


def test_stress_and_punctuation_are_kept():
    assert espeak.phonemize("Hello, world!", "en-us") == "həlˈoʊ, wˈɜːld!"


def test_a_foreign_word_leaves_no_language_names_behind():
    assert "(" not in espeak.phonemize("C'est le weekend.", "fr-fr")


def test_threads_do_not_disturb_each_other():
    """espeak's state is global: without the lock nearly all of these are wrong."""
    alone = {language: espeak.phonemize(text, language) for language, text in TEXTS.items()}
    work = list(TEXTS.items()) * 60
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda item: espeak.phonemize(item[1], item[0]), work))
    assert together == [alone[language] for language, _ in work]


def test_only_phonemes_the_model_knows_are_left():
    assert phonemes.for_kokoro("Hello, world!", "en-us", "həlˈoʊ, ") == "həlˈoʊ, ˈl"


@pytest.mark.parametrize("language", ["en-us", "en-gb", "es", "fr-fr", "hi", "it", "pt-br"])
def test_espeaks_languages_need_nothing_more(language: str):
    phonemes.check(language)


def test_a_missing_front_end_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(phonemes._EXTRAS, "zh", ("no_such_front_end",))
    with pytest.raises(InvalidRequest, match=r"no_such_front_end.*requirements/cjk\.in"):
        phonemes.check("zh")
