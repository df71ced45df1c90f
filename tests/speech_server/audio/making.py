"""Makes audio files of every kind with PyAV, for the tests."""

from __future__ import annotations

import io

import av
import numpy as np

# container, codec, rate it wants (None: any)
KINDS: dict[str, tuple[str, str, int | None]] = {
    "wav": ("wav", "pcm_s16le", None),
    "wav-float": ("wav", "pcm_f32le", None),
    "wav-24": ("wav", "pcm_s24le", None),
    "wav-ulaw": ("wav", "pcm_mulaw", None),
    "flac": ("flac", "flac", None),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "opus": ("ogg", "libopus", 48_000),
    "m4a": ("ipod", "aac", 44_100),
    "mp4": ("mp4", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "pcm_f32le", None),
    "mov": ("mov", "pcm_s16be", None),
    "aac": ("adts", "aac", 44_100),
    "aiff": ("aiff", "pcm_s16be", None),
    "au": ("au", "pcm_mulaw", None),
    "caf": ("caf", "pcm_s16be", None),
    "w64": ("w64", "pcm_s16le", None),
    "mpegts": ("mpegts", "aac", 44_100),
    "avi": ("avi", "libmp3lame", 44_100),
}


def tone(seconds: float, rate: int, frequency: float = 440.0) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype("<i2")


def sweep(seconds: float, rate: int) -> np.ndarray:
    """Never the same at two times: from 200 Hz to 2 kHz, now loud, now quiet."""
    at = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (200 + 900 * at / seconds) * at
    return (8000 * np.sin(phase) * (1.1 + np.sin(at * at))).astype("<i2")


def make(
    kind: str,
    seconds: float = 1.0,
    rate: int = 16_000,
    layout: str = "mono",
    *,
    video: bool = False,
    sound: np.ndarray | None = None,
) -> bytes:
    """A file with `sound`, or with a tone of 440 Hz, on every channel."""
    container, codec, wanted = KINDS[kind]
    rate = wanted or rate
    samples = tone(seconds, rate) if sound is None else sound
    channels = av.AudioLayout(layout).nb_channels
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        picture = output.add_stream("mpeg4", rate=5) if video else None
        track = output.add_stream(codec, rate=rate)
        assert isinstance(track, av.AudioStream)
        track.layout = layout
        if picture:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
            for _ in range(round(5 * seconds)):
                output.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
            output.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels).reshape(1, -1), "s16", layout)
        frame.sample_rate = rate
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return file.getvalue()
