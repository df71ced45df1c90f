"""Collects figures, prints them as a table, writes them as JSON and Markdown; interleaves what is compared."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.markdown import as_markdown

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure. `value` is a ratio unless `unit` says otherwise; the bounds are the project's own aims."""

    figure: str
    value: float
    unit: str
    against: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        if self.at_least is not None:
            return self.value >= self.at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None

    @property
    def aim(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


def _machine() -> dict[str, object]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


@dataclass
class Report:
    """The rows of one run of one benchmark, and series for plots: name -> [(x, y), ...].

    `skipped`: what this machine cannot do, and why; `machine` may be told more.
    """

    name: str
    rows: list[Row] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=_machine)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(
        self,
        figure: str,
        value: float,
        unit: str = "x",
        *,
        against: str = "",
        at_least: float | None = None,
        at_most: float | None = None,
        note: str = "",
    ) -> None:
        self.put(Row(figure, round(float(value), 4), unit, against, at_least, at_most, note))

    def put(self, row: Row) -> None:
        self.rows.append(row)
        print("  " + _line(row), flush=True)

    def skip(self, figure: str, reason: str) -> None:
        self.skipped.append((figure, reason))
        print(f"  skip {figure}: {reason}", flush=True)

    def interleave(self, repeats: int, **runs: Callable[[], object]) -> dict[str, list[float]]:
        """Seconds each callable took, `repeats` times each, in turn, so that a noisy machine hits all alike."""
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(repeats):
            for name, run in runs.items():
                self.progress(f"{name} {turn + 1}/{repeats}")
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
        self.progress("")
        return seconds

    def progress(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{self.name}: {text}" if text else "\r\033[K", end="", file=sys.stderr, flush=True)

    def save(self) -> Path:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        record = {
            "benchmark": self.name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": self.machine,
            "rows": [{**asdict(row), "holds": row.holds} for row in self.rows],
            "skipped": self.skipped,
            "series": self.series,
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
        path.with_suffix(".md").write_text(as_markdown(record))
        if self.series:
            self._plot(path.with_suffix(".svg"))
        return path

    def _plot(self, path: Path) -> None:
        import matplotlib as mpl

        mpl.use("svg")
        mpl.rcParams["svg.hashsalt"] = self.name
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, len(self.series), figsize=(5 * len(self.series), 3.5), squeeze=False)
        for axis, (name, points) in zip(axes[0], self.series.items(), strict=True):
            axis.plot([x for x, _ in points], [y for _, y in points], marker="o")
            axis.set_title(name)
            axis.set_xlabel("concurrency")
            axis.grid(visible=True, alpha=0.3)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def _line(row: Row) -> str:
    mark = {True: "ok  ", False: "MISS", None: "    "}[row.holds]
    note = f"  ({row.note})" if row.note else ""
    against = f" against {row.against}" if row.against else ""
    return f"{mark} {row.value:>10g} {row.unit:<7} {row.aim:<8} {row.figure}{against}{note}"


def median(seconds: list[float]) -> float:
    return statistics.median(seconds)


def percentile(values: list[float], percent: float) -> float:
    """The value below which `percent` of 100 of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered) + 0.5) - 1))]
