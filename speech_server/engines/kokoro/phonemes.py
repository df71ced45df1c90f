"""Text to the phonemes Kokoro was trained on: espeak for most languages, misaki for Japanese and Mandarin.

Mandarin is IPA with arrows for v1.0, and for v1.1-zh bopomofo with numbers: the vocabulary tells which.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
from collections.abc import Callable, Container
from functools import cache

from speech_server.engines import espeak
from speech_server.errors import InvalidRequest

# espeak spells Japanese out and does not know Kokoro's Mandarin: (modules needed, what to install)
_EXTRAS = {
    "ja": ("misaki", "pyopenjtalk"),
    "zh": ("misaki", "jieba", "pypinyin", "cn2an"),
}
_LOCK = threading.Lock()  # neither front end says that it may be used from several threads
_LATIN_WORDS = re.compile(r"([A-Za-z][A-Za-z' -]*)")


def missing(language: str) -> list[str]:
    """Packages that reading `language` takes and that are not installed; none of them is imported."""
    return [name for name in _EXTRAS.get(language, ()) if importlib.util.find_spec(name) is None]


def check(language: str) -> None:
    """Raise InvalidRequest when the front end for `language` is not installed."""
    if lacking := missing(language):
        raise InvalidRequest(
            f"language '{language}' needs packages that are not installed here ({', '.join(lacking)}): "
            "pip install -r requirements/cjk.in, or use a voice of another language",
            param="voice",
            code="language_not_installed",
        )


def for_kokoro(text: str, language: str, vocabulary: Container[str]) -> str:
    """Phonemes of `text`, only those the model knows."""
    spoken = _front_end(language, are_bopomofo(vocabulary))(text)
    return "".join(phoneme for phoneme in spoken if phoneme in vocabulary).strip()


def are_bopomofo(vocabulary: Container[str]) -> bool:
    return "ㄓ" in vocabulary


def check_text(language: str, vocabulary: Container[str]) -> Callable[[str], object] | None:
    """What raises InvalidRequest for a text that cannot be read, to be called in a thread; None where all can."""
    bopomofo = are_bopomofo(vocabulary)
    return (lambda text: _front_end(language, bopomofo)(text)) if language in _EXTRAS else None


@cache
def _front_end(language: str, bopomofo: bool) -> Callable[[str], str]:
    if language not in _EXTRAS:
        return lambda text: espeak.phonemize(text, language)
    read = _open_japanese() if language == "ja" else _open_mandarin(bopomofo)

    def read_alone(text: str) -> str:
        with _LOCK:
            try:
                return read(text)
            except (AssertionError, ValueError) as error:  # what they raise for numbers and marks they do not expect
                raise InvalidRequest(f"input cannot be read as '{language}': {text[:100]!r}", param="input") from error

    return read_alone


def _open_japanese() -> Callable[[str], str]:
    from misaki.ja import JAG2P

    front_end = JAG2P(version="pyopenjtalk")  # the other version downloads a dictionary

    def read(text: str) -> str:
        # The second half tells the pitch of each phoneme, for later models than this.
        spoken: str = front_end(text)[0]
        return spoken[: len(spoken) // 2]

    return read


def _open_mandarin(bopomofo: bool) -> Callable[[str], str]:
    import jieba
    from misaki.zh import ZHG2P

    jieba.setLogLevel(logging.WARNING)
    # What it does not know is left out; without an `en_callable` it prints a warning.
    front_end = ZHG2P(version="1.1", unk="", en_callable=str) if bopomofo else ZHG2P()

    def read(text: str) -> str:
        # It would say a Latin word's letters as if they were phonemes.
        parts = _LATIN_WORDS.split(text)
        parts[1::2] = [f" {espeak.phonemize(word, 'en-us')} " for word in parts[1::2]]
        parts[::2] = [front_end(part)[0] if part.strip() else part for part in parts[::2]]
        return "".join(parts)

    return read
