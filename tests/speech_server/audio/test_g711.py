"""Against FFmpeg's own G.711, which PyAV brings along."""

from __future__ import annotations

from typing import Literal

import av
import numpy as np
import pytest

from speech_server.audio import g711

LAWS: list[tuple[Literal["audio/pcmu", "audio/pcma"], str]] = [("audio/pcmu", "pcm_mulaw"), ("audio/pcma", "pcm_alaw")]


def ffmpeg_decode(data: bytes, codec: str) -> list[int]:
    context = av.CodecContext.create(codec, "r")
    context.sample_rate, context.layout = 8000, "mono"
    return [int(value) for frame in context.decode(av.Packet(data)) for value in frame.to_ndarray().ravel()]


@pytest.mark.parametrize(("law", "codec"), LAWS)
def test_every_code_stands_for_the_value_ffmpeg_gives_it(law: g711.Law, codec: str):
    codes = bytes(range(256))
    assert (g711.decode(codes, law) * 32768).astype(int).tolist() == ffmpeg_decode(codes, codec)


@pytest.mark.parametrize(("law", "codec"), LAWS)
def test_every_sample_gets_the_nearest_code(law: g711.Law, codec: str):
    samples = np.arange(-32768, 32768, dtype=np.int64).astype(np.int16)
    values = np.sort(g711.decode(bytes(range(256)), law) * 32768)
    decoded = g711.decode(g711.encode(samples, law), law) * 32768
    nearest = np.abs(values[None, :] - samples[::97, None].astype(float)).min(axis=1)
    assert np.abs(decoded[::97] - samples[::97]).tolist() == nearest.tolist()
