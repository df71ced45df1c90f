"""Base64 in, samples and probabilities out, with the real voice detector."""

from __future__ import annotations

import base64
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.audio import g711
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.silero import engine as silero
from speech_server.models.library.catalog import SILERO, Catalog
from speech_server.models.library.store import Store
from speech_server.realtime.live.ear import Ear
from speech_server.realtime.protocol.config import G711Format, PcmFormat
from speech_server.realtime.protocol.events import Append
from speech_server.settings import Settings


def detector() -> silero.Detector:
    folder = Store(Settings(), Catalog(Settings())).folder(SILERO)
    assert folder is not None
    return silero.load(folder, EngineArgs())


DETECTOR = detector()
TONE = (np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000) * 8000).astype(np.int16)


def append(data: bytes) -> Append:
    return Append(type="input_audio_buffer.append", audio=base64.b64encode(data).decode())


def heard(ear: Ear, pieces: list[bytes]) -> tuple[np.ndarray, list[float]]:
    parts = [ear.hear([append(piece)]) for piece in pieces] + [ear.finish()]
    return np.concatenate([part.samples for part in parts]), [p for part in parts for p in part.probabilities]


@settings(max_examples=20)
@given(st.lists(st.integers(1, 47_999), max_size=10))
def test_it_hears_the_same_however_the_bytes_are_cut(cuts: list[int]):
    data = TONE.tobytes()
    edges = [0, *sorted(set(cuts)), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    samples, probabilities = heard(Ear(PcmFormat(), DETECTOR.stream()), pieces)
    whole, expected = heard(Ear(PcmFormat(), DETECTOR.stream()), [data])
    assert len(samples) == len(whole) == 16_000
    assert np.abs(samples - whole).max() < 1e-4
    assert probabilities == pytest.approx(expected, abs=1e-3)


def test_a_tone_keeps_its_height_and_loudness():
    samples, _ = heard(Ear(PcmFormat(), DETECTOR.stream()), [TONE.tobytes()])
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(np.argmax(spectrum)) == 440
    assert np.abs(samples[2000:14_000]).max() == pytest.approx(8000 / 32768, rel=0.02)


def test_telephone_audio_is_heard_at_its_own_rate():
    tone = TONE[::3].copy()
    samples, _ = heard(Ear(G711Format(type="audio/pcma"), DETECTOR.stream()), [g711.encode(tone, "audio/pcma")])
    assert int(np.argmax(np.abs(np.fft.rfft(samples)))) == 440


def test_a_bad_append_is_refused_and_the_others_are_heard():
    bad = Append(type="input_audio_buffer.append", audio="%%%", event_id="evt_7")
    result = Ear(PcmFormat(), DETECTOR.stream()).hear([append(TONE.tobytes()), bad, append(TONE.tobytes())])
    assert [error.event_id for error in result.refused] == ["evt_7"]
    assert len(result.samples) > 31_000


def test_a_change_of_format_starts_afresh():
    ear = Ear(PcmFormat(), DETECTOR.stream())
    ear.hear([append(TONE.tobytes()[:-1])])
    ear.listen_for(G711Format(type="audio/pcmu"))
    samples, _ = heard(ear, [g711.encode(TONE[::3].copy(), "audio/pcmu")])
    assert len(samples) == 16_000
