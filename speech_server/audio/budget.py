"""What reading one file may cost, counted while it is read: nobody's file is worth more work than its sound."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import BinaryIO

from speech_server.errors import RequestTooLarge, SpeechError

MOST_FRAME_SAMPLES = 1 << 21  # per channel; the largest that an encoder makes is 1,179,648 (Monkey's Audio)


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` of sound, and for each second that has come out, and `ahead` more, so many packets and bytes read.

    A second of Opus in its smallest packets is 400 of them, of FLAC in its smallest 1,000 at 16 kHz; a second of 4K
    video 12 MB, and where sound and picture lie apart 50 packets are read with 32 kB around each.
    """

    seconds: float
    packets: int = 1_000
    bytes: int = 16_000_000
    ahead: float = 10.0


class Stopped(Exception):
    """Nobody waits for the sound any more."""


class Budget:
    """`stop` is asked for every packet and every read. A file may always be read through `REREADS` times."""

    REREADS = 4

    def __init__(self, limits: Limits, stop: threading.Event | None = None) -> None:
        self._limits = limits
        self._stop = stop
        self._worth = limits.ahead
        self._packets = 0
        self._bytes = self._since = 0
        self.file_size = 0
        self.between_packets: int | None = None  # bytes that may be read from one packet to the next

    def packet(self, *, ours: bool) -> None:
        self._ask()
        self._since = 0
        self._packets += ours
        if self._packets > self._worth * self._limits.packets:
            raise _too_much(f"has more than {self._limits.packets} packets")

    def read(self, count: int) -> None:
        self._ask()
        self._bytes += count
        self._since += count
        if self._bytes > max(self._worth * self._limits.bytes, self.REREADS * self.file_size):
            raise _too_much(f"takes more than {self._limits.bytes // 1_000_000} MB of reading")
        if self.between_packets is not None and self._since > self.between_packets:
            raise RequestTooLarge(
                f"the file has more than {self.between_packets >> 10} KiB between two packets of its sound: send it "
                "without tags, or as wav, flac or mp3",
                param="file",
            )

    def sought(self) -> None:
        """Nothing is read from one packet to the next over a gap."""
        self._since = 0

    def frame(self, samples: int) -> None:
        if samples > MOST_FRAME_SAMPLES:
            raise RequestTooLarge(
                f"a frame of the audio claims {samples} samples: send it as wav, flac or mp3", param="file"
            )

    def heard(self, seconds: float) -> None:
        self._worth += seconds

    def _ask(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Stopped


class Reader(io.RawIOBase):
    """The file as FFmpeg reads it, on the budget. Its reads fail once there is a stop: that ends native calls too.

    `check` raises what a read has raised: some native calls take that for the end of the file.
    """

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._trouble: SpeechError | None = None
        self._budget = budget
        budget.file_size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.check()
        try:
            data = self._file.read(size)
            self._budget.read(len(data))
        except SpeechError as error:
            self._trouble = error
            raise
        return data

    def check(self) -> None:
        if self._trouble is not None:
            raise self._trouble

    def seek(self, offset: int, whence: int = 0) -> int:
        self._budget.sought()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _too_much(what: str) -> RequestTooLarge:
    return RequestTooLarge(f"the file {what} for each second of its sound: send it as wav, flac or mp3", param="file")
