"""Whisper's languages: code and English name, and what clients write instead of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from speech_server.errors import InvalidRequest

NAMES: dict[str, str] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
# The other names OpenAI's own Whisper takes, and ISO 639 codes it writes differently.
OTHER_NAMES = {
    "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "pushto": "ps",
    "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si", "castilian": "es", "mandarin": "zh",
    "jv": "jw", "nb": "no", "fil": "tl", "iw": "he",
}  # fmt: skip

CODES = {**{name: code for code, name in NAMES.items()}, **OTHER_NAMES, **{code: code for code in NAMES}}


def language_code(given: str, param: str = "language") -> str:
    """`en` from `en`, `EN`, `en-US`, `English`. Raises InvalidRequest for what Whisper has never heard of."""
    name = given.strip().lower().replace("_", "-")
    code = CODES.get(name) or CODES.get(name.partition("-")[0])
    if code is None:
        raise InvalidRequest(
            f"Unknown language '{given[:50]}': give a code such as `en` or an English name such as `english`, "
            f"one of {', '.join(NAMES)}",
            param=param,
            code="invalid_language",
        )
    return code


def asked_language(given: str | None) -> str | None:
    """The code; None where the language is to be found out, which many clients write as `auto`."""
    return language_code(given) if given and given.strip().lower() != "auto" else None


def asked_languages(given: Sequence[str], language: str | None) -> tuple[str, ...]:
    """The codes among which the language is to be found out; none where it may be any. Raises InvalidRequest, also
    where `language` says already which it is and is not among them."""
    codes = tuple(dict.fromkeys(language_code(name, "languages") for name in given))
    if language and codes and language not in codes:
        raise InvalidRequest(
            f"language is '{language}' and languages are {', '.join(codes)}: leave one out",
            param="languages",
            code="invalid_language",
        )
    return codes
