"""Any audio or video file -> blocks of mono float32 samples, in bounded memory and for a bounded amount of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import floor
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from speech_server.audio.budget import Budget, Limits, Reader, Stopped
from speech_server.audio.containers import finds_times, open_container
from speech_server.domain import RATE, Samples
from speech_server.errors import AudioUnreadable, InvalidRequest, RequestTooLarge

__all__ = ["Limits", "stream"]

SLICE = 0.1  # seconds of work after which others go first
_RATES = range(4_000, 384_001)  # a damaged rate would make hours of seconds
_RUN_UP = 0.5  # second after which what a decoder gives does not depend on where it began
_LONGEST_PACKET = 0.25  # seconds: 2,048 samples of AAC at 8 kHz
# New tags may come between two packets of these, and FFmpeg's time for them grows with their square: a page of Ogg has
# at most 65,307 bytes, read in steps of 32 KiB.
_TAGGED = {"ogg": 128 << 10}
_UNREADABLE = "the audio cannot be decoded: send wav, mp3, flac, ogg, opus, m4a, webm, mp4 or another common format"
_NOTHING = np.empty(0, np.int16)
_FULL_SCALE = np.float32(1 / 32768)
_EMPTY = "the audio holds no samples: send a recording that is longer than zero seconds"


def stream(
    source: Path | BinaryIO,
    limits: Limits,
    stop: threading.Event | None = None,
    *,
    pcm: bool = False,
    rate: int = RATE,
    start: float = 0.0,
    block_seconds: float = 30.0,
) -> Iterator[Samples]:
    """Blocks of at most about `block_seconds`, at `rate` Hz, all channels mixed into one; an empty one wherever the
    next has taken SLICE seconds and is not ready: whoever shares threads may let others go first.

    `pcm`: the source is raw s16le, mono, 16 kHz. From the second `start` on, what lies before is not read where the
    container allows. Blocking; ends once `stop` is set. Damaged parts are left out; what could be decoded is kept.
    Raises AudioUnreadable where nothing can be, InvalidRequest for audio without samples (but not where it ends before
    `start`), RequestTooLarge for more than the limits.
    """
    budget = Budget(limits, stop)
    file = source.open("rb") if isinstance(source, Path) else source
    try:
        pieces = _read_pcm(file, rate, start) if pcm else _read_container(file, rate, start, budget)
        yield from _bounded(_join(pieces, int(block_seconds * rate)), limits.seconds, rate, may_be_empty=start > 0)
    except Stopped:
        return
    finally:
        if isinstance(source, Path):
            file.close()


def announced_seconds(file: BinaryIO) -> float | None:
    """How long the sound is, as the file's header has it; None where it does not say. Raises AudioUnreadable."""
    try:
        with open_container(file) as container:
            track = _track(container)
            if track.duration and track.time_base:
                return float(track.duration * track.time_base)
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, ValueError) as error:
        _refuse(error)


def _bounded(blocks: Iterator[Samples], seconds: float, rate: int, *, may_be_empty: bool) -> Iterator[Samples]:
    total = 0
    for block in blocks:
        total += len(block)
        if total > seconds * rate:
            raise RequestTooLarge(f"the audio is longer than {seconds:g} s: send it in parts", param="file")
        yield block
    if total == 0 and not may_be_empty:
        raise InvalidRequest(_EMPTY, param="file", code="audio_empty")


def _join(pieces: Iterator[NDArray[np.int16]], size: int) -> Iterator[Samples]:
    waiting: list[NDArray[np.int16]] = []
    count, due = 0, time.monotonic() + SLICE
    for piece in pieces:
        if len(piece):
            waiting.append(piece)
            count += len(piece)
        if count >= size:
            yield np.concatenate(waiting) * _FULL_SCALE
            waiting, count = [], 0
        elif time.monotonic() > due:
            yield np.empty(0, np.float32)
        else:
            continue
        due = time.monotonic() + SLICE
    if count:
        yield np.concatenate(waiting) * _FULL_SCALE


def _read_pcm(file: BinaryIO, rate: int, start: float) -> Iterator[NDArray[np.int16]]:
    if rate != RATE:
        raise ValueError(f"raw PCM is {RATE} Hz")
    if start:
        file.seek(2 * round(start * rate))
    rest = b""
    empty = start == 0
    while data := file.read(1 << 16):
        empty = False
        data = rest + data
        whole = len(data) & ~1
        rest = data[whole:]
        yield np.frombuffer(data[:whole], dtype="<i2")
    if empty:
        _refuse()


def _read_container(file: BinaryIO, rate: int, start: float, budget: Budget) -> Iterator[NDArray[np.int16]]:
    """The sound piece by piece, an empty one where a packet gave none."""
    reader = Reader(file, budget)
    try:
        container = open_container(reader)
    except (av.FFmpegError, ValueError) as error:
        _refuse(error)
    with container:
        track = _track(container)
        budget.between_packets = _TAGGED.get(container.format.name)
        mixer = _Mixer(rate)
        way = _Way(file, container, track, start, rate)
        heard = damaged = False
        for frames in _frames(container, track, budget, way):
            if isinstance(frames, Exception):
                damaged = True
                continue
            for frame in frames:
                if (rest := way.meet(frame)) is None:
                    heard = True
                    continue
                for samples in mixer.feed(rest):
                    heard = True
                    budget.heard(len(samples) / rate)
                    yield way.rest(samples)
            yield _NOTHING
        reader.check()
        for samples in mixer.finish():
            heard = True
            yield way.rest(samples)
        if damaged and not heard:
            _refuse()


def _track(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise AudioUnreadable("the file has no audio track: send one with sound", param="file")
    return container.streams.audio[0]


class _Way:
    """To the second `start` of a recording: by the container's index, by its packets, or by decoding all before it.

    Times are believed only in containers that cannot have gaps between packets; elsewhere samples are counted. What is
    decoded is fed from a whole second on, so that a resampler gives what it would have given from the beginning.
    """

    def __init__(
        self, file: BinaryIO, container: av.container.InputContainer, track: av.AudioStream, start: float, rate: int
    ) -> None:
        finds = finds_times(container, track, file)
        self._step = float(track.time_base or 0)
        self._first = (track.start_time or 0) * self._step
        self._is_timed = start > 2 * _RUN_UP and self._step > 0 and finds is not None
        self._second = floor(start - _RUN_UP) if self._is_timed else 0
        self._target = self._second - _RUN_UP + self._first
        self._early: int | None = None  # samples of what is decoded that lie before the second; None: nothing is yet
        self._skip = round((start - self._second) * rate)  # samples of what is resampled that lie before `start`
        if self._is_timed and finds:
            with suppress(av.FFmpegError):  # without an index it is read from its beginning
                container.seek(int(self._target / self._step), stream=track)

    def passes(self, packet: av.Packet[Any], budget: Budget) -> bool:
        """Whether the packet need not be decoded."""
        if not self._is_timed or packet.pts is None or packet.pts * self._step >= self._target:
            return False
        budget.heard(min((packet.duration or 0) * self._step, _LONGEST_PACKET))
        return True

    def meet(self, frame: av.AudioFrame) -> av.AudioFrame | None:
        """What is left of it from the second on."""
        if not self._is_timed:
            return frame
        if self._early is None:
            at = 0.0 if frame.pts is None else frame.pts * self._step - self._first
            self._early = max(round((self._second - at) * frame.sample_rate), 0)
        early = min(self._early, frame.samples)
        self._early -= early
        return _without(frame, early) if early else frame

    def rest(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """What is left of them after `start`."""
        skip = min(self._skip, len(samples))
        self._skip -= skip
        return samples[skip:]


def _without(frame: av.AudioFrame, early: int) -> av.AudioFrame | None:
    """The frame without its first samples."""
    if early == frame.samples:
        return None
    samples: NDArray[Any] = frame.to_ndarray()[
        :, early if frame.format.is_planar else early * frame.layout.nb_channels :
    ]
    rest = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), frame.format.name, frame.layout.name)
    rest.sample_rate = frame.sample_rate
    return rest


def _frames(
    container: av.container.InputContainer, track: av.AudioStream, budget: Budget, way: _Way
) -> Iterator[Sequence[av.AudioFrame] | Exception]:
    """What each packet holds, in order; a damaged packet comes as its error, and a damaged container ends the audio."""
    for other in container.streams:
        if other is not track:
            other.discard = Discard.all  # most formats skip these without reading them
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
        frames: Sequence[av.AudioFrame] = ()
        try:
            if ours and not way.passes(packet, budget):
                frames = track.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            yield error
        for frame in frames:
            budget.frame(frame.samples)
        yield frames


class _Mixer:
    """Frames of any layout, format and rate -> mono s16; the layout may change on the way.

    About a second of them at a time: a call of the resampler costs as much as 50 ms of sound.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._shape: tuple[object, ...] | None = None
        self._waiting = av.AudioFifo()
        self._resampler: av.AudioResampler | None = None

    def feed(self, frame: av.AudioFrame) -> list[NDArray[np.int16]]:
        if frame.sample_rate not in _RATES:
            return []
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        before: list[NDArray[np.int16]] = []
        if shape != self._shape:
            before = self.finish()
            self._waiting = av.AudioFifo()
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=self._rate)
            self._shape = shape
        frame.pts = None  # broken time stamps must not become gaps
        if frame.samples >= frame.sample_rate:
            return before + self._convert(self._waiting.read()) + self._convert(frame)
        self._waiting.write(frame)
        if self._waiting.samples >= frame.sample_rate:
            before += self._convert(self._waiting.read())
        return before

    def finish(self) -> list[NDArray[np.int16]]:
        return self._convert(self._waiting.read()) + self._convert(None, is_end=True)

    def _convert(self, frame: av.AudioFrame | None, *, is_end: bool = False) -> list[NDArray[np.int16]]:
        if self._resampler is None or (frame is None and not is_end):
            return []
        try:
            converted = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError):
            self._shape = self._resampler = None  # frames that lie about their own layout: skip them
            return []
        return [part.to_ndarray().reshape(-1).astype(np.int16, copy=False) for part in converted]


def _refuse(cause: Exception | None = None) -> NoReturn:
    raise AudioUnreadable(_UNREADABLE, param="file") from cause
