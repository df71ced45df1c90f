"""One server process is kept alive, whatever it does, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.worker.conftest import STAND_IN, eventually, server_pid
from worker.errors import ServerUnavailable
from worker.server.child import child_command, child_environment
from worker.server.supervisor import Supervisor

Supervise = Callable[..., Supervisor]


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_it_is_ready_once_the_health_path_answers_200(supervise: Supervise):
    began = time.monotonic()
    supervisor = supervise("--start-seconds 0.5")
    server = supervisor.wait_ready()
    assert time.monotonic() - began >= 0.5
    assert get(server.url + "/ping").status_code == 200


def test_starting_twice_is_one_server(supervise: Supervise):
    supervisor = supervise()
    supervisor.start()
    assert supervisor.wait_ready() is supervisor.wait_ready()


@pytest.mark.anyio
async def test_the_event_loop_gets_the_same_server(supervise: Supervise):
    supervisor = supervise()
    assert await supervisor.ensure_ready() is supervisor.wait_ready()


def test_a_server_that_is_killed_is_restarted_elsewhere_and_says_why_it_died(supervise: Supervise):
    supervisor = supervise("--print 'out of luck'")
    first = supervisor.wait_ready()
    os.kill(server_pid(supervisor), signal.SIGKILL)
    assert first.died.result(timeout=2) == "killed by SIGKILL (out of memory?); its last words: out of luck"
    second = supervisor.wait_ready()
    assert second.url != first.url
    assert get(second.url + "/ping").status_code == 200


def test_a_server_that_crashes_while_starting_is_given_up_after_three_times(supervise: Supervise):
    supervisor = supervise("--crash-at-start 5 --print boom")
    with pytest.raises(ServerUnavailable) as caught:
        supervisor.wait_ready()
    assert "crashed 3 times in a row: ended with exit status 5 while starting; its last words: boom" in str(
        caught.value
    )
    assert supervisor.gave_up.result(timeout=1) == str(caught.value)


def test_a_command_that_does_not_exist_is_named(supervise: Supervise):
    supervisor = supervise(server_command="no-such-program --x", server_max_crashes=1)
    with pytest.raises(ServerUnavailable, match="cannot run no-such-program: No such file"):
        supervisor.wait_ready()


def test_an_answered_request_ends_a_row_of_crashes(supervise: Supervise):
    supervisor = supervise(server_max_crashes=2)
    for _ in range(4):
        server = supervisor.wait_ready()
        server.answered.set()
        os.kill(server_pid(supervisor), signal.SIGKILL)
        server.died.result(timeout=2)
    assert not supervisor.gave_up.done()


def test_a_server_that_hangs_while_starting_is_killed(supervise: Supervise):
    supervisor = supervise("--hang", server_start_timeout=0.3, server_max_crashes=1)
    with pytest.raises(ServerUnavailable, match="no sign of life"):
        supervisor.wait_ready()


@pytest.mark.parametrize("path", ["/wrong", "/"])
def test_answers_to_a_wrong_health_path_are_no_sign_of_life(supervise: Supervise, path: str):
    supervisor = supervise(
        "--access-log",
        server_health_path=path,
        server_start_timeout=0.5,
        server_max_crashes=1,
        server_ping_interval=0.1,
    )
    with pytest.raises(
        ServerUnavailable, match=f"answered 404 at {path} for .* SPEECH_SERVER_HEALTH_PATH must be"
    ) as e:
        supervisor.wait_ready()
    assert f"GET {path}" not in str(e.value), "its own questions are not its last words"


def test_a_server_that_says_not_yet_for_ever_is_killed_however_it_logs_the_questions(supervise: Supervise):
    supervisor = supervise("--access-log --start-seconds 600", server_start_timeout=0.5, server_max_crashes=1)
    with pytest.raises(ServerUnavailable, match="no sign of life"):
        supervisor.wait_ready()


def test_questions_do_not_show_in_the_log_and_jobs_do(supervise: Supervise, capfd: pytest.CaptureFixture[str]):
    supervisor = supervise("--access-log", server_ping_interval=0.1)
    url = supervisor.wait_ready().url
    eventually(lambda: get(url + "/gauge").json()["polls"]["ping"] > 5)
    get(url + "/echo/ping-pong")
    log = ""

    def shows() -> bool:
        nonlocal log
        log += capfd.readouterr().out
        return '"GET /echo/ping-pong HTTP/1.1" 200' in log

    eventually(shows)
    assert '"GET /ping HTTP' not in log


def test_log_output_is_a_sign_of_life(supervise: Supervise):
    chatty = (
        "import sys, time, runpy\n"
        "for i in range(12): print('downloading', i, end='\\r', flush=True); time.sleep(0.1)\n"
        "sys.argv[1:] = []; sys.path.insert(0, 'tests/worker'); runpy.run_path(PATH, run_name='__main__')"
    )
    path = STAND_IN.split()[-1]
    command = f'python -c "{chatty.replace("PATH", repr(path))}"'
    supervisor = supervise(server_command=command, server_start_timeout=0.6, server_max_crashes=1)
    assert get(supervisor.wait_ready().url + "/ping").status_code == 200


def test_bytes_written_to_disk_are_a_sign_of_life(supervise: Supervise, tmp_path: Path):
    loading = (
        "import sys, time, runpy\n"
        f"with open({str(tmp_path / 'model')!r}, 'wb') as f:\n"
        "    for i in range(12): f.write(bytes(1 << 20)); f.flush(); time.sleep(0.1)\n"
        "sys.argv[1:] = []; sys.path.insert(0, 'tests/worker'); runpy.run_path(PATH, run_name='__main__')"
    )
    path = STAND_IN.split()[-1]
    command = f'python -c "{loading.replace("PATH", repr(path))}"'
    supervisor = supervise(server_command=command, server_start_timeout=0.6, server_max_crashes=1)
    assert get(supervisor.wait_ready().url + "/ping").status_code == 200


def test_stopping_ends_the_server_and_all_it_forked(supervise: Supervise):
    supervisor = supervise("--fork")
    supervisor.wait_ready()
    family = psutil.Process(server_pid(supervisor))
    pids = [family.pid, *(child.pid for child in family.children())]
    assert len(pids) == 2
    supervisor.stop()
    eventually(lambda: not any(map(is_alive, pids)))
    with pytest.raises(ServerUnavailable, match="stopping"):
        supervisor.wait_ready()


def test_what_a_crashed_server_forked_is_swept(supervise: Supervise):
    supervisor = supervise("--fork")
    supervisor.wait_ready()
    server = psutil.Process(server_pid(supervisor))
    forked = server.children()[0].pid
    server.kill()
    eventually(lambda: not is_alive(forked))


def test_a_server_that_ignores_sigterm_is_killed(supervise: Supervise):
    supervisor = supervise("--ignore-sigterm", server_stop_timeout=0.2)
    supervisor.wait_ready()
    pid = server_pid(supervisor)
    supervisor.stop()
    assert not is_alive(pid)


def test_stopping_while_it_starts_or_before_is_prompt(supervise: Supervise):
    supervisor = supervise("--hang")
    supervisor.stop()
    supervisor.stop()
    with pytest.raises(ServerUnavailable):
        supervisor.wait_ready()


def test_killing_the_worker_kills_the_server(tmp_path: Path):
    worker = subprocess.Popen(
        [sys.executable, "-u", "handler.py", "--rp_serve_api", "--rp_api_port", "0"],
        env={**os.environ, "SPEECH_SERVER_COMMAND": STAND_IN},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout
    try:
        next(line for line in worker.stdout if "server ready" in line)
        children = psutil.Process(worker.pid).children(recursive=True)
        assert len(children) == 1
        worker.kill()
        eventually(lambda: not is_alive(children[0].pid))
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()


def test_the_server_does_not_see_platform_and_bucket_keys(supervise: Supervise):
    secrets = {
        "RUNPOD_AI_API_KEY": "1",
        "RUNPOD_API_KEY": "1",
        "RUNPOD_WEBHOOK_GET_JOB": "1",
        "BUCKET_SECRET_ACCESS_KEY": "1",
        "AWS_SECRET_ACCESS_KEY": "1",
        "AWS_REGION": "eu",
        "HF_TOKEN": "hub",
        "RUNPOD_POD_ID": "pod",
    }
    supervisor = supervise(environ=secrets, server_pass_env="AWS_REGION, OTHER")
    seen = get(supervisor.wait_ready().url + "/environment").json()
    assert {name: seen[name] for name in secrets if name in seen} == {
        "AWS_REGION": "eu",
        "HF_TOKEN": "hub",
        "RUNPOD_POD_ID": "pod",
    }


def test_secrets_are_blanked_in_the_servers_log(supervise: Supervise, capfd: pytest.CaptureFixture[str]):
    supervisor = supervise("--print 'token is hf_abcdefgh'", environ={"HF_TOKEN": "hf_abcdefgh"})
    supervisor.wait_ready()
    assert "token is ***" in capfd.readouterr().out


def test_the_command_is_filled_in():
    assert child_command("python -m x --port {port}", "h", 7) == [sys.executable, "-m", "x", "--port", "7"]
    assert child_command("uvicorn 'a b' --host={host}", "h", 7) == ["uvicorn", "a b", "--host=h"]
    upstream = "env -C /srv/speaches URL=http://{host}:{port} .venv/bin/uvicorn --port {port}"
    assert child_command(upstream, "h", 7)[3:] == ["URL=http://h:7", ".venv/bin/uvicorn", "--port", "7"]
    assert child_environment({"UVICORN_PORT": "1"}, (), "h", 7)["UVICORN_PORT"] == "7"
    assert child_environment({}, (), "h", 7)["REALTIME_CALLS"] == "false"
    assert child_environment({"REALTIME_CALLS": "true"}, (), "h", 7)["REALTIME_CALLS"] == "true"


def test_an_assignment_in_the_command_is_filled_in_and_its_folder_is_the_servers_own(supervise: Supervise):
    folder = Path(__file__).parent.parent
    command = f"env -C {folder} LOOPBACK_HOST_URL=http://127.0.0.1:{{port}} {sys.executable} stand_in_server.py"
    server = supervise(server_command=command).wait_ready()
    seen = get(server.url + "/environment").json()
    assert seen["LOOPBACK_HOST_URL"] == server.url


def test_a_process_that_cannot_be_killed_is_given_up(supervise: Supervise, monkeypatch: pytest.MonkeyPatch):
    """Stuck in a driver: no signal ends it. Stood in for by signals that are lost."""
    supervisor = supervise("--hang", server_start_timeout=0.2)
    monkeypatch.setattr("worker.server.child._KILL_SECONDS", 0.2)
    with monkeypatch.context() as lost:
        lost.setattr(os, "killpg", lambda *_: None)
        with pytest.raises(ServerUnavailable, match=r"cannot be ended: .* was killed, but does not end"):
            supervisor.wait_ready()
        assert supervisor.gave_up.done()
    stuck = supervisor._child
    assert stuck
    assert stuck.kill()
    stuck.reap()


@pytest.mark.parametrize("name", ["server-log", "server-exit", "server-pulse"])
def test_a_thread_that_cannot_be_started_ends_the_worker_and_hangs_nobody(
    supervise: Supervise, monkeypatch: pytest.MonkeyPatch, name: str
):
    start = threading.Thread.start
    before = psutil.Process().children()

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    supervisor = supervise()
    assert "cannot be started: can't start new thread" in supervisor.gave_up.result(timeout=10)
    with pytest.raises(ServerUnavailable, match="cannot be started"):
        supervisor.wait_ready()
    eventually(lambda: not [one for one in psutil.Process().children() if one not in before and is_alive(one.pid)])
