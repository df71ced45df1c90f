"""What a worker of the soak lives in: a small disk, a limit on processes, and a name server, all of them ours.

Each needs rights that not every machine gives; where it does not, the cage says why and does without.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

DISK_MB = 384
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Cage:
    """`disk` is where a tmpfs lies for the worker alone, `resolv_conf` what it sees as /etc/resolv.conf, `cgroup` the
    control group that counts its processes and threads; None where there is none."""

    disk: Path | None = None
    resolv_conf: Path | None = None
    cgroup: Path | None = None

    def around(self, command: Sequence[str | Path]) -> list[str]:
        """The command that runs `command` in here, under the same process number."""
        steps = []
        if self.cgroup:
            steps.append(f"echo $$ > {shlex.quote(str(self.cgroup / 'cgroup.procs'))}")
        if self.disk:
            steps.append(f"mount -t tmpfs -o size={DISK_MB}m soak {shlex.quote(str(self.disk))}")
        if self.resolv_conf:
            steps.append(f"mount --bind {shlex.quote(str(self.resolv_conf))} /etc/resolv.conf")
        shell = ["sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh", *map(str, command)]
        return ["unshare", "--mount", *shell] if self.disk or self.resolv_conf else shell

    def why_not(self) -> str:
        """Why nothing can run in here; empty when it can."""
        try:
            tried = subprocess.run(self.around(["true"]), capture_output=True, text=True, timeout=20)
        except FileNotFoundError as error:
            return f"{error.filename} is not installed"
        return "" if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["it does not work"])[-1]


@dataclass
class Builder:
    """Adds what is wanted, one by one; `skipped` has the reasons of what could not be had."""

    cage: Cage = field(default_factory=Cage)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, **part: Path | str) -> None:
        """A part that is text is the reason why there is none."""
        ((name, value),) = part.items()
        why = value if isinstance(value, str) else replace(Cage(), **{name: value}).why_not()
        if why:
            self.skipped[kind] = why
        else:
            self.cage = replace(self.cage, **{name: value})


def new_cgroup() -> Path | str:
    """An empty control group that limits processes, or why there is none."""
    parent = CGROUPS / "pids" if (CGROUPS / "pids").exists() else CGROUPS
    group = parent / f"soak-{os.getpid()}"
    try:
        group.mkdir()
        if not (group / "pids.max").exists():  # version 2: the parent has to hand its controller down
            (parent / "cgroup.subtree_control").write_text("+pids")
    except OSError as error:
        return f"{group}: {error.strerror}"
    return group if (group / "pids.max").exists() else f"{group} counts no processes"


def remove_cgroup(group: Path) -> None:
    """Once the last process in it has gone."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        try:
            group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                return
            time.sleep(0.1)
        else:
            return


def limit_processes(group: Path, most: str) -> None:
    (group / "pids.max").write_text(most)


def fill(disk: Path) -> None:
    """Until not another page fits; more of it each time it is called."""
    with contextlib.suppress(OSError), open(disk / "filler", "ab", buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


def empty(disk: Path) -> None:
    with contextlib.suppress(OSError):  # the worker has gone, and its disk with it
        (disk / "filler").unlink()
