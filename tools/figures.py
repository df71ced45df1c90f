"""Draws README's plot from benchmarks/results, for light and for dark pages: `python -m tools.figures`.

Left: times real time of transcription by requests at once, beside the library in a loop. Right: the share of their time
that workers are busy with long recordings in pieces.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

ROOT = Path(__file__).parent.parent
RESULTS, PICTURES = ROOT / "benchmarks" / "results", ROOT / "docs" / "pictures"
# Ink, what is behind, ours, the other: told apart by brightness as well, for whoever sees no colours.
THEMES = {"light": ("#1f2328", "#8c959f", "#0969da"), "dark": ("#e6edf3", "#7d8590", "#58a6ff")}


def results(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return loaded


def transcription() -> tuple[list[tuple[float, float]], float]:
    """(requests at once, times real time) of the server; times real time of the library."""
    stt = results("stt")
    points = [(count, times) for count, times in stt["series"]["times real time"]]
    (ratio,) = (row["value"] for row in stt["rows"] if row["figure"].startswith("throughput, 8 requests at once"))
    return points, dict(points)[8] / ratio


def workers() -> list[tuple[int, float]]:
    """(workers, the best share of their time that they were busy)"""
    best: dict[int, float] = {}
    for row in results("bulk")["rows"]:
        if found := re.match(r"(\d+) workers, ", row["figure"]):
            best[int(found[1])] = max(best.get(int(found[1]), 0), row["value"])
    return sorted(best.items())


def draw(ink: str, faint: str, ours: str) -> Any:
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3))
    points, library = transcription()
    left.set_title("Transcription on two CPU cores: times real time", loc="left")
    left.plot(*zip(*points, strict=True), color=ours, marker="o")
    left.annotate("this server", points[-1], (-4, -14), textcoords="offset points", ha="right", color=ours)
    left.axhline(library, color=faint, linestyle="--")
    left.annotate("faster-whisper in a loop", (points[-1][0], library), (-4, 5), textcoords="offset points", ha="right")
    left.set_xlabel("requests at once, Whisper base int8, beam 5")
    left.set_ylim(0)
    shares = [(str(count), 100 * share) for count, share in workers()]
    right.set_title("Long recordings in pieces: workers busy", loc="left")
    right.bar(*zip(*shares, strict=True), color=ours, width=0.6)
    for place, (_, share) in enumerate(shares):
        right.annotate(f"{share:.0f} %", (place, share), (0, 3), textcoords="offset points", ha="center", color=ink)
    right.set_xlabel("workers (simulated at an L4's speed)")
    right.set_ylim(0, 115)
    right.set_yticks([])
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def main() -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "figures"
    for theme, (ink, faint, ours) in THEMES.items():
        style: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink)
        with mpl.rc_context(style | {"axes.edgecolor": faint, "axes.titlesize": 10, "font.size": 9}):
            path = PICTURES / f"figures-{theme}.svg"
            draw(ink, faint, ours).savefig(path, transparent=True, metadata={"Date": None})
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
