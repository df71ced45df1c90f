"""SpeechT5 speech synthesis: one language per model, a voice for every speaker's vector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speech_server.domain import Embeddings, Samples, Voice
from speech_server.engines.asked import check_spoken, unknown_voice
from speech_server.engines.cores import core_count
from speech_server.engines.device import prefer_cpu
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro.voices import OPENAI_VOICES
from speech_server.engines.onnx import StoppableSession, is_on_gpu, open_session, placement_of
from speech_server.engines.queue.speaker import QueuedSpeaker, Reading
from speech_server.engines.queue.turnstile import CORES
from speech_server.engines.speecht5.characters import read_characters
from speech_server.engines.speecht5.files import TOKENIZER, VARIANTS, networks_among
from speech_server.engines.speecht5.networks import RATE, Networks
from speech_server.engines.speecht5.voices import FOLDER, read_vector, voice_files, voices_of
from speech_server.errors import ModelBroken
from speech_server.text.numbers import spell_numbers


def load(folder: Path, args: EngineArgs) -> SpeechT5Speaker:
    """The model in `folder`. Raises ModelBroken."""
    there = [name for files in VARIANTS for name in files if (folder / name).is_file()]
    networks = networks_among(there)
    if networks is None:
        raise ModelBroken(f"{folder} holds no SpeechT5: its encoder, decoder and vocoder are needed, in one precision")
    return SpeechT5Speaker(folder, networks, args)


class SpeechT5Speaker(QueuedSpeaker):
    """A loaded SpeechT5. Its sessions have one thread each and are called from as many as there are cores: a step is
    too small to be shared out, so several pieces side by side beat one piece on all cores. It knows one pace."""

    sample_rate = RATE

    def __init__(self, folder: Path, networks: tuple[str, ...], args: EngineArgs) -> None:
        self._language = str(args.extra.get("language", "en"))
        vectors = _vectors(folder, args, self._language)
        self.voices: Mapping[str, Voice] = {voice.id: voice for voice in vectors}
        self._vectors = {voice.id: vector for voice, vector in vectors.items()}
        self._characters = read_characters(folder / TOKENIZER)
        sessions = [
            # A step hands its keys and values through the CPU's memory, and is small: a GPU would wait for the copies.
            StoppableSession(open_session(folder / name, args.threads or 1, prefer_cpu(args)))
            for name in networks
        ]
        on_gpu = is_on_gpu(sessions[0])
        self._networks = Networks(*sessions)
        self.memory_bytes = sum((folder / name).stat().st_size for name in networks)
        workers = args.workers or (2 if on_gpu else core_count())
        self.placement = placement_of(sessions[0], workers=workers, threads=args.threads or 1)
        super().__init__("speecht5", args, workers=workers, turnstile=None if on_gpu else CORES)

    def close(self) -> None:
        super().close()
        del self._networks

    def _read(self, options: SpeakOptions) -> Reading:
        check_spoken(options.language, self._language)
        voice = self._vectors[self._voice(options.voice)]

        def say(piece: str, alone: bool) -> Samples:
            parts = self._characters.encode(spell_numbers(piece, self._language))
            return np.concatenate([np.zeros(0, np.float32), *(self._networks.speak(part, voice) for part in parts)])

        return Reading(self._language, say)

    def _voice(self, name: str) -> str:
        """A voice of the model; OpenAI's names mean its first."""
        if name in self.voices:
            return name
        if name.lower() in OPENAI_VOICES or name == "default":
            return next(iter(self.voices))
        raise unknown_voice(name, self.voices, "first")


def _vectors(folder: Path, args: EngineArgs, language: str) -> dict[Voice, Embeddings]:
    found = [f"{FOLDER}/{file.name}" for file in (folder / FOLDER).glob("*.bin")]
    files = {name: folder / file for name, file in voice_files(found).items()} | dict(args.voices)
    voices = voices_of(args.voices, found, language)
    if not voices:
        raise ModelBroken(
            f"{folder} has no voice: put a speaker's vector (512 float32) there as {FOLDER}/NAME.bin, or name one "
            "under `voices` in models.yaml"
        )
    return {voice: read_vector(voice.id, files[voice.id]) for voice in voices}
