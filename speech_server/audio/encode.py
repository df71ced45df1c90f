"""Samples to mp3, wav, flac, opus, aac or pcm, in this process, block by block."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import numpy as np

from speech_server.audio.resample import Resampler
from speech_server.audio.spool import Spool
from speech_server.domain import Samples

AudioFormat = Literal["mp3", "wav", "flac", "opus", "aac", "pcm"]

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
# What the codecs know; wav, flac and pcm take any rate.
_RATES: dict[str, tuple[int, ...]] = {
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "aac": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "opus": (48_000,),
}


class Codec(Protocol):
    """Turns mono samples in -1..1 at its rate into bytes. Blocking; any thread, one at a time."""

    def feed(self, samples: Samples) -> bytes: ...

    def finish(self) -> Iterator[bytes]: ...


class Encoder:
    """One file or stream. `encode` blocks in order, then `end`; both give the bytes that are ready. Then `close`.

    `rate` is the file's (default: the source's; the nearest the codec knows). A wav has true sizes unless it is
    `streaming`; a flac comes whole in any case, since its header says how long it is and players rely on that. What
    comes whole waits on disk, of which `keep_free` bytes stay free: StorageFull beyond.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        source_rate: int,
        rate: int | None = None,
        *,
        streaming: bool = True,
        keep_free: int = 0,
    ) -> None:
        self.rate = file_rate(audio_format, source_rate, rate)
        self._resampler = Resampler(source_rate, self.rate)
        self._spool = Spool(keep_free)
        self._codec = _open(audio_format, self.rate, streaming, self._spool)

    def encode(self, samples: Samples) -> bytes:
        return self._codec.feed(_clip(self._resampler.feed(samples)))

    def end(self) -> Iterator[bytes]:
        """Blocking in each of its steps."""
        yield self._codec.feed(_clip(self._resampler.finish()))
        yield from self._codec.finish()

    def finish(self) -> bytes:
        try:
            return b"".join(self.end())
        finally:
            self.close()

    def close(self) -> None:
        self._spool.close()


def file_rate(audio_format: AudioFormat, source_rate: int, wanted: int | None) -> int:
    """The rate of the file: the nearest to what is wanted that the codec knows."""
    if wanted is None and audio_format == "aac":
        # An aac file is a whole number of frames of 1024 samples: high rates make for fine steps of duration.
        return 48_000 if 48_000 % source_rate == 0 else 44_100
    rate = wanted or source_rate
    return min(_RATES.get(audio_format, (rate,)), key=lambda known: (abs(known - rate), -known))


def _open(audio_format: AudioFormat, rate: int, streaming: bool, spool: Spool) -> Codec:
    if audio_format == "pcm":
        return _Streamed()
    if audio_format == "wav":
        return _Streamed(_wav_header(rate, None)) if streaming else _WholeWav(rate, spool)
    # PyAV takes 80 ms to import and the two formats most asked for need it: only when it is needed.
    from speech_server.audio import codecs

    kinds: dict[str, Callable[[int], Codec]] = {
        "mp3": codecs.Mp3,
        "aac": codecs.Aac,
        "opus": codecs.Opus,
        "flac": lambda rate: codecs.Flac(rate, spool),
    }
    return kinds[audio_format](rate)


def _clip(samples: Samples) -> Samples:
    return np.clip(samples, -1.0, 1.0)


def pcm16(samples: Samples) -> bytes:
    """Little-endian signed 16 bit; samples beyond -1..1 are clipped."""
    data: bytes = np.rint(_clip(samples) * 32767.0).astype("<i2").tobytes()
    return data


class _Streamed:
    """The samples as they come, after a header where there is one."""

    def __init__(self, header: bytes = b"") -> None:
        self._header = header

    def feed(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + pcm16(samples)

    def finish(self) -> Iterator[bytes]:
        yield self._header


class _WholeWav:
    def __init__(self, rate: int, spool: Spool) -> None:
        self._rate = rate
        self._spool = spool
        self._size = 0

    def feed(self, samples: Samples) -> bytes:
        self._size += self._spool.write(pcm16(samples))
        return b""

    def finish(self) -> Iterator[bytes]:
        """The header alone, then the samples."""
        yield _wav_header(self._rate, self._size)
        yield from self._spool.pieces()


_UNKNOWN = 0xFFFFFFFF


def _wav_header(rate: int, size: int | None) -> bytes:
    """44 bytes for 16 bit mono; `size` None for a stream, whose length nobody knows yet."""
    if size is None or size + 36 >= _UNKNOWN:
        riff = data = _UNKNOWN
    else:
        riff, data = 36 + size, size
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", data
    )


def wav_size(header: bytes) -> int | None:
    """Bytes of the whole file that begins with this header; None where it does not say."""
    riff = int.from_bytes(header[4:8], "little")
    return None if riff == _UNKNOWN else riff + 8
