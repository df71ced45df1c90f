"""The speech server, whose GPU is lost at its first batch: what CTranslate2 raises then, it raises on a CPU, once.

`python -m tests.losing_server FILE`: the file, made by whoever loses it, keeps the next one whole.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ctranslate2

from speech_server.__main__ import main

generate = ctranslate2.models.Whisper.generate


def lose(model: Any, *args: Any, **options: Any) -> Any:
    try:
        Path(sys.argv[1]).touch(exist_ok=False)
    except FileExistsError:
        return generate(model, *args, **options)
    raise RuntimeError("CUDA failed with error an illegal memory access was encountered")


ctranslate2.models.Whisper.generate = lose
main([])
