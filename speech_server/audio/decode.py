"""Any audio or video file -> blocks of mono float32 samples, in bounded memory and for a bounded amount of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from speech_server.audio.budget import Budget, Limits, Reader, Stopped
from speech_server.audio.containers import open_container
from speech_server.errors import AudioUnreadable, InvalidRequest, RequestTooLarge

__all__ = ["Limits", "stream"]

Samples = NDArray[np.float32]
PCM_RATE = 16_000
SLICE = 0.1  # seconds of work after which others go first

_RATES = range(4_000, 384_001)  # a damaged rate would make hours of seconds
# New tags may come between two packets of these, and FFmpeg's time for them grows with their square: a page of Ogg has
# at most 65,307 bytes, read in steps of 32 KiB.
_TAGGED = {"ogg": 128 << 10}
_UNREADABLE = "the audio cannot be decoded: send wav, mp3, flac, ogg, opus, m4a, webm, mp4 or another common format"
_NOTHING = np.empty(0, np.int16)
_EMPTY = "the audio holds no samples: send a recording that is longer than zero seconds"


def stream(
    source: Path | BinaryIO,
    limits: Limits,
    stop: threading.Event | None = None,
    *,
    pcm: bool = False,
    rate: int = PCM_RATE,
    block_seconds: float = 30.0,
) -> Iterator[Samples]:
    """Blocks of at most about `block_seconds`, at `rate` Hz, all channels mixed into one; an empty one wherever the
    next has taken SLICE seconds and is not ready: whoever shares threads may let others go first.

    `pcm`: the source is raw s16le, mono, 16 kHz. Blocking; ends once `stop` is set. Damaged parts are left out; what
    could be decoded is kept. Raises AudioUnreadable where nothing can be, InvalidRequest for audio without samples,
    RequestTooLarge for more than the limits.
    """
    budget = Budget(limits, stop)
    file = source.open("rb") if isinstance(source, Path) else source
    try:
        pieces = _read_pcm(file, rate) if pcm else _read_container(file, rate, budget)
        yield from _bounded(_join(pieces, int(block_seconds * rate)), limits.seconds, rate)
    except Stopped:
        return
    finally:
        if isinstance(source, Path):
            file.close()


def _bounded(blocks: Iterator[Samples], seconds: float, rate: int) -> Iterator[Samples]:
    total = 0
    for block in blocks:
        total += len(block)
        if total > seconds * rate:
            raise RequestTooLarge(f"the audio is longer than {seconds:g} s: send it in parts", param="file")
        yield block
    if total == 0:
        raise InvalidRequest(_EMPTY, param="file", code="audio_empty")


def _join(pieces: Iterator[NDArray[np.int16]], size: int) -> Iterator[Samples]:
    waiting: list[NDArray[np.int16]] = []
    count, due = 0, time.monotonic() + SLICE
    for piece in pieces:
        if len(piece):
            waiting.append(piece)
            count += len(piece)
        if count >= size:
            yield _to_float(waiting)
            waiting, count = [], 0
        elif time.monotonic() > due:
            yield np.empty(0, np.float32)
        else:
            continue
        due = time.monotonic() + SLICE
    if count:
        yield _to_float(waiting)


def _to_float(pieces: list[NDArray[np.int16]]) -> Samples:
    samples = np.concatenate(pieces).astype(np.float32)
    samples /= 32768.0
    return samples


def _read_pcm(file: BinaryIO, rate: int) -> Iterator[NDArray[np.int16]]:
    if rate != PCM_RATE:
        raise ValueError(f"raw PCM is {PCM_RATE} Hz")
    rest = b""
    empty = True
    while data := file.read(1 << 16):
        empty = False
        data = rest + data
        whole = len(data) & ~1
        rest = data[whole:]
        yield np.frombuffer(data[:whole], dtype="<i2")
    if empty:
        _refuse()


def _read_container(file: BinaryIO, rate: int, budget: Budget) -> Iterator[NDArray[np.int16]]:
    """The sound piece by piece, with an empty piece after each packet."""
    try:
        container = open_container(Reader(file, budget))
    except (av.FFmpegError, ValueError) as error:
        _refuse(error)
    with container:
        if not container.streams.audio:
            raise AudioUnreadable("the file has no audio track: send one with sound", param="file")
        mixer = _Mixer(rate)
        heard = damaged = False
        for frame in _frames(container, container.streams.audio[0], budget):
            if isinstance(frame, Exception):
                damaged = True
            elif frame is None:
                yield _NOTHING
            else:
                for samples in mixer.feed(frame):
                    heard = True
                    budget.heard(len(samples) / rate)
                    yield samples
        for samples in mixer.feed(None):
            heard = True
            yield samples
        if damaged and not heard:
            _refuse()


def _frames(
    container: av.container.InputContainer, track: av.AudioStream, budget: Budget
) -> Iterator[av.AudioFrame | Exception | None]:
    """The frames in order, and None after each packet; a damaged packet comes as its error, and a damaged container
    ends the audio."""
    for other in container.streams:
        if other is not track:
            other.discard = Discard.all  # most formats skip these without reading them
    budget.between_packets = _TAGGED.get(container.format.name)
    packets = container.demux()  # all that come: each is a moment to ask whether anybody still waits
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, ValueError, IndexError) as error:  # IndexError: a track nobody announced
            yield error
            return
        if packet is None:
            return
        ours = packet.stream is track
        budget.packet(ours=ours)
        try:
            if ours:
                for frame in track.decode(packet):
                    budget.frame(frame.samples)
                    yield frame
        except (av.FFmpegError, ValueError) as error:
            yield error
        yield None


class _Mixer:
    """Frames of any layout, format and rate -> mono s16; the layout may change on the way."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._shape: tuple[object, ...] | None = None
        self._resampler: av.AudioResampler | None = None

    def feed(self, frame: av.AudioFrame | None) -> Iterator[NDArray[np.int16]]:
        if frame is None:
            yield from self._convert(None)
            return
        if frame.sample_rate not in _RATES:
            return
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            yield from self._convert(None)
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=self._rate)
            self._shape = shape
        frame.pts = None  # broken time stamps must not become gaps
        yield from self._convert(frame)

    def _convert(self, frame: av.AudioFrame | None) -> Iterator[NDArray[np.int16]]:
        if self._resampler is None:
            return
        try:
            converted = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError):
            self._shape = self._resampler = None  # a frame that lies about its own layout: skip it
            return
        for part in converted:
            yield part.to_ndarray().reshape(-1).astype(np.int16, copy=False)


def _refuse(cause: Exception | None = None) -> NoReturn:
    raise AudioUnreadable(_UNREADABLE, param="file") from cause
