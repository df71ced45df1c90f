"""The commands that once were here run on the caller's machine, and are in `python -m endpoint` now."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    print("`python -m worker deploy` and `call` are `python -m endpoint deploy` and `call` now", file=sys.stderr)
    sys.exit(2)
