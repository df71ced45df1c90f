"""What the clients' scripts need: the clip as samples, and to say what they found."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np

GATEWAY = os.environ["GATEWAY"]
CLIP = Path(os.environ["CLIPS"], "english.opus")
SPANISH = Path(os.environ["CLIPS"], "spanish.opus")
SPEECH_MODEL = os.environ["SPEECH_MODEL"]


def samples(rate: int) -> bytes:
    """16-bit mono."""
    with av.open(str(CLIP)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        frames = [frame for raw in container.decode(audio=0) for frame in resampler.resample(raw)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).tobytes()


def heard(what: str, text: str) -> None:
    print(f"  {what}: {text.strip()[:70]}", flush=True)
    assert "quick brown fox" in text.lower(), text


def got(what: str, size: int) -> None:
    print(f"  {what}: {size} bytes", flush=True)
    assert size > 10_000
