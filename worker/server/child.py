"""One server process: its environment, its process group, its log, and how it ended."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from worker.machine import for_the_server

_LAUNCH = Path(__file__).with_name("launch.py")
_ROOT = Path(__file__).parents[2]
KEPT_LINES = 40
LENDER_KEY = "LENDER_KEY"  # to the server, where it reads files that the worker lends
_MAX_LINE = 4000  # characters
_PROGRESS_BYTES = 256 * 1024  # written to disk since the last look: a download, not a health reply
_PROGRESS_LINE_SECONDS = 5.0  # a bar redrawn with \r becomes a log line this often
_KILL_SECONDS = 5.0  # a process that has not ended by then is stuck in the kernel

_HIDDEN_ENV = re.compile(r"RUNPOD_.*KEY.*|RUNPOD_WEBHOOK_.*|BUCKET_.*|AWS_.*")
_SECRET_ENV = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|WEBHOOK|OTLP_.*HEADERS")


def child_environment(environ: Mapping[str, str], passed: Iterable[str], host: str, port: int) -> dict[str, str]:
    """What the server sees: no platform or bucket keys but those named in `passed`, what kind of machine this is, and
    where to listen."""
    allowed = {name.strip() for name in passed}
    kept = {name: value for name, value in environ.items() if name in allowed or not _HIDDEN_ENV.fullmatch(name)}
    kept |= for_the_server(environ)
    # No UDP gets to a worker of a queue: a call over WebRTC would be answered, and come to nothing.
    kept.setdefault("REALTIME_CALLS", "false")
    return {**kept, "UVICORN_HOST": host, "UVICORN_PORT": str(port), "PYTHONUNBUFFERED": "1"}


def child_command(command: str, host: str, port: int) -> list[str]:
    words = [word.replace("{host}", host).replace("{port}", str(port)) for word in shlex.split(command)]
    return [sys.executable, *words[1:]] if words[:1] == ["python"] else words


def knows_lenders(command: str) -> bool:
    """Only our own server does."""
    return "speech_server" in shlex.split(command)


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Values that must not show up in a log line, longest first."""
    found = {value for name, value in environ.items() if _SECRET_ENV.search(name) and len(value) >= 8}
    return tuple(sorted(found, key=len, reverse=True))


class Child:
    """A server in a process group of its own, which dies when the thread that made this object ends.

    `on_line` is called with each line the server prints, from a thread, secrets blanked; `on_exit` when it has ended,
    from another. Lines about requests for `asked_path`, which the worker itself sends, are left out.
    """

    def __init__(
        self,
        command: list[str],
        environ: Mapping[str, str],
        secrets: tuple[str, ...],
        asked_path: str,
        on_line: Callable[[str], None],
        on_exit: Callable[[], None],
    ) -> None:
        self.tail: deque[str] = deque(maxlen=KEPT_LINES)
        self._secrets = secrets
        self._asked_path = re.compile(rf"(?<![\w/.-]){re.escape(asked_path)}(?![\w/.-])".encode())
        self._on_line = on_line
        self._on_exit = on_exit
        self._last_sign = time.monotonic()
        self._written = 0
        self._printed = 0
        self._exited = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *command],
            cwd=_ROOT,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name="server-log", daemon=True)
        try:
            threading.Thread(target=self._await_exit, name="server-exit", daemon=True).start()
            self._reader.start()
        except RuntimeError:  # no more threads
            self._process.kill()
            self._process.wait(_KILL_SECONDS)
            assert self._process.stdout is not None
            self._process.stdout.close()
            raise

    # --- life and death ---

    def ended(self) -> bool:
        """Whether the process has ended; it stays a zombie, so that its number still means its group."""
        return self._exited.is_set()

    def _await_exit(self) -> None:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._exited.set()
        self._on_exit()

    def kill(self) -> bool:
        """False when it does not end even so, which only a process stuck in the kernel (a driver) can do."""
        self.signal_group(signal.SIGKILL)
        return self._exited.wait(_KILL_SECONDS)

    def signal_group(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def reap(self) -> str:
        """After the end: sweeps what it forked, collects its last lines, and says how it ended."""
        self.signal_group(signal.SIGKILL)
        status = self._process.wait()
        self._reader.join(timeout=0.5)  # a process that left the group may hold the pipe for ever
        if status < 0:
            name = signal.Signals(-status).name
            return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return f"ended with exit status {status}"

    # --- signs of life ---

    def silent_for(self) -> float:
        """Seconds since it last printed something or wrote a good deal to disk."""
        with suppress(OSError, ValueError):
            text = Path(f"/proc/{self.pid}/io").read_text()
            # What it printed is not progress by itself: it prints about every question that it is asked, too.
            written = int(text.partition("wchar:")[2].split()[0]) - self._printed
            if written - self._written > _PROGRESS_BYTES:
                self._written = written
                self._last_sign = time.monotonic()
        return time.monotonic() - self._last_sign

    def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        last_bar = 0.0
        with self._process.stdout as pipe:
            while block := os.read(pipe.fileno(), 65536):
                self._printed += len(block)
                *lines, rest = re.split(rb"(?<=[\r\n])", rest + block)
                lines = [line for line in lines if not self._is_echo(line)]
                now = time.monotonic()
                if lines or (rest.strip() and not self._is_echo(rest)):
                    self._last_sign = now
                for line in lines:
                    if line.endswith(b"\r"):
                        if now - last_bar < _PROGRESS_LINE_SECONDS:
                            continue
                        last_bar = now
                    self._take(line)
                if len(rest) > _MAX_LINE:
                    self._take(rest)
                    rest = b""
            self._take(rest)

    def _is_echo(self, line: bytes) -> bool:
        """A line of an access log about the worker's own question: no news, and no sign of life."""
        return b"GET" in line and self._asked_path.search(line) is not None

    def _take(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").strip("\r\n")[:_MAX_LINE]
        for secret in self._secrets:
            line = line.replace(secret, "***")
        if line.strip():
            self.tail.append(line)
            self._on_line(line)
