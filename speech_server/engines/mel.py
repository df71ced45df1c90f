"""The spectrogram that Whisper's family was trained on: mel bands of power, and their logarithm.

As librosa.feature.melspectrogram(sr=16000, n_fft=400, hop_length=160) has it: Slaney's scale and norm, a periodic Hann
window, frames centred.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import RATE, Samples

WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
_BLOCK = 256  # frames at once: they stay in a core's cache
_QUIETEST, _RANGE = np.float32(1e-10), np.float32(8)  # power; powers of ten below the loudest that are told apart
_LOG10 = np.float32(np.log10(np.e))
_LINEAR = 200 / 3  # Hz per mel below 1 kHz
_KNEE = 1000 / _LINEAR  # mel at 1 kHz, where the scale becomes logarithmic
_STEP = np.log(6.4) / 27  # per mel above it


def mel_frames(samples: Samples, bands: int) -> NDArray[np.float32]:
    """(n,) at 16 kHz -> (1 + n // HOP, bands). Beyond the ends is a mirror."""
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window, filters = _window(), _filters(bands)
    mel = np.empty((len(frames), bands), np.float32)
    for first in range(0, len(frames), _BLOCK):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK] * window, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        np.matmul(power.astype(np.float32, copy=False), filters, out=mel[first : first + _BLOCK])
    return mel


def log_mel(samples: Samples, bands: int, length: int) -> NDArray[np.float32]:
    """(bands, length // HOP): Whisper's features of the samples, and of silence after them up to `length`."""
    heard = min(len(samples) + WINDOW, length)  # from there on all is silence, whose features need no working out
    mel = mel_frames(np.pad(samples, (0, heard - len(samples))), bands)
    features = np.full((bands, length // HOP), _QUIETEST)
    count = min(len(mel), features.shape[1])
    np.maximum(mel[:count].T, _QUIETEST, out=features[:, :count])
    np.log(features, out=features)
    features *= _LOG10
    np.maximum(features, features.max() - _RANGE, out=features)
    features += 4
    features /= 4
    return features


@cache
def _window() -> NDArray[np.float32]:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@cache
def _filters(bands: int) -> NDArray[np.float32]:
    """Triangles of equal area, (WINDOW // 2 + 1, bands)."""
    highest = _KNEE + np.log(RATE / 2 / 1000) / _STEP
    mel = np.linspace(0, highest, bands + 2)
    corners = np.where(mel < _KNEE, mel * _LINEAR, 1000 * np.exp(_STEP * (mel - _KNEE)))
    bins = np.linspace(0, RATE / 2, WINDOW // 2 + 1)[:, None]
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    filters: NDArray[np.float32] = triangles.astype(np.float32)
    return filters
