"""The lossy formats and flac, with FFmpeg's encoders through PyAV.

mp3 and aac are a whole number of frames, the number nearest to the length of the samples. They carry no header that
tells players what to skip: a stream cannot have one, and players disagree about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from speech_server.audio.adts import constant_size, fill, with_header
from speech_server.audio.spool import Spool
from speech_server.domain import Samples


class _Frames:
    """Frames straight from the codec, without a container."""

    skipped = 0  # frames at the start that hold only the encoder's delay

    def __init__(self, codec: str, rate: int, bit_rate: int, frame_size: int, options: dict[str, str]) -> None:
        context = av.CodecContext.create(codec, "w")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate = rate
        context.layout = "mono"
        context.format = "fltp"
        context.bit_rate = bit_rate
        context.time_base = Fraction(1, rate)
        context.options = options
        self.rate = rate
        self._context = context
        self._frame_size = frame_size
        self._fed = 0
        self._made = 0

    def feed(self, samples: Samples) -> bytes:
        if not len(samples):
            return b""
        frame = _frame(samples, "fltp", self.rate, self._fed)
        self._fed += len(samples)
        return self.pack(self._take(self._context.encode(frame), None))

    def finish(self) -> Iterator[bytes]:
        if self._fed:
            stop = round(self._fed / self._frame_size) + self.skipped
            yield self.pack(self._take(self._context.encode(None), stop), last=True)

    def pack(self, frames: list[bytes], *, last: bool = False) -> bytes:
        return b"".join(frames)

    def _take(self, packets: list[av.Packet[Any]], stop: int | None) -> list[bytes]:
        first = self._made
        self._made += len(packets)
        kept = packets[max(0, self.skipped - first) : None if stop is None else max(0, stop - first)]
        return [bytes(packet) for packet in kept]


class Mp3(_Frames):
    """Constant bit rate, every frame complete in itself: without a bit reservoir the first frames can be left out."""

    def __init__(self, rate: int) -> None:
        size = 1152 if rate >= 32_000 else 576
        # LAME's delay with a decoder's is 1105 samples: one long frame or two short ones, less 47 samples of silence.
        self.skipped = 1152 // size
        bit_rate = 96_000 if rate >= 32_000 else 64_000 if rate >= 16_000 else 32_000
        super().__init__("libmp3lame", rate, bit_rate, size, {"reservoir": "0"})


class Aac(_Frames):
    """AAC-LC in ADTS frames, filled up to a constant bit rate.

    An ADTS stream says nowhere how long it is. FFmpeg reckons the time from the number of bytes and the bit rate of
    the first frames, so these must be worth what all are on average.
    """

    def __init__(self, rate: int) -> None:
        bit_rate = min(64_000, rate * 8 // 3)
        super().__init__("aac", rate, bit_rate, 1024, {})
        self._least = bit_rate * 1024 // rate // 8 * 6 // 5  # bytes: the encoder's mean, and some to make good with
        self._reference = min(50, 5_510 * rate // 1_024_000)  # frames that FFmpeg looks at: 1.1 s at the usual rates
        self._constant = 0
        self._held: list[bytes] = []
        self._debt = 0  # bytes sent beyond the constant rate, to be saved on the next frames

    def pack(self, frames: list[bytes], *, last: bool = False) -> bytes:
        if not self._constant:
            self._held += frames
            if len(self._held) < self._reference and not last:
                return b""
            self._constant = constant_size([len(frame) for frame in self._held[: self._reference]], self._least)
            frames, self._held = self._held, []
        return b"".join(with_header(self._fill(frame), self.rate) for frame in frames)

    def _fill(self, frame: bytes) -> bytes:
        filled = fill(frame, self._constant - self._debt)
        self._debt += len(filled) - self._constant
        return filled


class Opus:
    """Opus in Ogg, in pages of a tenth of a second so that a stream starts soon. `application`: audio or voip;
    `effort`: 0 to 10, of which 1 takes a fifth of the time of 10."""

    def __init__(self, rate: int, bit_rate: int = 48_000, application: str = "audio", effort: int = 10) -> None:
        self._sink = _Sink()
        self._container = av.open(self._sink, "w", format="ogg", options={"page_duration": "100000"})
        self._stream = _audio_stream(self._container, "libopus", rate, "flt")
        self._stream.bit_rate = bit_rate
        self._stream.options = {"application": application, "compression_level": str(effort)}
        self._rate = rate
        self._fed = 0

    def feed(self, samples: Samples) -> bytes:
        if len(samples):
            self._container.mux(self._stream.encode(_frame(samples, "flt", self._rate, self._fed)))
            self._fed += len(samples)
        return self._sink.take()

    def finish(self) -> Iterator[bytes]:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        yield self._sink.take()


class Flac:
    """FLAC, whole at the end: the number of samples stands in its first bytes."""

    def __init__(self, rate: int, spool: Spool) -> None:
        self._spool = spool
        self._container = av.open(spool, "w", format="flac")
        self._stream = _audio_stream(self._container, "flac", rate, "s16")
        self._rate = rate
        self._fed = 0

    def feed(self, samples: Samples) -> bytes:
        if len(samples):
            whole = np.rint(samples * 32767.0).astype(np.int16)
            self._container.mux(self._stream.encode(_frame(whole, "s16", self._rate, self._fed)))
            self._fed += len(samples)
        return b""

    def finish(self) -> Iterator[bytes]:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        yield from self._spool.pieces()


class _Sink:
    """Where a muxer writes that cannot seek back."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data, self._data = bytes(self._data), bytearray()
        return data


def _audio_stream(container: av.container.OutputContainer, codec: str, rate: int, sample_format: str) -> AudioStream:
    stream = container.add_stream(codec, rate=rate, layout="mono")
    assert isinstance(stream, AudioStream)
    stream.format = sample_format
    return stream


def _frame(samples: NDArray[np.float32] | NDArray[np.int16], kind: str, rate: int, at: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format=kind, layout="mono")
    frame.sample_rate = rate
    frame.pts = at
    frame.time_base = Fraction(1, rate)
    return frame
