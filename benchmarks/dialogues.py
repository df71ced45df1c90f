"""Conversations of Kokoro's voices, with the truth of who speaks when: made here, spoken once, kept in the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from benchmarks.clips import CACHE
from speech_server.domain import RATE, Samples, SpeakerTurn

_CACHE = CACHE / "dialogues"
MODEL = "speaches-ai/Kokoro-82M-v1.0-ONNX"
VOICES = (
    "af_heart", "af_bella", "bf_emma", "bf_isabella", "am_michael", "am_fenrir", "bm_george", "bm_lewis",
)  # fmt: skip
SENTENCES = (
    "Good morning, and thank you all for coming in so early.",
    "Yes.",
    "I went through the figures last night and there is one thing I do not understand.",
    "Could you say that again, please?",
    "The train to the coast leaves at half past nine from platform four.",
    "No, not really.",
    "My grandmother used to bake bread every Sunday, and the whole street could smell it.",
    "We should write to them before the end of the week, or they will think we have forgotten.",
    "That is a very good question.",
    "The second experiment gave us almost the same result, although the temperature was lower.",
    "Well, it depends on how much time we have.",
    "I would rather wait until the rain has stopped and then walk home along the river.",
    "Okay, let us go on.",
    "Nobody told me that the meeting had been moved to the large room on the third floor.",
    "She has been learning the violin for eleven years and still practises every evening.",
    "Exactly.",
    "If you turn left after the bridge you will see a small red house with a green door.",
    "The new version is faster, but it uses more memory than I would like.",
    "I am not so sure about that.",
    "What did the doctor say about your knee?",
    "There were about two hundred people in the hall, and most of them stayed until the end.",
    "Fine by me.",
    "The price of coffee has gone up again, and so has everything else.",
    "In the end we decided to keep the old machine and buy a better cable.",
)
_EACH = 12  # sentences that a voice says
_QUIET = 10 ** (-40 / 20)  # of the peak: where a sentence begins and ends


@dataclass(frozen=True)
class Said:
    turn: SpeakerTurn
    text: str


@dataclass(frozen=True)
class Dialogue:
    samples: Samples  # at RATE
    said: list[Said]

    @property
    def turns(self) -> list[SpeakerTurn]:
        return [each.turn for each in self.said]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def dialogue(people: int, seed: int, *, turns: int = 24, overlap: float = 0.0, snr: float | None = None) -> Dialogue:
    """`turns` sentences with pauses of 0.1 to 0.8 s between them; with the probability `overlap` a sentence begins 0.2
    to 0.8 s before the one before has ended. `snr`: dB of white noise below the speech."""
    random = np.random.default_rng(seed)
    voices = [str(voice) for voice in random.permutation(VOICES)[:people]]
    said: list[Said] = []
    unsaid: dict[str, list[int]] = {}
    parts: list[tuple[int, Samples]] = []
    end, before = 0.5, 0.0
    for number in range(turns):
        others = [voice for voice in voices if not said or voice != said[-1].turn.speaker] or voices
        voice = voices[number] if number < people else others[int(random.integers(len(others)))]
        left = unsaid.setdefault(voice, [])
        if not left:  # nobody says a sentence again before they have said them all
            left += random.permutation(_EACH).tolist()
        text, sound = _sentence(voice, left.pop())
        sound = sound * (0.8 * 10 ** (random.uniform(-4, 0) / 20) / np.abs(sound).max())
        length = len(sound) / RATE
        start = end + random.uniform(0.1, 0.8)
        if number and people > 1 and random.random() < overlap:
            start = end - min(random.uniform(0.2, 0.8), 0.5 * length, 0.5 * before)
        parts.append((round(start * RATE), sound))
        said.append(Said(SpeakerTurn(start, start + length, voice), text))
        end, before = max(end, start + length), length
    samples = np.zeros(round((end + 0.5) * RATE), np.float32)
    for first, sound in parts:
        samples[first : first + len(sound)] += sound
    if snr is not None:
        power = float(np.mean(np.concatenate([sound for _, sound in parts]) ** 2)) / 10 ** (snr / 10)
        samples += random.normal(0, np.sqrt(power), len(samples)).astype(np.float32)
    return Dialogue(np.clip(samples, -1, 1), said)


def prepare() -> Iterator[tuple[int, int]]:
    """Speaks what is not in the cache; gives (done, all)."""
    missing = [(voice, number) for voice in VOICES for number in range(_EACH) if not _path(voice, number).exists()]
    if not missing:
        return
    from benchmarks.rows.tts import kokoro_library

    library = kokoro_library()
    _CACHE.mkdir(parents=True, exist_ok=True)
    for done, (voice, number) in enumerate(missing):
        yield done, len(missing)
        language = "en-gb" if voice.startswith("b") else "en-us"
        samples, rate = library.create(_text(voice, number), voice=voice, lang=language)
        sound = soxr.resample(samples, rate, RATE).astype(np.float32)
        part = _path(voice, number).with_suffix(f".{os.getpid()}.npy")
        np.save(part, sound)
        part.replace(_path(voice, number))


def _text(voice: str, number: int) -> str:
    return SENTENCES[(2 * number + VOICES.index(voice)) % len(SENTENCES)]


def _path(voice: str, number: int) -> Path:
    return _CACHE / f"{voice}-{number}.npy"


def _sentence(voice: str, number: int) -> tuple[str, Samples]:
    sound = np.load(_path(voice, number))
    loud = np.flatnonzero(np.abs(sound) > _QUIET * np.abs(sound).max())
    return _text(voice, number), sound[loud[0] : loud[-1] + 1]
