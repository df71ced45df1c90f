"""Whisper's languages: code and English name, and what clients write instead of them."""

from __future__ import annotations

from collections.abc import Sequence

from speech_server.errors import InvalidRequest

NAMES = {
    "af": "afrikaans", "am": "amharic", "ar": "arabic", "as": "assamese", "az": "azerbaijani", "ba": "bashkir",
    "be": "belarusian", "bg": "bulgarian", "bn": "bengali", "bo": "tibetan", "br": "breton", "bs": "bosnian",
    "ca": "catalan", "cs": "czech", "cy": "welsh", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fo": "faroese",
    "fr": "french", "gl": "galician", "gu": "gujarati", "ha": "hausa", "haw": "hawaiian", "he": "hebrew",
    "hi": "hindi", "hr": "croatian", "ht": "haitian creole", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "is": "icelandic", "it": "italian", "ja": "japanese", "jw": "javanese", "ka": "georgian", "kk": "kazakh",
    "km": "khmer", "kn": "kannada", "ko": "korean", "la": "latin", "lb": "luxembourgish", "ln": "lingala",
    "lo": "lao", "lt": "lithuanian", "lv": "latvian", "mg": "malagasy", "mi": "maori", "mk": "macedonian",
    "ml": "malayalam", "mn": "mongolian", "mr": "marathi", "ms": "malay", "mt": "maltese", "my": "myanmar",
    "ne": "nepali", "nl": "dutch", "nn": "nynorsk", "no": "norwegian", "oc": "occitan", "pa": "punjabi",
    "pl": "polish", "ps": "pashto", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sa": "sanskrit",
    "sd": "sindhi", "si": "sinhala", "sk": "slovak", "sl": "slovenian", "sn": "shona", "so": "somali",
    "sq": "albanian", "sr": "serbian", "su": "sundanese", "sv": "swedish", "sw": "swahili", "ta": "tamil",
    "te": "telugu", "tg": "tajik", "th": "thai", "tk": "turkmen", "tl": "tagalog", "tr": "turkish", "tt": "tatar",
    "uk": "ukrainian", "ur": "urdu", "uz": "uzbek", "vi": "vietnamese", "yi": "yiddish", "yo": "yoruba",
    "yue": "cantonese", "zh": "chinese",
}  # fmt: skip

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
