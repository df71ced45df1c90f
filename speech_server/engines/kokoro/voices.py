"""Kokoro's voices: what their names say, the names OpenAI's clients send, and blends."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from speech_server.domain import Voice
from speech_server.engines.kokoro import phonemes
from speech_server.errors import InvalidRequest

# The first letter of a voice's name is its language, the second its gender.
LANGUAGES = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-br",
    "z": "zh",
}
_GENDERS = {"f": "female", "m": "male"}
_LANGUAGE_NAMES = {
    "en": "en-us",
    "es-es": "es",
    "fr": "fr-fr",
    "hi-in": "hi",
    "it-it": "it",
    "ja-jp": "ja",
    "pt": "pt-br",
    "zh-cn": "zh",
    "cmn": "zh",
}

# OpenAI's names, by sound: gender and accent as theirs, where Kokoro has the name it is that voice.
OPENAI_VOICES = {
    "alloy": "af_alloy",
    "ash": "am_fenrir",
    "ballad": "bm_george",
    "cedar": "am_michael",
    "coral": "af_bella",
    "echo": "am_echo",
    "fable": "bm_fable",
    "marin": "af_heart",
    "nova": "af_nova",
    "onyx": "am_onyx",
    "sage": "af_sarah",
    "shimmer": "af_sky",
    "verse": "am_puck",
}
Blend = tuple[tuple[str, float], ...]  # voices and their weights, which sum to 1
_BLEND_PART = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(?:\(\s*(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})\s*\))?\s*")


_NUMBERED = re.compile(r"z[fm]_\d{3}")


def are_numbered(names: Iterable[str]) -> bool:
    """Whether these are the voices of v1.1-zh."""
    return any(_NUMBERED.fullmatch(name) for name in names)


def describe(name: str) -> Voice:
    """The voice `name` stands for: `af_heart` is an American female called Heart."""
    return Voice(name, LANGUAGES.get(name[:1], "en-us"), _GENDERS.get(name[1:2]))


def usable(names: Iterable[str]) -> tuple[Voice, ...]:
    """The voices among `names` whose own language can be read here; all of them where none is."""
    voices = [describe(name) for name in names]
    unread = {language for language in {voice.language for voice in voices} if phonemes.missing(language)}
    return tuple(voice for voice in voices if voice.language not in unread) or tuple(voices)


def parse_blend(text: str, known: Collection[str]) -> Blend:
    """`af_heart(2)+af_sky(1)` -> the voices with weights that sum to 1; one voice alone is a blend of one.

    Raises InvalidRequest naming the voices there are.
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        found = _BLEND_PART.fullmatch(part)
        name = found[1].lower() if found else part.strip()
        if name in OPENAI_VOICES:
            name = OPENAI_VOICES[name] if OPENAI_VOICES[name] in known else usable(sorted(known))[0].id
        if not found or name not in known:
            there_are = ", ".join(sorted(voice.id for voice in usable(known)))
            raise InvalidRequest(
                f"voice '{part.strip()[:100]}' is not known: use one of {there_are}, an OpenAI voice "
                f"({', '.join(OPENAI_VOICES)}), or a blend such as af_heart(2)+af_sky(1)",
                param="voice",
                code="unknown_voice",
            )
        weights[name] = weights.get(name, 0.0) + float(found[2] or 1)  # each once: a style takes half a megabyte
    total = sum(weights.values())
    if total <= 0:
        raise InvalidRequest(f"voice '{text[:100]}' has weights that sum to 0: give one above 0", param="voice")
    return tuple((name, weight / total) for name, weight in weights.items())


def resolve_language(language: str | None, voice: str, known: Collection[str] = tuple(LANGUAGES.values())) -> str:
    """The language to read in: the one asked for, of those the model knows, else the voice's own.

    Raises InvalidRequest.
    """
    if language is None:
        return LANGUAGES.get(voice[:1], "en-us")
    name = language.strip().lower().replace("_", "-")
    name = _LANGUAGE_NAMES.get(name, name)
    if name not in known:
        raise InvalidRequest(
            f"language '{language[:40]}' is not one this Kokoro speaks: use one of {', '.join(sorted(known))}",
            param="language",
        )
    return name
