"""Alive means: answered lately. A server that does not is ended, its jobs fail with the reason, the next job works."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.local_runpod.local_platform import LocalPlatform
from tests.worker.conftest import STAND_IN, Jobs, eventually, server_pid, stand_in_settings
from worker.errors import ServerUnavailable
from worker.server.pulse import QUESTIONS, Pulse, ask
from worker.server.supervisor import Supervisor

pytestmark = pytest.mark.anyio

Supervise = Callable[..., Supervisor]
ONE_LOOP = shlex.join([sys.executable, str(Path(__file__).with_name("one_loop_server.py"))])
# A question may wait a second.
QUICK: dict[str, Any] = {"server_ping_interval": 0.1, "server_silence_timeout": QUESTIONS}


async def failed_by_silence(job: asyncio.Task[Any], supervisor: Supervisor, jobs: Jobs) -> None:
    """The job fails within 2 s of the decision, the reason names the silence, and the next job works elsewhere."""
    first = supervisor.wait_ready()
    async with asyncio.timeout(30):
        reason = await asyncio.wrap_future(first.died)
    async with asyncio.timeout(2):
        error = json.loads((await job)["error"])
    assert error["code"] == "server_died"
    assert reason in error["message"]
    assert f"answered none of {QUESTIONS} questions at /ping, had been silent for " in reason
    async with asyncio.timeout(30):
        assert "error" not in (await jobs(path="/echo") or {})
    assert supervisor.wait_ready().url != first.url


async def test_a_stopped_server_is_noticed(supervise: Supervise):
    supervisor = supervise(**QUICK)
    jobs = Jobs(supervisor, stand_in_settings())
    job = asyncio.create_task(jobs(path="/sleep?seconds=60"))
    await jobs.until_in_flight(1, 10)
    os.kill(server_pid(supervisor), signal.SIGSTOP)
    await failed_by_silence(job, supervisor, jobs)
    await jobs.proxy.close()


async def test_a_server_whose_event_loop_hangs_is_noticed(supervise: Supervise):
    supervisor = supervise(server_command=ONE_LOOP, **QUICK)
    jobs = Jobs(supervisor, stand_in_settings())
    assert await jobs(path="/echo") == {}
    await failed_by_silence(asyncio.create_task(jobs(path="/hang")), supervisor, jobs)
    await jobs.proxy.close()


async def test_a_server_that_accepts_and_never_answers_is_noticed(supervise: Supervise):
    supervisor = supervise(**QUICK)
    jobs = Jobs(supervisor, stand_in_settings())
    job = asyncio.create_task(jobs(path="/sleep?seconds=60"))
    await jobs.until_in_flight(1, 10)
    assert await jobs(path="/mute") == {}
    await failed_by_silence(job, supervisor, jobs)
    await jobs.proxy.close()


async def test_a_server_that_refuses_connections_is_noticed_after_its_time_not_at_once(supervise: Supervise):
    supervisor = supervise(**QUICK)
    jobs = Jobs(supervisor, stand_in_settings())
    job = asyncio.create_task(jobs(path="/sleep?seconds=60"))
    await jobs.until_in_flight(1, 10)
    assert await jobs(path="/deaf?seconds=60") == {}
    await failed_by_silence(job, supervisor, jobs)
    await jobs.proxy.close()


def test_a_busy_server_is_not_taken_for_a_dead_one_and_a_stopped_one_is_found_in_the_flood(supervise: Supervise):
    supervisor = supervise(server_ping_interval=0.05, server_silence_timeout=9)
    server = supervisor.wait_ready()
    pid = server_pid(supervisor)
    with flood(server.url):
        before = polls(server.url)
        eventually(lambda: polls(server.url) > before + 10, 60)
        assert not server.died.done()
        os.kill(pid, signal.SIGSTOP)
        assert "had been silent for" in server.died.result(timeout=60)
    assert httpx.get(supervisor.wait_ready().url + "/ping", trust_env=False).status_code == 200


def polls(url: str) -> int:
    return int(httpx.get(url + "/gauge", trust_env=False, timeout=30).json()["polls"]["ping"])


@contextmanager
def flood(url: str) -> Iterator[None]:
    """Four clients that ask without a pause, and 100 connections that say nothing."""
    over = threading.Event()

    def hammer() -> None:
        with httpx.Client(trust_env=False, timeout=1) as client:
            while not over.is_set():
                try:
                    client.post(url + "/echo", content=bytes(100_000))
                except httpx.TransportError:
                    over.wait(0.1)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    host, _, port = url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def test_silence_counts_as_a_crash(supervise: Supervise):
    supervisor = supervise(server_max_crashes=2, **QUICK)
    for _ in range(2):
        server = supervisor.wait_ready()
        os.kill(server_pid(supervisor), signal.SIGSTOP)
        server.died.result(timeout=30)
    with pytest.raises(ServerUnavailable, match="crashed 2 times in a row: answered none"):
        supervisor.wait_ready()
    assert supervisor.gave_up.done()


def test_a_worker_whose_server_stays_silent_ends_so_that_the_platform_replaces_it():
    env = {
        "SPEECH_SERVER_COMMAND": STAND_IN,
        "SPEECH_SERVER_PING_INTERVAL": "0.1",
        "SPEECH_SERVER_SILENCE_TIMEOUT": "3",
        "SPEECH_SERVER_MAX_CRASHES": "1",
    }
    with LocalPlatform([sys.executable, "-u", "handler.py"], env=env) as platform:
        job_id = platform.run({"path": "/sleep?seconds=60"})
        platform.wait_until_running(job_id)
        worker = psutil.Process(platform.state()["workers"][0]["pid"])
        family = worker.children(recursive=True)
        (server,) = [one for one in family if "stand_in_server.py" in " ".join(one.cmdline())]
        server.suspend()
        job = platform.wait(job_id)
        assert (job["status"], json.loads(job["error"])["code"]) == ("FAILED", "server_died")
        eventually(lambda: "exited with status 1" in platform.log, 30)


def test_with_no_limit_to_its_silence_it_is_asked_nothing(supervise: Supervise):
    supervisor = supervise(server_ping_interval=0.1, server_silence_timeout=0)
    url = supervisor.wait_ready().url
    before = polls(url)
    threading.Event().wait(0.5)
    assert polls(url) == before


def test_stopping_a_stopped_server_takes_its_limit_and_no_more(supervise: Supervise):
    supervisor = supervise(server_stop_timeout=0.3)
    supervisor.wait_ready()
    pid = server_pid(supervisor)
    os.kill(pid, signal.SIGSTOP)
    supervisor.stop()
    assert not psutil.pid_exists(pid)


def test_time_that_passed_while_nobody_could_ask_is_no_silence():
    """A paused container or a restored snapshot: the clock has jumped, and all goes on."""
    with listener(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        news = threading.Event()
        pulse = Pulse("127.0.0.1", port, "/ping", news.set, interval=0.01, silence=30)
        pulse.start()
        assert news.wait(10)
        pulse._answered_at -= 3600
        eventually(lambda: pulse.silent_for() < 60)
        assert not pulse.lost
        pulse.stop()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.0 500\r\n", 500),
        (b"HTTP/1.1 2000 OK\r\n", None),
        (b"SSH-2.0-x\r\n", None),
        (b"HTTP/1.1 200", None),  # it hangs up before the line's end
        (b"x" * 100_000, None),
        (b"", None),
    ],
)
def test_an_answer_is_a_status_line(said: bytes, status: int | None):
    with listener(said) as port:
        assert ask(("127.0.0.1", port), "/ping", 10) == status


def test_a_byte_now_and_then_is_no_answer():
    with listener(b"HTTP/1.1 200 OK\r\n", pause=0.1) as port:
        assert ask(("127.0.0.1", port), "/ping", 0.5) is None


@contextmanager
def listener(said: bytes, pause: float = 0) -> Iterator[int]:
    """Answers whatever it is asked with `said`, at once or byte by byte, and hangs up."""
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                guest, _ = server.accept()
            except TimeoutError:
                continue
            with guest:
                try:
                    guest.recv(1000)
                    for piece in [said[i : i + 1] for i in range(len(said))] if pause else [said]:
                        guest.sendall(piece)
                        over.wait(pause)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()
