"""What would be sent, and what became of it: sums for a person and for a program."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from endpoint.bulk.run import Outcome, borders_of
from endpoint.bulk.workers import Workers
from endpoint.errors import REFUSED


def dry_run(outcomes: Sequence[Outcome], args: argparse.Namespace) -> int:
    listed: list[dict[str, Any]] = []
    for outcome in outcomes:
        waits = outcome.state == "waiting"
        pieces = len(borders_of(outcome.seconds, args.piece)) if waits else 0
        listed.append(_row(outcome, "would be sent" if waits else outcome.state, pieces))
    seconds = sum(outcome.seconds or 0.0 for outcome in outcomes if outcome.state == "waiting")
    work = seconds / args.speed
    sums: dict[str, Any] = {
        "audio_seconds": round(seconds, 1),
        "pieces": sum(each["pieces"] for each in listed),
        "worker_seconds": round(work, 1),
        "dollars": None if args.price is None else round(work / 3600 * args.price, 4),
    }
    if args.json:
        print(json.dumps({"recordings": listed, "total": sums}, indent=2, ensure_ascii=False))
    else:
        rows = [
            (each["source"], clock(each["seconds"]), each["pieces"], each.get("reason") or each["state"])
            for each in listed
        ]
        print("\n".join(_columns([("recording", "length", "pieces", ""), *rows])))
        cost = "" if args.price is None else f", about {sums['dollars']:g} $ without starts and idle time"
        print(
            f"{len(listed)} recordings, {clock(seconds)}, {sums['pieces']} pieces; {clock(work)} of work at "
            f"{args.speed:g} times real time{cost}"
        )
    return REFUSED if any(outcome.state == "failed" for outcome in outcomes) else 0


def report_of(outcomes: Sequence[Outcome], workers: Workers, wall: float, price: float | None) -> dict[str, Any]:
    def dollars(seconds: float) -> float | None:
        return None if price is None else round(seconds / 3600 * price, 6)

    done = [outcome for outcome in outcomes if outcome.state == "done"]
    audio = sum(outcome.seconds or outcome.heard for outcome in done)
    ran = sum(outcome.ran for outcome in outcomes)
    total = {
        "audio_seconds": round(audio, 1),
        "wall_seconds": round(wall, 1),
        "times_real_time": round(audio / wall, 1) if wall else None,
        "queued_seconds": round(sum(outcome.queued for outcome in outcomes), 1),
        "ran_seconds": round(ran, 1),
        "starting_seconds": round(workers.starting, 1),
        "idle_seconds": round(workers.idle, 1),
        "workers": workers.most,
        "dollars_run": dollars(ran),
        "dollars_start": dollars(workers.starting),
        "dollars_idle": dollars(workers.idle),
        "dollars_per_audio_hour": round(ran / audio * price, 6) if price is not None and audio else None,
    }
    recordings = [
        {
            **_row(outcome, outcome.state, outcome.pieces),
            "queued_seconds": round(outcome.queued, 1),
            "ran_seconds": round(outcome.ran, 1),
            "dollars": dollars(outcome.ran),
        }
        for outcome in outcomes
    ]
    return {"recordings": recordings, "total": total}


def _row(outcome: Outcome, state: str, pieces: int) -> dict[str, Any]:
    return {
        "source": outcome.source.name,
        "output": str(outcome.source.output),
        "state": state,
        **({"reason": outcome.reason} if outcome.reason else {}),
        "seconds": outcome.seconds,
        "pieces": pieces,
    }


def table(report: dict[str, Any]) -> list[str]:
    rows: list[tuple[Any, ...]] = [("recording", "length", "pieces", "queue", "run", "$", "")]
    for each in report["recordings"]:
        said = each.get("reason") or {"exists": "there already: --overwrite replaces it"}.get(
            each["state"], each["state"]
        )
        cost = "" if each["dollars"] is None else f"{each['dollars']:.4f}"
        times = f"{each['queued_seconds']:.1f} s", f"{each['ran_seconds']:.1f} s"
        rows.append((each["source"], clock(each["seconds"]), each["pieces"], *times, cost, said))
    total = report["total"]
    filled = [column for column in range(len(rows[0])) if any(str(row[column]).strip("0.s ") for row in rows[1:])]
    lines = _columns([[row[column] for column in filled] for row in rows])
    sums = f"{clock(total['audio_seconds'])} of sound in {clock(total['wall_seconds'])}"
    if total["times_real_time"]:
        sums += f", {total['times_real_time']:g} times real time"
    if total["workers"]:
        sums += f", workers at once: {total['workers']}; they started for {total['starting_seconds']:.0f} s"
        sums += f", were at work for {total['ran_seconds']:.0f} s and idle for {total['idle_seconds']:.0f} s"
    lines.append(sums)
    if total["dollars_run"] is not None:
        spent = total["dollars_run"] + total["dollars_start"] + total["dollars_idle"]
        lines.append(
            f"{spent:.4f} $: {total['dollars_run']:.4f} work, {total['dollars_start']:.4f} starts, "
            f"{total['dollars_idle']:.4f} idle; {total['dollars_per_audio_hour'] or 0:.4f} $ of work per hour of sound"
        )
    return lines


def _columns(rows: Sequence[Sequence[Any]]) -> list[str]:
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [min(max(len(row[column]) for row in texts), 48) for column in range(len(texts[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, len(row) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


def clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
