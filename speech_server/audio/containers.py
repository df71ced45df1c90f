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
_MAX_ALLOCATION = 64 << 20  # bytes: an index of five hours fits


def open_container(file: BinaryIO | io.RawIOBase) -> av.container.InputContainer:
    """Raises av.FFmpegError and ValueError for what is no such file."""
    return av.open(file, mode="r", metadata_errors="ignore", options=_OPTIONS)


def _bound_allocations() -> None:
    """FFmpeg believes the sizes a file claims, up to 2 GB. Only PyAV's wheels bring a library to tell so."""
    for library in (Path(av.__file__).parent.parent / "av.libs").glob("libavutil*"):
        limit = ctypes.CDLL(str(library)).av_max_alloc
        limit.argtypes, limit.restype = [ctypes.c_size_t], None
        limit(_MAX_ALLOCATION)


_bound_allocations()
