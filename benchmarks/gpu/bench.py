"""What a section measures with: the machine, the models, rows that are told, and a time for each measurement."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from subprocess import SubprocessError
from typing import TypeVar

from benchmarks.gpu.cards import Card
from benchmarks.gpu.driver import Driver
from benchmarks.gpu.shapes import LARGE, TINY, TURBO, Shape
from benchmarks.report import Report, Row

_Choice = TypeVar("_Choice")
_LEAST, _MOST = 3, 20  # runs of a measurement


class Told(Report):
    """Rows go to whoever reads this process's output, as soon as they are known."""

    def put(self, row: Row) -> None:
        print(json.dumps({"row": asdict(row)}), flush=True)

    def skip(self, figure: str, reason: str) -> None:
        print(json.dumps({"skipped": [figure, reason]}), flush=True)


@dataclass(frozen=True)
class Bench:
    """What a section measures with. `tiny`: shapes that show only that it runs, held to nothing."""

    report: Report
    folder: Path
    tiny: bool
    cuda: bool
    driver: Driver | None
    card: Card | None

    @property
    def device(self) -> str:
        return "cuda" if self.cuda else "cpu"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (TINY,) if self.tiny else (TURBO, LARGE)

    def choose(self, full: _Choice, tiny: _Choice) -> _Choice:
        return tiny if self.tiny else full

    def seconds(self, run: Callable[[], object]) -> float:
        """The median of some runs after the first, which readies what is readied once."""
        run()
        limit, taken = time.perf_counter() + self.choose(1.5, 0.2), list[float]()
        while len(taken) < self.choose(_LEAST, 1) or (len(taken) < _MOST and time.perf_counter() < limit):
            begun = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begun)
        return median(taken)

    def milliseconds(self, figure: str, run: Callable[[], object], expected: float | None, *, each: int = 1) -> float:
        """A row of the time for one of `each`, at most 1.5 times what is expected; returns it in seconds."""
        seconds = self.seconds(run) / each
        against = f"{1000 * expected:.3g} ms by arithmetic for {self.card.name}" if expected and self.card else ""
        at_most = 1500 * expected if expected else None
        self.report.add(figure, 1000 * seconds, "ms", against=against, at_most=at_most)
        return seconds

    def expected(self, of: Callable[[Card], float]) -> float | None:
        return of(self.card) if self.card and self.cuda and not self.tiny else None

    @contextmanager
    def figure(self, name: str) -> Iterator[None]:
        """What fails inside is left out, with its reason: the libraries raise these for a card that cannot."""
        from speech_server.errors import SpeechError

        try:
            yield
        except (RuntimeError, MemoryError, OSError, ValueError, SubprocessError, SpeechError) as error:
            self.report.skip(name, f"{type(error).__name__}: {str(error)[:300]}")
