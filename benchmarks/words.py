"""How many words were heard wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Word error rate over all pairs, 0..1 (more when much was invented); case and punctuation do not count."""
    return float(jiwer.wer([plain(text) for text in said], [plain(text) for text in heard]))
