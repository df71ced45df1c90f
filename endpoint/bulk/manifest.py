"""What is known of one recording's pieces, line by line on disk as soon as it is known: a run goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from endpoint.errors import BadArgument

VERSION = 1


@dataclass(frozen=True, slots=True)
class Done:
    """A piece from second `start` to `end` (None: to the end), its answer, and its job's times in seconds."""

    start: float
    end: float | None
    text: str
    queued: float = 0.0
    ran: float = 0.0


class Manifest:
    """JSON lines: first what they are about, then what has happened. What another run has left counts where it is about
    the same; a line that was not written to its end does not. One run at a time has the file."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        """Raises BadArgument where another run is at work on it, OSError."""
        self.path = path
        self.done: dict[int, Done] = {}
        self.jobs: dict[int, str] = {}  # sent, and nothing known of their end
        self.language: str | None = None
        self.count: int | None = None  # of pieces, once the recording has been read to its end
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise BadArgument(f"{path} is in use: another run of this command is at work on it") from None
        about = json.loads(json.dumps({"version": VERSION, **about}))
        self.was_about_another = not self._read(about)
        if self.was_about_another or not os.fstat(self._file.fileno()).st_size:
            self._file.truncate(0)
            self._write(about)

    def _read(self, about: dict[str, Any]) -> bool:
        """False where there is something, and it is about something else."""
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        self._file.truncate(sum(len(line) + 1 for line in lines[:-1]))
        if len(lines) < 2:
            return True
        try:
            if json.loads(lines[0]) != about:
                return False
            for line in lines[1:-1]:
                self._take(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.done, self.jobs, self.language, self.count = {}, {}, None, None
            return False
        return True

    def _take(self, line: dict[str, Any]) -> None:
        if "piece" in line:
            number = line.pop("piece")
            self.jobs.pop(number, None)
            if "job" in line:
                self.jobs[number] = line["job"]
            elif "text" in line:
                self.done[number] = Done(**line)
        else:
            self.language = line.get("language", self.language)
            self.count = line.get("count", self.count)

    def found(self, **line: Any) -> None:
        """`language` or `count`, or of a `piece` its `job` or why it `failed`. On the disk when it returns."""
        self._take(dict(line))
        self._write(line)

    def heard(self, number: int, done: Done) -> None:
        self.found(piece=number, **asdict(done))

    def texts(self) -> list[str]:
        return [done.text for _, done in sorted(self.done.items())]

    @property
    def is_whole(self) -> bool:
        return self.count is not None and len(self.done) >= self.count

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.done and not self.jobs:
            self.remove()  # nothing in it that anybody has paid for
        self._file.close()
