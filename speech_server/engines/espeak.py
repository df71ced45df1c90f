"""Text to phonemes with espeak-ng, whose state is global: one lock for every use."""

from __future__ import annotations

import logging
import threading
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

_LOCK = threading.Lock()  # two threads at once get each other's phonemes, or crash


def phonemize(text: str, language: str) -> str:
    """IPA of `text` with its punctuation and stress marks. `language` is espeak's name, as `fr-fr`."""
    with _LOCK:
        return str(_backend(language).phonemize([text], strip=True)[0]).strip()


@cache
def _backend(language: str) -> EspeakBackend:
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    logger = logging.getLogger("speech_server.espeak")
    logger.setLevel(logging.ERROR)  # it warns of every foreign word
    return EspeakBackend(
        language, preserve_punctuation=True, with_stress=True, language_switch="remove-flags", logger=logger
    )
