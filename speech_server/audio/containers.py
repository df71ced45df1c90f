"""Opens a file with FFmpeg: which formats, how much memory. Imports nothing else heavy: the vetter starts with it."""

from __future__ import annotations

import ctypes
import io
from pathlib import Path
from typing import BinaryIO

import av

# Only formats that hold their own media. A playlist or manifest (hls, concat, dash, sdp, image2 ...) makes FFmpeg
# open other files and addresses, which an upload must never decide.
CONTAINERS = (
    "3g2,3gp,aac,ac3,ac4,adts,aiff,alaw,amr,amrnb,amrwb,ape,asf,ast,au,avi,caf,dsf,dts,dtshd,dv,eac3,f4v,flac,flv,"
    "g722,gsm,gxf,iamf,ircam,kux,live_flv,loas,matroska,webm,mov,mp4,m4a,mj2,mlp,mp3,mpc,mpc8,mpeg,mpegts,mulaw,mxf,"
    "nistsphere,nsv,nut,ogg,oma,qoa,rm,sbc,shn,sln,sox,tak,truehd,tta,voc,w64,wav,wsd,wtv,wv,xwma"
)
_OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
# A time is found by an index or by arithmetic in the first, by the packets before it in the second.
_INDEXED = ("wav", "flac", "mov,mp4,m4a,3gp,3g2,mj2")
_COUNTED = ("mp3", "aac", "ogg")
_PAGE, _SERIAL, _LONGEST_PAGE = b"OggS", slice(14, 18), 65_307  # of Ogg, RFC 3533; bytes
_MAX_ALLOCATION = 64 << 20  # bytes: an index of five hours fits


def open_container(file: BinaryIO | io.RawIOBase) -> av.container.InputContainer:
    """Raises av.FFmpegError and ValueError for what is no such file."""
    return av.open(file, mode="r", metadata_errors="ignore", options=_OPTIONS)


def finds_times(container: av.container.InputContainer, track: av.AudioStream, file: BinaryIO) -> bool | None:
    """Whether it finds the place of a time: False where all packets before have to be read, though not decoded; None
    where they have to be decoded, for there may be gaps between them, which are no sound."""
    name = container.format.name
    if name == "ogg":  # a page of Opus says how many samples came before
        return track.codec.canonical_name == "opus" if _is_one_stream(file) else None
    return True if name in _INDEXED else False if name in _COUNTED else None


def _is_one_stream(file: BinaryIO) -> bool:
    """Whether Ogg's first and last page are of one stream: where another follows the first (a recorded broadcast), the
    times begin anew, and only who reads all knows them. Leaves the file where it was."""
    at = file.tell()
    try:
        file.seek(0)
        first = file.read(_SERIAL.stop)
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - 2 * _LONGEST_PAGE, 0))
        tail = file.read(2 * _LONGEST_PAGE)
    finally:
        file.seek(at)
    last = tail[max(tail.rfind(_PAGE), 0) :]
    return first.startswith(_PAGE) and last.startswith(_PAGE) and first[_SERIAL] == last[_SERIAL]


def _bound_allocations() -> None:
    """FFmpeg believes the sizes a file claims, up to 2 GB. Only PyAV's wheels bring a library to tell so."""
    for library in (Path(av.__file__).parent.parent / "av.libs").glob("libavutil*"):
        limit = ctypes.CDLL(str(library)).av_max_alloc
        limit.argtypes, limit.restype = [ctypes.c_size_t], None
        limit(_MAX_ALLOCATION)


_bound_allocations()
