"""Keeps one server process alive: spawn, wait until ready, restart, stop."""

from __future__ import annotations

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
from secrets import token_hex

from worker import log
from worker.errors import ServerDied, ServerUnavailable, WorkerError
from worker.server.child import LENDER_KEY, Child, child_command, child_environment, knows_lenders, secret_values
from worker.server.pulse import QUESTIONS, Pulse
from worker.settings import Settings

HOST = "127.0.0.1"
_LOOK_SECONDS = 0.2  # between looks at the signs of life of a server that starts
_DEATH_SECONDS = 1.5  # from a broken connection to the news that the server died
_END_SECONDS = 5.0  # from SIGKILL to the end of everything
_LINES_IN_ERROR = 5


class State(Enum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Server:
    """One run of the server process. `died` gets the reason when it ends; `answered` counts against crashes;
    `has_no_progress` remembers that it does not know that route."""

    url: str
    died: Future[str] = field(default_factory=Future)
    answered: threading.Event = field(default_factory=threading.Event)
    has_no_progress: threading.Event = field(default_factory=threading.Event)


class Supervisor:
    """A thread owns the process, because it starts before there is an event loop and serves any loop there will be.

    It lives until `stop`; the server is its child and dies with it.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self.lender_key = token_hex(16) if knows_lenders(settings.server_command) else None
        self._environ = {**(os.environ if environ is None else environ), LENDER_KEY: self.lender_key or ""}
        self._secrets = secret_values(self._environ)
        self._lock = threading.Lock()
        self._state = State.STOPPED
        self._next: Future[Server | str] = Future()  # the server that answers, or why there will be none
        self._stopping = threading.Event()
        self._news = threading.Event()  # the process ended, or its pulse has changed
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

    async def explain(self, server: Server, otherwise: WorkerError) -> WorkerError:
        """The error for a connection that broke: how the server died, if it did."""
        import asyncio

        try:
            reason = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(server.died)), _DEATH_SECONDS)
        except TimeoutError:
            return otherwise
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
                self._child.kill()
            self._thread.join(_END_SECONDS)

    # --- the thread ---

    def _supervise(self) -> None:
        try:
            self._keep_alive()
        except (OSError, RuntimeError) as error:  # no more processes, threads or memory: nothing a restart would cure
            if self._child is not None and self._child.kill():
                self._child.reap()
            why = error.strerror if isinstance(error, OSError) else error
            self._give_up(f"the speech server cannot be started: {why}")

    def _keep_alive(self) -> None:
        crashes = 0
        while not self._stopping.is_set():
            server, child, pulse = self._spawn()
            trouble = self._watch(server, child, pulse)
            pulse.stop()
            reason = self._bury(server, child, trouble, was_ready=pulse.ready)
            if self._stopping.is_set():
                break
            crashes = 1 if server.answered.is_set() else crashes + 1
            log.error(f"server {reason}")
            if not child.ended():  # it still holds its port and its memory: nothing but another machine helps
                self._give_up(f"the speech server cannot be ended: {self._for_jobs(reason, child)}")
                return
            if crashes >= self._settings.server_max_crashes:
                self._give_up(f"the speech server crashed {crashes} times in a row: {self._for_jobs(reason, child)}")
                return
            self._stopping.wait(min(0.1 * 2**crashes, 5.0) if crashes > 1 else 0)
        self._finish(State.STOPPED, "the worker is stopping")

    def _spawn(self) -> tuple[Server, Child, Pulse]:
        port = _free_port()
        settings = self._settings
        path = settings.server_health_path
        child = Child(
            child_command(settings.server_command, HOST, port),
            child_environment(self._environ, settings.server_pass_env.split(","), HOST, port),
            self._secrets,
            path.partition("?")[0],
            _forward_line,
            self._news.set,
        )
        with self._lock:
            self._child = child
        if self._stopping.is_set():  # stop() may have looked before there was a child
            child.signal_group(signal.SIGTERM)
        pulse = Pulse(HOST, port, path, self._news.set, settings.server_ping_interval, settings.server_silence_timeout)
        pulse.start()
        return Server(f"http://{HOST}:{port}"), child, pulse

    def _watch(self, server: Server, child: Child, pulse: Pulse) -> str | None:
        """Until the server ends (None), or has to be ended (why)."""
        began, is_ready, is_warned = time.monotonic(), False, False
        while not child.ended():
            if pulse.ready and not is_ready:
                is_ready = True
                with self._lock:
                    self._state = State.READY
                    self._next.set_result(server)
                log.info(f"server ready after {time.monotonic() - began:.2f} s")
            if pulse.wrong_status and not is_warned:
                is_warned = True
                log.warn(
                    f"server answers {pulse.wrong_status} at {self._settings.server_health_path}, where 200 is due"
                )
            # A server that is stopping need not answer; stop() has a limit of its own.
            if not self._stopping.is_set() and (trouble := self._trouble(child, pulse)):
                return trouble
            self._news.wait(None if is_ready else _LOOK_SECONDS)
            self._news.clear()
        return None

    def _trouble(self, child: Child, pulse: Pulse) -> str | None:
        path, limit = self._settings.server_health_path, self._settings.server_start_timeout
        if pulse.lost:
            unanswered = f"answered none of {QUESTIONS} questions at {path}"
            return f"{unanswered}, had been silent for {pulse.silent_for():.1f} s and was killed"
        if pulse.ready:
            return None
        if (wrong := pulse.wrong_for()) > limit:
            return (
                f"answered {pulse.wrong_status} at {path} for {wrong:.0f} s while starting and was killed: "
                "SPEECH_SERVER_HEALTH_PATH must be a path that answers 200 once it is ready"
            )
        if (silence := child.silent_for()) > limit:
            return f"showed no sign of life for {silence:.0f} s while starting and was killed"
        return None

    def _bury(self, server: Server, child: Child, trouble: str | None, *, was_ready: bool) -> str:
        """Ends and reaps the child, and tells those who wait for this server; returns how it ended."""
        with self._lock:
            if self._state is State.READY:
                self._state = State.STARTING
                self._next = Future()
        if trouble is None:
            reason = child.reap() + ("" if was_ready else " while starting")
        elif child.kill():
            child.reap()
            reason = trouble
        else:
            reason = f"{trouble}, but does not end"
        with self._lock:
            self._child = None if child.ended() else child
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
