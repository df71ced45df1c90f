"""Reads catalog.json, the list of models that exist, into what the server knows about each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from speech_server.domain import Voice
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.kokoro.voices import usable
from speech_server.engines.parakeet.files import ENGLISH, EUROPEAN
from speech_server.engines.speecht5.voices import ARCTIC, voices_of
from speech_server.models.catalog.info import ModelInfo, owner, spoken

SILERO = "silero_vad_v6"  # the file that comes with faster-whisper
_MB = 1_000_000


@cache
def read_data() -> Mapping[str, Any]:
    data: Mapping[str, Any] = json.loads(Path(__file__).with_name("catalog.json").read_bytes())
    return data


def list_models(data: Mapping[str, Any]) -> Iterable[ModelInfo]:
    spoken_in = {
        "en": ENGLISH,
        "european": EUROPEAN,
        "all": tuple(data["whisper_languages"]),
        "all+yue": (*data["whisper_languages"], "yue"),
    }
    for entry in data["whisper"]:
        yield _listed(entry, ModelInfo(entry["id"], "whisper", spoken_in[entry["languages"]], licence="MIT"))
    for entry in data["parakeet"]:
        yield _listed(entry, ModelInfo(entry["id"], "parakeet", spoken_in[entry["languages"]], licence="CC-BY-4.0"))
    voices = usable(data["kokoro_voices"])
    for entry in data["kokoro"]:
        yield _listed(entry, ModelInfo(entry["id"], "kokoro", spoken(voices), voices, 24_000, "Apache-2.0"))
    for name in data["piper"]:
        language, voice, quality = name.split("-")
        language = language.replace("_", "-").lower()
        model = ModelInfo(
            f"speaches-ai/piper-{name}",
            "piper",
            (language,),
            (Voice(voice, language),),
            22_050 if quality in ("medium", "high") else 16_000,
        )
        licence = data["piper_licences"].get(name, model.licence)
        size = data["piper_size_mb"][quality]
        yield _listed({"size_mb": size, "created": "2025-01-31"}, replace(model, licence=licence))
    for entry in data["speecht5"]:
        language = entry["language"]
        model = ModelInfo(entry["id"], "speecht5", (language,), voices_of(ARCTIC, (), language), 16_000)
        model = replace(
            model, licence=entry.get("licence", model.licence), args=EngineArgs(extra={"language": language})
        )
        yield _listed(entry, model)
    for entry in (*data["speakers"], *data["segmentation"], *data["turns"]):
        yield _listed(entry, ModelInfo(entry["id"], entry["engine"], licence=entry["licence"]))
    yield ModelInfo(SILERO, "silero", licence="MIT", size_bytes=2 * _MB, owned_by="snakers4")


def _listed(entry: Mapping[str, Any], model: ModelInfo) -> ModelInfo:
    return replace(
        model,
        size_bytes=entry["size_mb"] * _MB,
        created=int(datetime.fromisoformat(entry["created"]).replace(tzinfo=UTC).timestamp()),
        owned_by=entry.get("owner") or owner(model.id),
    )
