"""python -m benchmarks.table: the last results as Markdown, for docs/performance.md."""

from __future__ import annotations

import json

from benchmarks.markdown import as_markdown
from benchmarks.report import RESULTS


def main() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        print(as_markdown(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
