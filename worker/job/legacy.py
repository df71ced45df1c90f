"""Jobs written for worker-faster_whisper -> ours: {"audio": url, "model": "base", "transcription": "srt", ...}.

The answer is ours. An option without a counterpart is taken at its default there, which is what most jobs send;
another value is an error, because the result would not be what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.errors import InvalidJob
from worker.job.address import json_kind

_FORMATS = {"plain_text": "verbose_json", "formatted_text": "verbose_json", "srt": "srt", "vtt": "vtt"}
# Their names for options of the request that ours has too.
_FIELDS = {"model": "model", "language": "language", "temperature": "temperature", "initial_prompt": "prompt"}
_WITHOUT_COUNTERPART = {
    "best_of": 5,
    "beam_size": 5,
    "patience": 1.0,
    "length_penalty": 0,
    "suppress_tokens": "-1",
    "temperature_increment_on_fallback": 0.2,
    "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
}
# Where a file's name in a message comes from: its place in our words -> in theirs.
PLACES = {"input.file_url": "input.audio", "input.file_base64": "input.audio_base64"}
_OWN = {"audio", "audio_base64", "transcription", "translate", "translation", "enable_vad", "word_timestamps"}
_MOOT = {"condition_on_previous_text"}  # chunks are transcribed side by side here: none has a previous text
_KNOWN = _OWN | _MOOT | _FIELDS.keys() | _WITHOUT_COUNTERPART.keys()


def is_legacy(raw: Mapping[str, Any]) -> bool:
    return "path" not in raw and ("audio" in raw or "audio_base64" in raw)


def translate_legacy(raw: Mapping[str, Any], shared: frozenset[str]) -> dict[str, Any]:
    """The same job in our words. `shared` are our own keys that may stand beside theirs. Raises InvalidJob."""
    if unknown := [key for key in raw if key not in _KNOWN | shared]:
        raise InvalidJob(f"input.{unknown[0][:60]}: not a known key of a worker-faster_whisper job")
    _check_audio(raw)
    for key, default in _WITHOUT_COUNTERPART.items():
        if raw.get(key, default) not in (default, None):
            raise InvalidJob(f"input.{key}: only {default!r} is known here; leave it out")
    translates = raw.get("translate") is True
    format_key = "translation" if translates else "transcription"
    wanted = raw.get(format_key) or "plain_text"
    if wanted not in _FORMATS:
        raise InvalidJob(f"input.{format_key}: must be one of {', '.join(_FORMATS)}")
    body: dict[str, Any] = {"model": "base", "response_format": _FORMATS[wanted]}
    body |= {ours: raw[theirs] for theirs, ours in _FIELDS.items() if raw.get(theirs) is not None}
    if raw.get("enable_vad") is not None:
        body["vad_filter"] = raw["enable_vad"]
    if raw.get("word_timestamps") and not translates:
        body |= {"response_format": "verbose_json", "timestamp_granularities": ["segment", "word"]}
    files = {"file_url": raw.get("audio"), "file_base64": raw.get("audio_base64")}
    return {
        "path": "/v1/audio/translations" if translates else "/v1/audio/transcriptions",
        "body": body,
        **{key: value for key, value in files.items() if value is not None},
        **{key: raw[key] for key in shared if key in raw},
    }


def _check_audio(raw: Mapping[str, Any]) -> None:
    """What would be said of it in our words, said in theirs."""
    given = [key for key in ("audio", "audio_base64") if raw.get(key) is not None]
    if len(given) == 2:
        raise InvalidJob("input.audio_base64: there is audio already; give one of them")
    if not given:
        raise InvalidJob("input.audio: is null; give a URL, or audio_base64")
    if not isinstance(value := raw[given[0]], str):
        raise InvalidJob(f"input.{given[0]}: must be text, not {json_kind(value)}")
    if not value:
        raise InvalidJob(f"input.{given[0]}: is empty")
