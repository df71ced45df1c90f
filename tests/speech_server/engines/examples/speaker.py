"""The smallest speaker: each character is twenty milliseconds of a level of its own."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np

from speech_server.domain import Samples, Voice
from speech_server.engines.asked import check_spoken
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.queue.speaker import QueuedSpeaker, Reading
from speech_server.errors import InvalidRequest

STEP, LOUDEST = 160, 1 << 9  # samples a character has, and the character that would be as loud as can be


class Example(QueuedSpeaker):
    sample_rate = 8_000
    voices = MappingProxyType({name: Voice(name, "en") for name in ("plain", "upside_down")})
    memory_bytes = 1

    def _read(self, options: SpeakOptions) -> Reading:
        check_spoken(options.language, "en")
        if options.voice not in self.voices:
            raise InvalidRequest(f"the example has the voices {', '.join(self.voices)}", param="voice")
        sign = 1 if options.voice == "plain" else -1

        def say(piece: str, alone: bool) -> Samples:
            """On a thread of the queue's."""
            levels = [ord(letter) / LOUDEST for letter in piece if ord(letter) < LOUDEST]
            return np.repeat(np.array(levels, np.float32) * np.float32(sign), STEP)

        return Reading("en", say)


def load(folder: Path, args: EngineArgs) -> Example:
    return Example("example", args)
