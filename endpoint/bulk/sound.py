"""A process of its own that reads recordings: how long each is, and its pieces as Opus. A file can harm only it.

A line of JSON on stdin is an order: {"length": PATH OR URL}; {"pieces": PATH, "seconds": N, "done": [...]}, after which
an empty line asks for each piece that is not done; or {"reference": PATH} of somebody's voice. A line of JSON on stdout
is an answer: {"seconds": N or null}; {"number", "start", "end", "size"} and so many bytes, then {"end": true}; {"size"}
and so many bytes; {"error": WHY}. Recordings are cut where the server would cut them (speech_server.hearing.clip), so
that no text has to be merged.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from endpoint.gateway.smaller import BIT_RATE
from outgoing.errors import OutgoingError
from speech_server.audio.budget import Limits
from speech_server.audio.codecs import Mp3, Opus
from speech_server.audio.decode import announced_seconds, stream
from speech_server.audio.lent.relay import Placed
from speech_server.domain import LONGEST_REFERENCE, RATE, REFERENCE_SLACK, SHORTEST_REFERENCE, Clip
from speech_server.errors import SpeechError
from speech_server.hearing.clip import Clipper, Cut, clipped

EFFORT = 1  # who reads must keep many workers busy
_LONGEST = 7 * 24 * 3600.0  # seconds of sound
_LONGEST_READ = 600.0  # of a reference, to say how long it is
_BLOCK = 1 << 18  # bytes asked for of a URL at a time
_SECONDS = 20.0  # for one of them


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks for pieces ends this
    while line := sys.stdin.buffer.readline():
        if not line.strip():  # a piece was asked for when there were no more
            continue
        order = json.loads(line)
        try:
            if "length" in order:
                _say({"seconds": length(order["length"])})
            elif "reference" in order:
                sound = reference(Path(order["reference"]))
                _say({"size": len(sound)}, sound)
            else:
                write_pieces(Path(order["pieces"]), order["seconds"], set(order["done"]))
                _say({"end": True})
        except SpeechError as error:
            _say({"error": error.message})
        except (OSError, OutgoingError, ValueError) as error:
            _say({"error": str(error) or type(error).__name__})


def _say(what: dict[str, Any], sound: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(what).encode() + b"\n" + sound)
    sys.stdout.buffer.flush()


def length(source: str) -> float | None:
    """Seconds, as its header has it; None where it does not say."""
    with io.BufferedReader(_Remote(source) if "://" in source else io.FileIO(source), _BLOCK) as file:
        return announced_seconds(file)


def reference(path: Path) -> bytes:
    """As MP3, which is the same in every run: a run that goes on asks what the one before has asked."""
    samples = np.concatenate(list(stream(path, Limits(_LONGEST_READ), rate=RATE)))
    seconds = len(samples) / RATE
    if not SHORTEST_REFERENCE - REFERENCE_SLACK <= seconds <= LONGEST_REFERENCE + REFERENCE_SLACK:
        raise ValueError(
            f"it has {seconds:.1f} s: give {SHORTEST_REFERENCE:g} to {LONGEST_REFERENCE:g} s of that voice"
        )
    codec = Mp3(RATE)
    return b"".join([codec.feed(samples[: round(LONGEST_REFERENCE * RATE)]), *codec.finish()])


def write_pieces(path: Path, seconds: float, done: set[int]) -> None:
    number, codec, begin, position = -1, None, 0, 0
    data: list[bytes] = []

    def end() -> None:
        sound = b"".join([*data, *(codec.finish() if codec else ())])
        _say({"number": number, "start": begin / RATE, "end": position / RATE, "size": len(sound)}, sound)
        data.clear()

    for part in clipped(stream(path, Limits(_LONGEST), rate=RATE), Clipper(Clip(), section=seconds)):
        if isinstance(part, Cut):
            if number >= 0:
                end()
            number, begin = number + 1, part.position
            codec = None if number in done else Opus(RATE, BIT_RATE, "voip", EFFORT)
            if codec and not sys.stdin.buffer.readline():
                return  # nobody wants more
        else:
            position += len(part)
            if codec:
                data.append(codec.feed(part))
    end()


class _Remote(Placed):
    """A file behind a URL, of which no more is fetched than is read."""

    def __init__(self, url: str) -> None:
        import httpx

        from outgoing.door import Door
        from outgoing.http import transport
        from outgoing.lookups import system_look_up

        door = Door.of_operator(system_look_up)
        self._http = httpx.Client(
            transport=transport(door, httpx), timeout=_SECONDS, follow_redirects=True, max_redirects=5
        )
        self._url = url
        self.size = self._sized()

    def _sized(self) -> int:
        with self._http.stream("GET", self._url, headers={"range": "bytes=0-0"}) as response:
            total = response.headers.get("content-range", "").rpartition("/")[2]
            if response.status_code != 206 or not total.isdigit():
                raise OSError(f"answered {response.status_code} where a part of the file was asked for")
            return int(total)

    def readinto(self, buffer: Any) -> int:
        last = min(self._at + len(buffer), self.size) - 1
        if last < self._at:
            return 0
        data = b"".join(self._fetched(last))[: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _fetched(self, last: int) -> Iterator[bytes]:
        import httpx

        try:
            with self._http.stream("GET", self._url, headers={"range": f"bytes={self._at}-{last}"}) as response:
                if response.status_code != 206:
                    raise OSError(f"answered {response.status_code}")
                left = last + 1 - self._at
                for block in response.iter_bytes():
                    yield block
                    if (left := left - len(block)) <= 0:
                        return
        except httpx.HTTPError as error:
            raise OSError(str(error) or type(error).__name__) from error

    def close(self) -> None:
        self._http.close()
        super().close()


if __name__ == "__main__":
    main()
