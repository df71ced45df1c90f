"""Audio that came in a message: decoded in blocks, within the limits of a recording."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from speech_server.engines.cores import core_count
from speech_server.realtime import g711
from speech_server.realtime.config import AudioFormat, G711Format, PcmFormat, Transcription
from speech_server.realtime.events import ProtocolError
from speech_server.realtime.outputs import TranscribeUpload
from speech_server.realtime.transcribing import MOST_GUESSES, _decode_upload

TONE = (np.sin(np.arange(24_000 * 65) * 2 * np.pi * 440 / 24_000) * 8000).astype(np.int16)  # 65 s


def upload(audio_format: AudioFormat, *parts: bytes) -> TranscribeUpload:
    return TranscribeUpload(1, tuple(base64.b64encode(part).decode() for part in parts), audio_format, Transcription())


def test_its_blocks_join_without_seams():
    pcm = np.frombuffer(_decode_upload(upload(PcmFormat(), TONE.tobytes()), 66), np.int16)
    assert len(pcm) == 65 * 16_000
    expected = np.sin(np.arange(len(pcm)) * 2 * np.pi * 440 / 16_000) * 8000
    assert np.abs(pcm - expected)[1000:-1000].max() < 10


def test_its_parts_are_one_recording():
    halves = TONE[: len(TONE) // 2].tobytes(), TONE[len(TONE) // 2 :].tobytes()
    assert _decode_upload(upload(PcmFormat(), *halves), 66) == _decode_upload(upload(PcmFormat(), TONE.tobytes()), 66)


def test_telephone_audio_has_its_own_rate():
    data = g711.encode(TONE[::3].copy(), "audio/pcmu")
    assert len(_decode_upload(upload(G711Format(type="audio/pcmu"), data), 66)) == 65 * 32_000


@pytest.mark.parametrize(
    ("audio_format", "data"), [(PcmFormat(), bytes(48_002)), (G711Format(type="audio/pcma"), bytes(8_001))]
)
def test_more_than_the_allowed_seconds_are_refused(audio_format: AudioFormat, data: bytes):
    with pytest.raises(ProtocolError, match="1 s"):
        _decode_upload(upload(audio_format, data), 1)


def test_guesses_take_half_of_the_cores_this_process_has():
    assert max(1, core_count() // 2) == MOST_GUESSES
