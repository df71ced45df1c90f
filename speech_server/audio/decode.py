"""Any audio or video file -> blocks of mono float32 samples, in bounded memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
import numpy as np
from numpy.typing import NDArray

from speech_server.errors import AudioUnreadable, InvalidRequest, RequestTooLarge

Samples = NDArray[np.float32]
PCM_RATE = 16_000

# Only formats that hold their own media. A playlist or manifest (hls, concat, dash, sdp, image2 ...) makes FFmpeg
# open other files and addresses, which an upload must never decide.
CONTAINERS = (
    "3g2,3gp,aac,ac3,ac4,adts,aiff,alaw,amr,amrnb,amrwb,ape,asf,ast,au,avi,caf,dsf,dts,dtshd,dv,eac3,f4v,flac,flv,"
    "g722,gsm,gxf,iamf,ircam,kux,live_flv,loas,matroska,webm,mov,mp4,m4a,mj2,mlp,mp3,mpc,mpc8,mpeg,mpegts,mulaw,mxf,"
    "nistsphere,nsv,nut,ogg,oma,qoa,rm,sbc,shn,sln,sox,tak,truehd,tta,voc,w64,wav,wsd,wtv,wv,xwma"
)
_OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
_MAX_ALLOCATION = 64 << 20  # bytes: an index of five hours fits
_RATES = range(4_000, 384_001)  # a damaged rate would make hours of seconds
_UNREADABLE = "the audio cannot be decoded: send wav, mp3, flac, ogg, opus, m4a, webm, mp4 or another common format"
_EMPTY = "the audio holds no samples: send a recording that is longer than zero seconds"


def stream(
    source: Path | BinaryIO,
    *,
    pcm: bool = False,
    rate: int = PCM_RATE,
    block_seconds: float = 30.0,
    max_seconds: float | None = None,
) -> Iterator[Samples]:
    """Blocks of at most about `block_seconds`, at `rate` Hz, all channels mixed into one.

    `pcm`: the source is raw s16le, mono, 16 kHz. Blocking. Damaged parts are left out; what could be decoded is
    kept. Raises AudioUnreadable where nothing can be, InvalidRequest for audio without samples, RequestTooLarge
    for more than `max_seconds`.
    """
    pieces = _read_pcm(source, rate) if pcm else _read_container(source, rate)
    limit = None if max_seconds is None else int(max_seconds * rate)
    total = 0
    for block in _join(pieces, int(block_seconds * rate)):
        total += len(block)
        if limit is not None and total > limit:
            raise RequestTooLarge(f"the audio is longer than {max_seconds:g} s: send it in parts", param="file")
        yield block
    if total == 0:
        raise InvalidRequest(_EMPTY, param="file", code="audio_empty")


def _join(pieces: Iterator[NDArray[np.int16]], size: int) -> Iterator[Samples]:
    waiting: list[NDArray[np.int16]] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count >= size:
            yield _to_float(waiting)
            waiting, count = [], 0
    if count:
        yield _to_float(waiting)


def _to_float(pieces: list[NDArray[np.int16]]) -> Samples:
    samples = np.concatenate(pieces).astype(np.float32)
    samples /= 32768.0
    return samples


def _read_pcm(source: Path | BinaryIO, rate: int) -> Iterator[NDArray[np.int16]]:
    if rate != PCM_RATE:
        raise ValueError(f"raw PCM is {PCM_RATE} Hz")
    file = source.open("rb") if isinstance(source, Path) else source
    try:
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
    finally:
        if isinstance(source, Path):
            file.close()


def _read_container(source: Path | BinaryIO, rate: int) -> Iterator[NDArray[np.int16]]:
    # "file:" keeps a name such as "concat:a|b" from being read as an address.
    name = f"file:{source}" if isinstance(source, Path) else source
    try:
        container = av.open(name, mode="r", metadata_errors="ignore", options=_OPTIONS)
    except (av.FFmpegError, ValueError) as error:
        _refuse(error)
    with container:
        if not container.streams.audio:
            raise AudioUnreadable("the file has no audio track: send one with sound", param="file")
        track = container.streams.audio[0]
        mixer = _Mixer(rate)
        heard = damaged = False
        for frame in chain(_frames(container, track), [None]):
            if isinstance(frame, Exception):
                damaged = True
                continue
            for samples in mixer.feed(frame):
                heard = True
                yield samples
        if damaged and not heard:
            _refuse()


def _frames(container: av.container.InputContainer, track: av.AudioStream) -> Iterator[av.AudioFrame | Exception]:
    """The frames in order; a damaged packet comes as its error, and a damaged container ends the audio."""
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, ValueError, IndexError) as error:  # IndexError: a track nobody announced
            yield error
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except (av.FFmpegError, ValueError) as error:
            yield error


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


def _bound_allocations() -> None:
    """FFmpeg believes the sizes a file claims, up to 2 GB. Only PyAV's wheels bring a library to tell so."""
    for library in (Path(av.__file__).parent.parent / "av.libs").glob("libavutil*"):
        limit = ctypes.CDLL(str(library)).av_max_alloc
        limit.argtypes, limit.restype = [ctypes.c_size_t], None
        limit(_MAX_ALLOCATION)


def _refuse(cause: Exception | None = None) -> NoReturn:
    raise AudioUnreadable(_UNREADABLE, param="file") from cause


_bound_allocations()
