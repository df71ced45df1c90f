"""Workers as processes: they are replaced, they die whole, Ctrl-C leaves nothing. Webhooks and cut connections too."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil
import pytest

from local_runpod.processes import members
from tests.local_runpod.conftest import ECHO
from tests.local_runpod.local_platform import LocalPlatform, eventually


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """Of their own: these tests kill workers."""
    with LocalPlatform(
        ECHO, lost_after=2, worker_silence=5, workers=2, webhook_delay=0.1, stop_seconds=5, back_off=0.5
    ) as running:
        yield running


def ready_workers(platform: LocalPlatform) -> list[str]:
    return [worker["id"] for worker in platform.state()["workers"] if worker["ready"]]


def test_a_killed_workers_job_runs_again_on_another(platform: LocalPlatform) -> None:
    job_id = platform.run({"sleep": 1.5, "return": "done"})
    platform.wait_until_running(job_id)
    first = platform.status(job_id)["workerId"]
    assert platform.kill(first) == 1
    done = platform.wait(job_id)
    assert done["output"] == "done"
    assert done["workerId"] != first
    eventually(lambda: f"worker {first} was killed by SIGKILL" in platform.log, what="the reason on screen")
    eventually(lambda: len(ready_workers(platform)) == 2, 30, "replaced")
    assert members(first) == []


def test_workers_can_be_killed_now_and_then() -> None:
    with LocalPlatform(ECHO, kill_every=6, back_off=0.5) as platform:
        eventually(lambda: "was killed by SIGKILL" in platform.log, what="killed")
        eventually(lambda: platform.log.count(" started, pid ") >= 2, what="replaced")


def test_a_job_that_kills_every_worker_fails_after_one_retry(platform: LocalPlatform) -> None:
    done = platform.wait(platform.run({"exit": 7}))
    assert done["status"] == "FAILED"
    assert done["error"] == "job timed out after 1 retries"
    assert "exited with status 7" in platform.log
    eventually(lambda: len(ready_workers(platform)) == 2, 40, "replaced")


def test_refresh_worker_replaces_the_worker_after_its_job(platform: LocalPlatform) -> None:
    done = platform.runsync({"return": {"refresh_worker": True, "text": "x"}})
    assert done["output"] == {"text": "x"}
    eventually(lambda: done["workerId"] not in ready_workers(platform), what="stopped")
    eventually(lambda: len(ready_workers(platform)) == 2, 40, "replaced")


def test_a_worker_that_stops_pinging_is_replaced(platform: LocalPlatform) -> None:
    worker = ready_workers(platform)[0]
    (pid,) = [state["pid"] for state in platform.state()["workers"] if state["id"] == worker]
    children = psutil.Process(pid).children(recursive=True)  # the SDK's ping process
    assert platform.kill(worker, signal.SIGKILL, child="echo_handler") == len(children) > 0
    assert psutil.pid_exists(pid)
    assert platform.kill(worker, signal.SIGKILL, child="no such text") == 0
    eventually(lambda: f"worker {worker} sent no ping for 5 s" in platform.log, what="noticed")
    eventually(lambda: len(ready_workers(platform)) == 2 and worker not in ready_workers(platform), 40, "replaced")


class Receiver(ThreadingHTTPServer):
    """Answers 500, 500, 200 to webhooks and keeps what they said."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class ReceiverHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(500 if len(self.server.bodies) < 3 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_webhook_is_tried_three_times(platform: LocalPlatform) -> None:
    receiver = Receiver()
    try:
        url = f"http://127.0.0.1:{receiver.server_port}/hook"
        done = platform.runsync({"return": "x"}, webhook=url)
        eventually(lambda: len(receiver.bodies) == 3, what="three attempts")
        assert receiver.bodies[2] == done
    finally:
        receiver.shutdown()
        receiver.server_close()


def test_results_arrive_although_connections_are_cut(platform: LocalPlatform) -> None:
    platform.trouble(drop_connections=0.3)
    try:
        jobs = [platform.run({"return": n}) for n in range(12)]
        ended = [platform.wait(job_id, 120) for job_id in jobs]
    finally:
        platform.trouble(drop_connections=0)
    # A result cut three times in a row is lost by the SDK: its job runs once more, then fails with a reason.
    assert all(done.get("output") == n or done.get("error") for n, done in enumerate(ended))
    assert sum("output" in done for done in ended) >= 6
    assert platform.state()["trouble"]["dropped"] > 0
    assert all(job["accepted"] <= 1 for job in platform.state()["jobs"])


def test_openai_stream_reaches_the_client_while_it_runs() -> None:
    with (
        LocalPlatform([*ECHO, "--generator"]) as platform,
        platform.client.stream(
            "POST", f"{platform.base}/openai/v1/x", json={"stream": True, "pieces": ["data: 1\n\n", "data: 2\n\n"]}
        ) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.read() == b"data: 1\n\ndata: 2\n\n"


def test_ctrl_c_lets_a_job_finish_and_leaves_no_process() -> None:
    platform = LocalPlatform(ECHO, stop_seconds=10)
    (worker,) = ready_workers(platform)
    waiting = threading.Thread(target=lambda: answers.append(platform.runsync({"sleep": 0.5, "return": "finished"})))
    answers: list[dict[str, object]] = []
    waiting.start()
    eventually(lambda: platform.health()["jobs"]["inProgress"] == 1, what="running")
    platform.process.send_signal(signal.SIGINT)
    waiting.join(20)
    assert answers[0]["status"] in ("IN_PROGRESS", "COMPLETED")
    assert platform.stop() == 0
    assert members(worker) == []
    assert "stopped" in platform.log


def test_a_worker_that_ignores_sigterm_is_killed_after_the_limit() -> None:
    stubborn = (
        "import os, signal, time, urllib.request as u; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "url = os.environ['RUNPOD_WEBHOOK_GET_JOB'].replace('$ID', os.environ['RUNPOD_POD_ID']);"
        "u.urlopen(url).read(); time.sleep(600)"
    )
    platform = LocalPlatform([sys.executable, "-c", stubborn], stop_seconds=0.5, poll_seconds=0.1)
    (worker,) = [state["id"] for state in platform.state()["workers"]]
    assert platform.stop() == 0
    assert "was killed by SIGKILL" in platform.log
    assert members(worker) == []


def test_workers_die_with_a_killed_platform() -> None:
    platform = LocalPlatform(ECHO)
    (pid,) = [worker["pid"] for worker in platform.state()["workers"]]
    platform.process.kill()
    eventually(lambda: not psutil.pid_exists(pid), what="worker gone")
    platform.stop()


def test_a_taken_port_is_a_plain_message(platform: LocalPlatform) -> None:
    port = httpx.URL(platform.url).port
    with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
        LocalPlatform(ECHO, port=port)


def test_on_a_terminal_there_is_a_live_table_of_jobs() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["COLUMNS"] = "100"
        arguments = ["-m", "local_runpod", "--port=0", "--quiet", "--ping-interval=1", "--", *map(str, ECHO)]
        os.execv(sys.executable, [sys.executable, *arguments])
    seen: list[str] = []
    reader = threading.Thread(target=_read_terminal, args=(terminal, seen), daemon=True)
    reader.start()
    found = eventually(lambda: re.search(r"Runpod on this machine: (\S+)", "".join(seen)), what="URL")
    done = httpx.post(f"{found[1]}/runsync", json={"input": {"return": 1}}, timeout=60).json()
    eventually(lambda: re.search(rf"COMPLETED\x1b\[0m +\d+\.\d\d s  {done['id']}", "".join(seen)), what="a row")
    os.write(terminal, b"\x03")
    eventually(lambda: os.waitpid(pid, os.WNOHANG)[0], what="Ctrl-C")
    reader.join(5)
    os.close(terminal)
    assert "completed 1  failed 0" in "".join(seen)
    assert "stopped" in "".join(seen)


def _read_terminal(terminal: int, seen: list[str]) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while block := os.read(terminal, 65536):
            seen.append(block.decode(errors="replace"))
