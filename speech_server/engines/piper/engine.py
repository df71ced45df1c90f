"""Piper speech synthesis with piper-tts: one voice per model, or several speakers in one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from speech_server.domain import Samples, Voice
from speech_server.engines.asked import check_spoken, unknown_voice
from speech_server.engines.cores import core_count
from speech_server.engines.device import prefer_cpu
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro.voices import OPENAI_VOICES
from speech_server.engines.onnx import StoppableSession, is_on_gpu, open_session, placement_of
from speech_server.engines.queue.speaker import QueuedSpeaker, Reading
from speech_server.engines.queue.turnstile import CORES
from speech_server.errors import ModelBroken

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from piper.voice import PiperVoice


def load(folder: Path, args: EngineArgs) -> PiperSpeaker:
    """The voice in `folder` (model.onnx and config.json, or NAME.onnx and NAME.onnx.json). Raises ModelBroken."""
    model = folder / "model.onnx"
    if not model.exists():
        model = next(iter(sorted(folder.glob("*.onnx"))), model)
    config = folder / "config.json"
    if not config.exists():
        config = model.with_name(model.name + ".json")
    try:
        return PiperSpeaker(model, json.loads(config.read_text("utf-8")), args)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelBroken(f"{folder} is no Piper voice this server can read: {error}") from error


class PiperSpeaker(QueuedSpeaker):
    """A loaded Piper voice. Its voices are its speakers; a voice with one speaker has one, by its own name."""

    speeds = (0.5, 2.0)  # beyond, sounds drop out or never get as short as asked

    def __init__(self, model: Path, config: dict[str, Any], args: EngineArgs) -> None:
        from piper.config import PhonemeType, PiperConfig
        from piper.voice import PiperVoice

        parsed = PiperConfig.from_dict(config)
        if parsed.phoneme_type not in (PhonemeType.ESPEAK, PhonemeType.TEXT):
            raise ModelBroken(f"{model} needs Piper's {parsed.phoneme_type.value} reader, which this server has not")
        # Each piece is short work (0.03 of its duration): one thread each, as many side by side as there are cores.
        session = StoppableSession(open_session(model, 1, prefer_cpu(args)))
        on_gpu = is_on_gpu(session)
        workers = args.workers or (2 if on_gpu else args.threads or core_count())
        self.placement = placement_of(session, workers=workers, threads=1)
        self._voice: PiperVoice = PiperVoice(session=cast("InferenceSession", session), config=parsed)
        self._default = parsed.default_speaker_id
        self.memory_bytes = model.stat().st_size
        self.sample_rate = parsed.sample_rate
        self._language = parsed.espeak_voice
        self._speakers, self._names = _speakers(config)
        self.voices: Mapping[str, Voice] = {name: Voice(name, _language(config)) for name in self._speakers}
        super().__init__("piper", args, workers=workers, turnstile=None if on_gpu else CORES)

    def close(self) -> None:
        super().close()
        del self._voice

    def _read(self, options: SpeakOptions) -> Reading:
        speaker = self._speaker(options.voice)
        check_spoken(options.language, self._language)
        return Reading(self._language, lambda piece, alone: self._say(piece, speaker, options.speed))

    def _speaker(self, voice: str) -> int:
        """The speaker a client means: by name or number, by the model's name, or by an OpenAI name (the default)."""
        name = voice.strip().lower().rsplit("/", 1)[-1].removeprefix("piper-")
        if name in self._names or name in OPENAI_VOICES:
            return self._names.get(name, self._default)
        raise unknown_voice(voice, self._speakers, "default")

    def _say(self, text: str, speaker: int, speed: float) -> Samples:
        from piper.config import SynthesisConfig

        config = self._voice.config
        # Not normalised: that would make every piece as loud as its loudest sound, a shout and a whisper alike.
        wanted = SynthesisConfig(speaker_id=speaker, length_scale=config.length_scale / speed, normalize_audio=False)
        chunks = [chunk.audio_float_array for chunk in self._voice.synthesize(text, wanted)]
        return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def _speakers(config: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """(speakers by the name shown, every name that is accepted in lower case)."""
    dataset = str(config.get("dataset") or "default")
    speakers: dict[str, int] = dict(config.get("speaker_id_map") or {}) or {dataset: 0}
    default = int(config.get("default_speaker_id", 0))
    quality = config.get("audio", {}).get("quality", "")
    code = config.get("language", {}).get("code", "")
    names = {name.lower(): number for name, number in speakers.items()}
    numbers = {str(number): number for number in speakers.values()}
    own = {name.lower(): default for name in ("default", dataset, f"{code}-{dataset}", f"{code}-{dataset}-{quality}")}
    return speakers, {**own, **numbers, **names}


def _language(config: dict[str, Any]) -> str:
    code = config.get("language", {}).get("code") or config["espeak"]["voice"]
    return str(code).lower().replace("_", "-")
