"""Turns heard with what was said before them; audio that came in a message: decoded in blocks, within limits."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from speech_server.audio import g711
from speech_server.domain import Samples
from speech_server.engines.cores import core_count
from speech_server.realtime.live.transcribing import MOST_GUESSES, _decoded, _options, echoes
from speech_server.realtime.protocol.config import AudioFormat, G711Format, PcmFormat, TranscriptionSettings
from speech_server.realtime.protocol.events import ProtocolError
from speech_server.realtime.protocol.outputs import Transcribe, TranscribeUpload

TONE = (np.sin(np.arange(24_000 * 65) * 2 * np.pi * 440 / 24_000) * 8000).astype(np.int16)  # 65 s


def upload(audio_format: AudioFormat, *parts: bytes) -> TranscribeUpload:
    return TranscribeUpload(
        1, tuple(base64.b64encode(part).decode() for part in parts), audio_format, TranscriptionSettings()
    )


def decoded(audio_format: AudioFormat, *parts: bytes, max_seconds: float = 66) -> Samples:
    return np.concatenate(list(_decoded(upload(audio_format, *parts), max_seconds)))


def test_its_blocks_join_without_seams():
    samples = decoded(PcmFormat(), TONE.tobytes())
    assert len(samples) == 65 * 16_000
    expected = np.sin(np.arange(len(samples)) * 2 * np.pi * 440 / 16_000) * 8000 / 32768
    assert np.abs(samples - expected)[1000:-1000].max() < 3e-4


def test_its_parts_are_one_recording():
    halves = TONE[: len(TONE) // 2].tobytes(), TONE[len(TONE) // 2 :].tobytes()
    assert np.array_equal(decoded(PcmFormat(), *halves), decoded(PcmFormat(), TONE.tobytes()))


def test_telephone_audio_has_its_own_rate():
    data = g711.encode(TONE[::3].copy(), "audio/pcmu")
    assert len(decoded(G711Format(type="audio/pcmu"), data)) == 65 * 16_000


@pytest.mark.parametrize(
    ("audio_format", "data"), [(PcmFormat(), bytes(48_002)), (G711Format(type="audio/pcma"), bytes(8_001))]
)
def test_more_than_the_allowed_seconds_are_refused(audio_format: AudioFormat, data: bytes):
    with pytest.raises(ProtocolError, match="1 s"):
        decoded(audio_format, data, max_seconds=1)


def test_guesses_take_half_of_the_cores_this_process_has():
    assert max(1, core_count() // 2) == MOST_GUESSES


def test_the_words_before_come_after_the_clients_own_prompt():
    work = Transcribe(1, np.zeros(16_000, np.float32), TranscriptionSettings(prompt="Dickens."), True, before="It was")
    assert _options(work, final=True).prompt == "Dickens. It was"
    assert _options(Transcribe(1, work.samples, TranscriptionSettings(), True), final=True).prompt is None


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        (" The second.", True),
        ("paid by", True),
        ("", True),
        (" The second one.", False),
        (" second the", False),
        (" Cond.", False),
    ],
)
def test_a_text_that_only_repeats_the_words_before_is_an_echo(text: str, echo: bool):
    assert echoes(text, "Speech on demand, paid by the second.") is echo
