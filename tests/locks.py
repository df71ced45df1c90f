"""What a lock of requirements/ says."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def requirements(lock: Path) -> list[Requirement]:
    lines = re.sub(r"\\\n\s*", " ", lock.read_text()).splitlines()
    return [Requirement(line.split(" --hash=")[0]) for line in lines if line[:1].isalnum()]


def pinned(lock: Path) -> dict[str, str]:
    """name -> version, for this Python on this system."""
    here = [row for row in requirements(lock) if row.marker is None or row.marker.evaluate()]
    return {canonicalize_name(row.name): str(row.specifier).removeprefix("==") for row in here}
