"""A Kokoro v1.1-zh a few megabytes large: the released files' names, its 103 voices, a vocabulary of its kind, inputs
of its names and types, and a network whose sound can be read.

Every token is spoken as 240 equal samples of its number in thousandths above the voice's first number. The numbers of
the real vocabulary are others; its phonemes are those of misaki's front end for it, and of espeak.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from kokoro_onnx.config import DEFAULT_VOCAB

from speech_server.domain import Samples

HOP, FIRST = 240, 0.1
FILES = ("kokoro-v1.1-zh.onnx", "voices-v1.1-zh.bin", "config.json")
_MEN = (
    9, 10, 11, 12, 13, 14, 15, 16, 20, 25, 29, 30, 31, 33, 34, 35, 37, 41, 45, 50, 52, 53, 54, 55, 56, 57, 58, 61, 62,
    63, 64, 65, 66, 68, 69, 80, 81, 82, 89, 91, 95, 96, 97, 98, 100,
)  # fmt: skip
VOICES = ("af_maple", "af_sol", "bf_vale", *(f"z{'m' if one in _MEN else 'f'}_{one:03}" for one in range(1, 101)))
_MANDARIN = (
    "ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙㄚㄛㄜㄝㄞㄟㄠㄡㄢㄣㄤㄥㄦㄧㄨㄩㄭ"
    "十月压言阳要阴应用又中穵外万王为文瓮我元云/12345R"
)
VOCABULARY = {phoneme: number for number, phoneme in enumerate(dict.fromkeys([*DEFAULT_VOCAB, *_MANDARIN]), 1)}
_NETWORK = f"""<ir_version: 8, opset_import: ["" : 17]>
kokoro (int64[1, tokens] input_ids, float[1, 256] style, int32[1] speed) => (float[samples] waveform) {{
    flat = Constant <value = int64[1] {{-1}}> ()
    none = Constant <value = int64 {{0}}> ()
    thousand = Constant <value = float {{1000.0}}> ()
    numbers = Cast <to = 1> (input_ids)
    sequence = Reshape (numbers, flat)
    above = Div (sequence, thousand)
    voice = Reshape (style, flat)
    first = Gather (voice, none)
    level = Add (above, first)
    last = Constant <value = int64[1] {{1}}> ()
    column = Unsqueeze (level, last)
    hop = Constant <value = int64[2] {{1, {HOP}}}> ()
    long = Expand (column, hop)
    waveform = Reshape (long, flat)
}}"""


def write_model(folder: Path) -> Path:
    """The n-th voice's first number is FIRST and n thousandths more."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.parser.parse_model(_NETWORK)
    onnx.checker.check_model(model)
    network, voices, config = (folder / name for name in FILES)
    onnx.save(model, network)
    with voices.open("wb") as file:
        np.savez_compressed(
            file, **{name: np.full((510, 1, 256), FIRST + at / 1000, "<f4") for at, name in enumerate(VOICES)}
        )
    config.write_text(json.dumps({"n_token": 178, "vocab": VOCABULARY}, ensure_ascii=False), "utf-8")
    return folder


def said(samples: Samples, voice: str = "af_maple") -> str:
    """The phonemes a sound was made of."""
    phonemes = {number: phoneme for phoneme, number in VOCABULARY.items()}
    levels = np.trim_zeros(samples, "b")[HOP // 2 :: HOP] - FIRST - VOICES.index(voice) / 1000
    return "".join(phonemes[number] for level in levels if (number := round(float(level) * 1000)))
