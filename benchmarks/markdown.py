"""A benchmark's record as Markdown: what ran where, a table of figures, what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALWAYS = ("cpu", "cores", "python", "system")  # of a machine, in every record


def as_markdown(record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    more = [f"- {name}: {value}" for name, value in machine.items() if name not in _ALWAYS]
    lines = [f"### {record['benchmark']}", "", f"{record['at'][:10]}, {machine['cores']} cores, {machine['cpu']}", ""]
    lines += [*more, ""] if more else []
    lines += ["| figure | value | aim | against |", "|---|---|---|---|", *map(_row, record["rows"])]
    if skipped := record.get("skipped"):
        lines += ["", "| left out | why |", "|---|---|"]
        lines += [f"| {name} | {_cell(reason)} |" for name, reason in skipped]
    return "\n".join(lines) + "\n"


def _row(row: Mapping[str, Any]) -> str:
    aim = f"≥ {row['at_least']:.3g}" if row["at_least"] is not None else ""
    aim = aim or (f"≤ {row['at_most']:.3g}" if row["at_most"] is not None else "")
    missed = " **missed**" if row["holds"] is False else ""
    note = f" ({row['note']})" if row["note"] else ""
    return f"| {row['figure']}{note} | {row['value']:.3g} {row['unit']}{missed} | {aim} | {row['against']} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
