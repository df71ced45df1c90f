"""Keeps N workers running: each a process with the environment Runpod gives a container, replaced when it exits.

A container's processes die with it. Here RUNPOD_POD_ID in the environment is what makes a process part of a worker:
whatever still carries it after the worker exited is killed.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from local_runpod.settings import Settings

FIRST_WAIT = 0.5  # seconds before a worker that exited is replaced; doubled each time
STEADY = 60.0  # a worker that ran so long starts with that again
PR_SET_PDEATHSIG = 1


@dataclass
class WorkerProcess:
    id: str
    process: asyncio.subprocess.Process
    started: float = field(default_factory=time.monotonic)


class Pool:
    def __init__(
        self,
        settings: Settings,
        command: list[str],
        url: str,
        say: Callable[[str], None],
        started: Callable[[str], object],
        exited: Callable[[str], object],
    ) -> None:
        """`say` takes lines for people; `started` and `exited` are told a worker's id."""
        self.running: dict[str, WorkerProcess] = {}
        self._settings, self._command, self._url = settings, command, url
        self._say, self._started, self._exited = say, started, exited
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(self._keep_one_running())

    def replace(self, worker_id: str) -> None:
        """Stops this worker as `stop` does; another takes its place."""
        self.kill(worker_id, signal.SIGTERM)
        asyncio.get_running_loop().call_later(self._settings.stop_seconds, self.kill, worker_id, signal.SIGKILL)

    def kill(self, worker_id: str, signum: int, child: str = "") -> int:
        """Signals a worker, or those of its processes whose command line contains `child`; the number signalled."""
        worker = self.running.get(worker_id)
        if worker is None:
            return 0
        if not child:
            if worker.process.returncode is None:
                worker.process.send_signal(signum)
            return 1
        matching = [
            p
            for p in members(worker_id, worker.process.pid)
            if p.pid != worker.process.pid and child in _command_line(p)
        ]
        for process in matching:
            _signal(process, signum)
        return len(matching)

    async def stop(self) -> None:
        """SIGTERM to all, and SIGKILL to those still there after `stop_seconds`."""
        self._stopping.set()
        for worker_id in list(self.running):
            self.kill(worker_id, signal.SIGTERM)
        waiting = [worker.process.wait() for worker in self.running.values()]
        if waiting:
            try:
                async with asyncio.timeout(self._settings.stop_seconds):
                    await asyncio.gather(*waiting)
            except TimeoutError:
                self._say(f"not stopped within {self._settings.stop_seconds:g} s: killing the workers")
                for worker_id in list(self.running):
                    self.kill(worker_id, signal.SIGKILL)

    async def _keep_one_running(self) -> None:
        wait = FIRST_WAIT
        while not self._stopping.is_set():
            began = time.monotonic()
            ending = await self._run_one()
            lasted = time.monotonic() - began
            if lasted > STEADY:
                wait = FIRST_WAIT
            if self._stopping.is_set():
                self._say(f"{ending} after {lasted:.1f} s")
                return
            self._say(f"{ending} after {lasted:.1f} s; the next starts in {wait:g} s")
            try:
                await asyncio.wait_for(self._stopping.wait(), wait)
            except TimeoutError:
                wait = min(wait * 2, self._settings.back_off)

    async def _run_one(self) -> str:
        worker_id = uuid.uuid4().hex[:14]
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=os.environ | worker_environment(self._settings, self._url, worker_id),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            os.close(reading)
            return f"worker {worker_id} could not start: {error}"
        finally:
            os.close(writing)
        self.running[worker_id] = WorkerProcess(worker_id, process)
        self._started(worker_id)
        self._say(f"worker {worker_id} started, pid {process.pid}")
        echo = asyncio.create_task(self._echo(worker_id, reading))
        try:
            status = await process.wait()
        finally:
            self._sweep(worker_id, process.pid)
            await echo
            del self.running[worker_id]
            self._exited(worker_id)
        return f"worker {worker_id} {_describe(status)}"

    def _sweep(self, worker_id: str, session: int) -> None:
        for process in members(worker_id, session):
            _signal(process, signal.SIGKILL)

    async def _echo(self, worker_id: str, pipe: int) -> None:
        """Passes the worker's lines on, until the last process that holds the pipe is gone."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
        )
        rest = b""
        try:
            while block := await reader.read(65536):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines if not self._settings.quiet else ():
                    self._say(f"[{worker_id}] {line.decode(errors='replace')}")
        finally:
            transport.close()


def worker_environment(settings: Settings, url: str, worker_id: str) -> dict[str, str]:
    """What Runpod sets in a worker's container. The SDK replaces $ID and $RUNPOD_POD_ID, and appends with `&`."""
    base = f"{url}/v2/{settings.endpoint}"
    given = {
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
        "RUNPOD_PING_INTERVAL": str(round(settings.ping_interval * 1000)),
        "RUNPOD_POD_ID": worker_id,
        "RUNPOD_POD_HOSTNAME": worker_id,
        "RUNPOD_ENDPOINT_ID": settings.endpoint,
        "RUNPOD_AI_API_KEY": settings.api_key or "local",
        # They ask a public DNS address and look for a GPU; set them to false to have them.
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": os.environ.get("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true"),
        "RUNPOD_SKIP_GPU_CHECK": os.environ.get("RUNPOD_SKIP_GPU_CHECK", "true"),
        "PYTHONUNBUFFERED": "1",
    }
    if settings.tcp_port:
        given |= {"RUNPOD_PUBLIC_IP": "127.0.0.1", f"RUNPOD_TCP_PORT_{settings.tcp_port}": str(settings.tcp_port)}
    return given


def members(worker_id: str, session: int | None = None) -> list[psutil.Process]:
    """All live processes of this worker; `session`, its process's number, finds those that hide their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if _belongs(process, worker_id, session) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue  # gone meanwhile
    return found


def _belongs(process: psutil.Process, worker_id: str, session: int | None) -> bool:
    try:
        return bool(process.environ().get("RUNPOD_POD_ID") == worker_id)
    except psutil.AccessDenied:  # somebody else's, or handler.py and its forks, unless we are root
        return session is not None and os.getsid(process.pid) == session


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _signal(process: psutil.Process, signum: int) -> None:
    try:
        process.send_signal(signum)
    except psutil.NoSuchProcess:
        return


def _describe(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"


def _die_with_parent() -> None:
    """Runs in the child: the kernel ends it when this process dies, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
