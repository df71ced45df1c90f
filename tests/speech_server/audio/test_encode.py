from __future__ import annotations

import io
import itertools
import subprocess
import wave
from typing import get_args

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_server.audio.encode import AudioFormat, Encoder, Samples, file_rate, pcm16

FORMATS: tuple[AudioFormat, ...] = get_args(AudioFormat)
CONTAINERS = [name for name in FORMATS if name != "pcm"]
ENGINE_RATES = (24_000, 22_050)  # Kokoro's, Piper's
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)


def speech_like(seconds: float, rate: int) -> Samples:
    """Syllables of a buzz with harmonics, pauses between them, and noise: what makes encoders' frames vary."""
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 130 * n * t) / n for n in range(1, 20))
    hiss = np.random.default_rng(1).normal(0, 0.5, len(t))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * t), 0, 1)
    out = 0.12 * syllables * np.where(np.sin(2 * np.pi * 0.7 * t) > -0.6, buzz, hiss)
    out[-int(0.2 * rate) :] = 0
    return out.astype(np.float32)


def encode(
    audio_format: AudioFormat, samples: Samples, rate: int, wanted: int | None = None, *, streaming: bool = True
) -> bytes:
    encoder = Encoder(audio_format, rate, wanted, streaming=streaming)
    blocks = np.array_split(samples, 7)
    return b"".join([encoder.encode(block) for block in blocks]) + encoder.finish()


def decode(data: bytes) -> tuple[Samples, int]:
    with av.open(io.BytesIO(data)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("fltp", "mono", rate)
        frames = [
            part.to_ndarray()[0]
            for frame in itertools.chain(container.decode(audio=0), [None])
            for part in resampler.resample(frame)
        ]
    return np.concatenate(frames).astype(np.float32), rate


def told_duration(data: bytes) -> float:
    """Seconds as FFmpeg's demuxers tell without decoding: what ffprobe prints."""
    with av.open(io.BytesIO(data)) as container:
        assert container.duration is not None
        return container.duration / 1e6


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("rate", ENGINE_RATES)
@pytest.mark.parametrize("audio_format", CONTAINERS)
@pytest.mark.parametrize("seconds", [0.6, 5.3371, 31.7])
def test_a_file_lasts_as_long_as_its_samples(audio_format: AudioFormat, rate: int, streaming: bool, seconds: float):
    samples = speech_like(seconds, rate)
    data = encode(audio_format, samples, rate, streaming=streaming)
    decoded, file_hz = decode(data)
    assert len(decoded) / file_hz == pytest.approx(len(samples) / rate, abs=0.02)
    assert told_duration(data) == pytest.approx(len(samples) / rate, abs=0.02)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("audio_format", FORMATS)
def test_the_wished_sample_rate_is_the_files(audio_format: AudioFormat, rate: int):
    data = encode(audio_format, speech_like(1.0, 24_000), 24_000, rate)
    if audio_format == "pcm":
        assert len(data) == pytest.approx(2 * rate, abs=4)
        return
    decoded, file_hz = decode(data)
    assert file_hz == (48_000 if audio_format == "opus" else rate)
    # The nearest whole frame, of 1024 samples in aac and 576 in mp3.
    assert len(decoded) / file_hz == pytest.approx(1.0, abs=max(0.01, 520 / rate))


@pytest.mark.parametrize(("wanted", "rate"), [(9_000, 8_000), (20_000, 22_050), (46_000, 44_100), (None, 24_000)])
def test_mp3_takes_the_nearest_rate_it_knows(wanted: int | None, rate: int):
    assert file_rate("mp3", 24_000, wanted) == rate


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("audio_format", CONTAINERS)
def test_what_is_decoded_is_what_was_encoded(audio_format: AudioFormat, streaming: bool):
    """Same loudness within 1 dB, and in step: no delay of an encoder is left at the start, but one aac frame."""
    samples = speech_like(4.0, 24_000)
    decoded, file_hz = decode(encode(audio_format, samples, 24_000, streaming=streaming))
    again = Encoder("pcm", file_hz, 24_000)
    decoded = np.frombuffer(again.encode(decoded) + again.finish(), "<i2").astype(np.float32) / 32767
    size = min(len(decoded), len(samples))
    power = np.mean(np.square(decoded[:size])) / np.mean(np.square(samples[:size]))
    assert abs(10 * np.log10(power)) < 1
    correlation = np.fft.irfft(np.fft.rfft(decoded[:size], 2 * size) * np.conj(np.fft.rfft(samples[:size], 2 * size)))
    delay = int(np.argmax(correlation))
    delay -= 2 * size if delay > size else 0
    assert abs(delay) / 24_000 < (0.022 if audio_format == "aac" else 0.0025)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_too_loud_is_clipped_and_does_not_wrap(audio_format: AudioFormat):
    samples = np.full(24_000, 1.7, np.float32)
    if audio_format == "pcm":
        assert set(encode("pcm", samples, 24_000)[-200:]) == {0xFF, 0x7F}
        return
    if audio_format in ("wav", "flac"):
        decoded, _ = decode(encode(audio_format, samples, 24_000))
        assert decoded.min() > 0.99
        return
    tone = 3.0 * np.sin(2 * np.pi * 300 * np.arange(24_000) / 24_000).astype(np.float32)
    decoded, rate = decode(encode(audio_format, tone, 24_000))
    middle = decoded[rate // 4 : -rate // 4]
    crossings = np.count_nonzero(np.diff(np.signbit(middle)))
    assert crossings == pytest.approx(2 * 300 * len(middle) / rate, abs=4)  # a wrapped wave crosses far more often


def test_lowering_the_rate_leaves_no_alias():
    """A tone above half the new rate is gone, not folded down."""
    tone = 0.5 * np.sin(2 * np.pi * 7_000 * np.arange(48_000) / 24_000).astype(np.float32)
    data = np.frombuffer(encode("pcm", tone, 24_000, 8_000), "<i2")[800:-800]
    assert np.abs(data).max() < 32767 * 0.001


def test_a_whole_wav_has_true_sizes_and_a_streamed_one_says_unknown():
    samples = speech_like(1.0, 22_050)
    whole = encode("wav", samples, 22_050, streaming=False)
    with wave.open(io.BytesIO(whole)) as file:
        assert (file.getnframes(), file.getframerate(), file.getnchannels()) == (len(samples), 22_050, 1)
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8
    streamed = encode("wav", samples, 22_050)
    assert streamed[4:8] == streamed[40:44] == b"\xff\xff\xff\xff"
    assert streamed[44:] == whole[44:]


@pytest.mark.parametrize(
    ("audio_format", "seconds"), [("mp3", 0.2), ("wav", 0.02), ("opus", 0.2), ("aac", 1.2), ("pcm", 0.02)]
)
def test_a_stream_starts_early(audio_format: AudioFormat, seconds: float):
    encoder = Encoder(audio_format, 24_000)
    assert encoder.encode(speech_like(seconds, 24_000))


@pytest.mark.parametrize("audio_format", FORMATS)
def test_nothing_encoded_is_still_a_valid_end(audio_format: AudioFormat):
    Encoder(audio_format, 24_000).finish()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from([16_000, 22_050, 24_000]),
    st.lists(st.integers(0, 9_000), min_size=1, max_size=8),
)
def test_how_samples_are_cut_into_blocks_does_not_matter(audio_format: AudioFormat, rate: int, sizes: list[int]):
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, sum(sizes)).astype(np.float32)
    together, apart = Encoder(audio_format, rate), Encoder(audio_format, rate)
    one = together.encode(samples) + together.finish()
    blocks = np.split(samples, np.cumsum(sizes)[:-1])
    many = b"".join([apart.encode(block) for block in blocks]) + apart.finish()
    if audio_format == "opus":  # its pages end where blocks do, and its stream has a random number
        assert sum(sizes) == 0 or np.array_equal(decode(one)[0], decode(many)[0])
    else:
        assert one == many


@given(st.lists(st.floats(allow_nan=False, width=32), max_size=50))
def test_pcm_is_never_out_of_range(values: list[float]):
    data = np.frombuffer(pcm16(np.array(values, np.float32)), "<i2")
    assert np.array_equal(np.sign(data), np.sign(np.rint(np.clip(values, -1, 1) * np.float32(32767))))


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("audio_format", CONTAINERS)
def test_ffprobe_agrees(audio_format: AudioFormat, streaming: bool, tmp_path):
    """FFmpeg's own program, of whatever version this machine has, where it has one."""
    path = tmp_path / f"x.{audio_format}"
    samples = speech_like(12.3, 24_000)
    path.write_bytes(encode(audio_format, samples, 24_000, streaming=streaming))
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return
    assert float(told.stdout) == pytest.approx(len(samples) / 24_000, abs=0.02)
    assert told.stderr == ""
