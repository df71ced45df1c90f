"""python -m benchmarks.table: the last results as Markdown, for docs/performance.md."""

from __future__ import annotations

import json

from benchmarks.report import RESULTS


def main() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text())
        machine = record["machine"]
        print(f"### {record['benchmark']}\n\n{record['at'][:10]}, {machine['cores']} cores, {machine['cpu']}\n")
        print("| figure | value | aim | against |\n|---|---|---|---|")
        for row in record["rows"]:
            aim = f"≥ {row['at_least']:g}" if row["at_least"] is not None else ""
            aim = aim or (f"≤ {row['at_most']:g}" if row["at_most"] is not None else "")
            missed = " **missed**" if row["holds"] is False else ""
            note = f" ({row['note']})" if row["note"] else ""
            print(f"| {row['figure']}{note} | {row['value']:.3g} {row['unit']}{missed} | {aim} | {row['against']} |")
        print()


if __name__ == "__main__":
    main()
