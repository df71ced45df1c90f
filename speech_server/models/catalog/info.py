"""What the server knows about one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from speech_server.domain import Voice
from speech_server.engines.interfaces import EngineArgs

Task = Literal[
    "automatic-speech-recognition",
    "text-to-speech",
    "voice-activity-detection",
    "speaker-embedding",
    "speaker-segmentation",
    "turn-detection",
]
STT: Task = "automatic-speech-recognition"
TTS: Task = "text-to-speech"
VAD: Task = "voice-activity-detection"
VOICES: Task = "speaker-embedding"
SEGMENTATION: Task = "speaker-segmentation"
TURNS: Task = "turn-detection"

EngineName = Literal[
    "whisper", "parakeet", "kokoro", "piper", "speecht5", "silero", "wespeaker", "pyannote", "smart_turn"
]  # fmt: skip

TASKS: Mapping[EngineName, Task] = {
    "whisper": STT,
    "parakeet": STT,
    "kokoro": TTS,
    "piper": TTS,
    "speecht5": TTS,
    "silero": VAD,
    "wespeaker": VOICES,
    "pyannote": SEGMENTATION,
    "smart_turn": TURNS,
}


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """`url` and `files` come from a models file: where the weights lie, and texts to put beside them.

    `env` holds the models file's variables for reaching `url` (keys, end points); it is kept out of repr.
    `ttl` is idle seconds before the model leaves memory, None for the task's own setting.
    """

    id: str
    engine: EngineName
    languages: tuple[str, ...] = ()
    voices: tuple[Voice, ...] = ()
    sample_rate: int | None = None
    licence: str = "unknown: see its model card"
    size_bytes: int = 0
    owned_by: str = ""
    created: int = 0  # seconds since 1970
    args: EngineArgs = field(default_factory=EngineArgs)
    ttl: float | None = None
    preload: bool = False
    url: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def task(self) -> Task:
        return TASKS[self.engine]

    @property
    def cache_id(self) -> str:
        """Its name in the cache: a hub repository keeps its own, so that everybody finds it there."""
        if self.url and self.url.startswith("hf://") and not self.files:
            return self.url.removeprefix("hf://")
        return self.id

    @property
    def translates(self) -> bool:
        """Whether it can put what it hears into English."""
        return self.engine == "whisper"


def owner(model_id: str) -> str:
    return model_id.partition("/")[0] if "/" in model_id else "runpod-speech"


def spoken(voices: tuple[Voice, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(voice.language for voice in voices))
