"""Keeps one server process alive: spawn, wait until ready, restart, stop."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from worker import log
from worker.child import Child, child_command, child_environment, secret_values
from worker.errors import ServerDied, ServerUnavailable
from worker.settings import Settings

HOST = "127.0.0.1"
_FIRST_POLLS = 0.02  # seconds between looks at a server that starts; a start is worth a prompt answer
_LATER_POLLS = 0.2
_LINES_IN_ERROR = 5


class State(Enum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Server:
    """One run of the server process. `died` gets the reason when it ends; `answered` counts against crashes."""

    url: str
    died: Future[str] = field(default_factory=Future)
    answered: threading.Event = field(default_factory=threading.Event)


class Supervisor:
    """A thread owns the process, because it starts before there is an event loop and serves any loop there will be.

    It lives until `stop`; the server is its child and dies with it.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._environ = dict(os.environ if environ is None else environ)
        self._secrets = secret_values(self._environ)
        self._lock = threading.Lock()
        self._state = State.STOPPED
        self._next: Future[Server | str] = Future()  # the server that answers, or why there will be none
        self._stopping = threading.Event()
        self._child: Child | None = None
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self.gave_up: Future[str] = Future()  # the reason, once there have been too many crashes

    # --- what callers ask for ---

    def start(self) -> None:
        """Idempotent; returns at once."""
        with self._lock:
            if self._state is State.STOPPED and not self._stopping.is_set():
                self._state = State.STARTING
                self._thread.start()

    async def ensure_ready(self) -> Server:
        """A server that takes requests, started or restarted if need be. Raises ServerUnavailable."""
        import asyncio  # after the spawn: the server's start should not wait for it

        self.start()
        return _server(await asyncio.shield(asyncio.wrap_future(self._next)))

    def wait_ready(self) -> Server:
        """The same for code without an event loop."""
        self.start()
        return _server(self._next.result())

    async def explain(self, server: Server, what: str) -> ServerUnavailable:
        """The error for a connection that broke: how the server died, if it did."""
        import asyncio

        try:
            reason = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(server.died)), timeout=1.5)
        except TimeoutError:
            return ServerUnavailable(f"the connection to the speech server broke ({what}); try again")
        return ServerDied(f"the speech server died while it held this job: {reason}")

    def stop(self) -> None:
        """Idempotent; returns when the server and all it forked are gone."""
        self._stopping.set()
        with self._lock:
            started, child = self._thread.ident is not None, self._child
        if not started:
            self._finish(State.STOPPED, "the worker is stopping")
            return
        if child:
            child.signal_group(signal.SIGTERM)
        self._thread.join(self._settings.server_stop_timeout)
        if self._thread.is_alive():
            if self._child:
                log.warn(f"server did not end {self._settings.server_stop_timeout:g} s after SIGTERM: SIGKILL")
                self._child.signal_group(signal.SIGKILL)
            self._thread.join()

    # --- the thread ---

    def _supervise(self) -> None:
        try:
            self._keep_alive()
        except OSError as error:  # no more processes or memory: nothing a restart would cure
            self._give_up(f"the speech server cannot be started: {error.strerror}")

    def _keep_alive(self) -> None:
        crashes = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            server, child = self._spawn()
            trouble = self._bring_up(server, child, began)
            if trouble is None:
                child.ended(wait=True)
            reason = self._bury(server, child, trouble)
            if self._stopping.is_set():
                break
            crashes = 1 if server.answered.is_set() else crashes + 1
            log.error(f"server {reason}")
            if crashes >= self._settings.server_max_crashes:
                self._give_up(f"the speech server crashed {crashes} times in a row: {self._for_jobs(reason, child)}")
                return
            self._stopping.wait(min(0.1 * 2**crashes, 5.0) if crashes > 1 else 0)
        self._finish(State.STOPPED, "the worker is stopping")

    def _spawn(self) -> tuple[Server, Child]:
        port = _free_port()
        settings = self._settings
        child = Child(
            child_command(settings.server_command, HOST, port),
            child_environment(self._environ, settings.server_pass_env.split(","), HOST, port),
            self._secrets,
            _forward_line,
        )
        with self._lock:
            self._child = child
        if self._stopping.is_set():  # stop() may have looked before there was a child
            child.signal_group(signal.SIGTERM)
        return Server(f"http://{HOST}:{port}"), child

    def _bring_up(self, server: Server, child: Child, began: float) -> str | None:
        """Waits for the health path; None once READY, else what went wrong."""
        port = int(server.url.rpartition(":")[2])
        while not child.ended():
            if _answers(port, self._settings.server_health_path, timeout=min(5.0, self._settings.server_start_timeout)):
                with self._lock:
                    self._state = State.READY
                    self._next.set_result(server)
                log.info(f"server ready after {time.monotonic() - began:.2f} s")
                return None
            if (silence := child.silent_for()) > self._settings.server_start_timeout:
                return f"showed no sign of life for {silence:.0f} s while starting and was killed"
            self._stopping.wait(_FIRST_POLLS if time.monotonic() - began < 10 else _LATER_POLLS)
            if self._stopping.is_set():
                child.ended(wait=True)  # stop() signals and, after its limit, kills
        return "while starting"

    def _bury(self, server: Server, child: Child, trouble: str | None) -> str:
        """Reaps the child and tells those who wait for this server; returns how it ended."""
        if trouble and not child.ended():
            child.signal_group(signal.SIGKILL)
            child.reap()
            reason = trouble
        else:
            reason = child.reap() + (f" {trouble}" if trouble else "")
        with self._lock:
            self._child = None
            if self._state is State.READY:
                self._state = State.STARTING
                self._next = Future()
        server.died.set_result(self._for_jobs(reason, child))
        return reason

    def _give_up(self, reason: str) -> None:
        self._finish(State.FAILED, reason)
        self.gave_up.set_result(reason)

    def _finish(self, state: State, reason: str) -> None:
        with self._lock:
            self._state = state
            if self._next.done():
                self._next = Future()
            self._next.set_result(reason)

    def _for_jobs(self, reason: str, child: Child) -> str:
        lines = [_without_paths(line) for line in child.tail if not _is_traceback(line)][-_LINES_IN_ERROR:]
        return reason + ("; its last words: " + " / ".join(lines) if lines else "")


def _server(found: Server | str) -> Server:
    if isinstance(found, str):
        raise ServerUnavailable(found)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, path: str, timeout: float) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


_LEVEL = re.compile(r"\W*(?:[\d:.,TZ+-]+\W+){0,3}(DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL)\b", re.IGNORECASE)


def _forward_line(line: str) -> None:
    found = _LEVEL.match(line)
    level = found[1].upper() if found else "INFO"
    write = {"D": log.debug, "I": log.info, "W": log.warn}.get(level[0], log.error)
    write(f"server | {line[found.end() :].lstrip(': ') if found else line}")


def _is_traceback(line: str) -> bool:
    return line.startswith((" ", "\t", "Traceback (most recent call last)"))


def _without_paths(line: str) -> str:
    """Internal folders are nobody's business outside: /root/a/b.py -> b.py."""
    return re.sub(r"(?<![\w:/])/(?:[^\s/'\"]+/)+", "", line)[:300]
