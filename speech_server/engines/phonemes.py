"""Text to the phonemes Kokoro was trained on: espeak for most languages, misaki for Japanese and Mandarin."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Container
from functools import cache
from typing import Any

from speech_server.engines import espeak
from speech_server.errors import InvalidRequest

# espeak spells Japanese out and does not know Kokoro's Mandarin: (modules needed, what to install)
_EXTRAS = {
    "ja": ("misaki", "pyopenjtalk"),
    "zh": ("misaki", "jieba", "pypinyin", "cn2an"),
}
_LOCK = threading.Lock()  # neither front end says that it may be used from several threads


def check(language: str) -> None:
    """Raise InvalidRequest when the front end for `language` is not installed."""
    missing = [name for name in _EXTRAS.get(language, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidRequest(
            f"language '{language}' needs packages that are not installed here ({', '.join(missing)}): "
            "install requirements/cjk.txt, or use a voice of another language",
            param="voice",
            code="language_not_installed",
        )


def for_kokoro(text: str, language: str, vocabulary: Container[str]) -> str:
    """Phonemes of `text`, only those the model knows."""
    spoken = _front_end(language)(text)
    return "".join(phoneme for phoneme in spoken if phoneme in vocabulary).strip()


@cache
def _front_end(language: str) -> Callable[[str], str]:
    if language not in _EXTRAS:
        return lambda text: espeak.phonemize(text, language)
    front_end: Any
    if language == "ja":
        from misaki.ja import JAG2P

        front_end = JAG2P(version="pyopenjtalk")  # the other version downloads a dictionary
    else:
        from misaki.zh import ZHG2P

        front_end = ZHG2P()

    def read(text: str) -> str:
        with _LOCK:
            return str(front_end(text)[0])

    return read
