"""transcribe, translate and speak, as a person types them: against a server, and the same against a queue endpoint."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tests.conftest import PIPER, ROOT
from tests.local_runpod.local_platform import LocalPlatform, eventually
from tests.speech_server.routes.conftest import CLIPS

ENGLISH = str(CLIPS / "english.opus")


@pytest.fixture(params=["server_url", "queue_url"])
def at(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def call(at: str, *words: str, stdin: bytes = b"", cwd: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "endpoint", *words, "--at", at],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        input=stdin,
        capture_output=True,
        timeout=60,
    )


def test_transcribe_prints_the_text(at: str):
    done = call(at, "transcribe", ENGLISH)
    assert done.returncode == 0, done.stderr
    assert b"quick brown fox" in done.stdout
    assert done.stderr == b""


def test_transcribe_streams_and_writes_a_file(at: str, tmp_path: Path):
    done = call(at, "transcribe", ENGLISH, "--stream", "--output", str(tmp_path / "text.txt"))
    assert b"quick brown fox" in done.stdout
    assert "quick brown fox" in (tmp_path / "text.txt").read_text()


def test_transcribe_reads_standard_input(at: str):
    assert b"fox" in call(at, "transcribe", "-", stdin=Path(ENGLISH).read_bytes()).stdout


def test_transcribe_shows_times(at: str):
    assert b"0.00 -> " in call(at, "transcribe", ENGLISH, "--timestamps").stdout


def test_transcribe_says_who_speaks(at: str):
    done = call(at, "transcribe", str(CLIPS / "conversation.opus"), "--speakers", "--timestamps")
    assert done.returncode == 0, done.stderr
    lines = [re.fullmatch(r"\[ *[\d.]+ -> +[\d.]+\] ([ABC]): .+", line) for line in done.stdout.decode().splitlines()]
    assert all(lines)
    assert {line[1] for line in lines if line} == {"A", "B", "C"}


def test_transcribe_makes_subtitles(at: str):
    assert call(at, "transcribe", ENGLISH, "--format", "vtt").stdout.startswith(b"WEBVTT\n")


def test_translate_is_english(at: str):
    assert b"Madrid is " in call(at, "translate", str(CLIPS / "spanish.opus"), "--language", "es").stdout


def test_speak_writes_the_format_of_the_file(at: str, tmp_path: Path):
    done = call(at, "speak", "Hello there.", "--model", PIPER, "--output", "hello.wav", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"hello.wav\n"), done.stderr
    with wave.open(str(tmp_path / "hello.wav")) as audio:
        assert 0.3 < audio.getnframes() / audio.getframerate() < 3


def test_speak_can_write_to_a_pipe(at: str):
    done = call(at, "speak", "-", "--model", PIPER, "--format", "pcm", "--output", "-", stdin=b"Hello there.")
    assert len(done.stdout) > 10_000
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("transcribe", "missing.wav"), b"missing.wav"),
        (("transcribe", ENGLISH, "--model", "nobody/nothing"), b"not installed locally"),
        (("transcribe", ENGLISH, "--language", "klingon"), b"klingon"),
        (("transcribe", ENGLISH, "--stream", "--language", "klingon"), b"klingon"),
        (("speak", " "), b"input is empty"),
        (("speak", "Hello.", "--voice", "nobody", "--model", PIPER), b"joe"),
    ],
)
def test_a_refusal_is_one_line_and_a_status(at: str, words: tuple[str, ...], reason: bytes):
    status = 2 if "missing.wav" in words else 1  # not sent, refused
    done = call(at, *words)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (status, b"", 1)
    assert done.stderr.startswith(b"error: ")
    assert reason in done.stderr


def test_a_server_that_is_not_there_is_one_line():
    done = call("http://127.0.0.1:9", "transcribe", ENGLISH)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"is the server running?" in done.stderr


@pytest.mark.parametrize("command", ["transcribe", "translate", "speak"])
def test_help_explains_the_options(command: str):
    done = subprocess.run(
        [sys.executable, "-m", "endpoint", command, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--at", "--format", "--stream", "--model", "--output"))


def test_speak_never_overwrites_what_it_was_not_told_to(server_url: str, tmp_path: Path):
    names = [call(server_url, "speak", "Hello.", "--model", PIPER, cwd=tmp_path).stdout for _ in range(3)]
    assert names == [b"speech.mp3\n", b"speech-2.mp3\n", b"speech-3.mp3\n"]


def test_a_refused_speech_leaves_the_file_alone(server_url: str, tmp_path: Path):
    (tmp_path / "kept.mp3").write_bytes(b"from before")
    call(server_url, "speak", " ", "--output", "kept.mp3", cwd=tmp_path)
    assert (tmp_path / "kept.mp3").read_bytes() == b"from before"


def test_a_file_that_no_job_can_carry_is_refused_before_it_is_sent(queue_url: str, tmp_path: Path):
    (tmp_path / "large.wav").write_bytes(bytes(8_000_000))
    done = call(queue_url, "transcribe", str(tmp_path / "large.wav"))
    assert done.returncode == 2
    assert (
        b"large.wav is 10.7 MB as a job and the platform takes 10 MB: `transcribe --out DIR` sends it in pieces"
        in done.stderr
    )


def test_a_command_that_is_interrupted_cancels_its_job(tmp_path: Path):
    with LocalPlatform([sys.executable, "-u", ROOT / "tests/local_runpod/echo_handler.py"], workers=0) as platform:
        process = subprocess.Popen(
            [sys.executable, "-m", "endpoint", "transcribe", ENGLISH, "--at", platform.base],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        (job,) = eventually(lambda: platform.state()["jobs"], what="the job")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (130, "interrupted\n")
        assert platform.status(job["id"])["status"] == "CANCELLED"


def test_help_teaches_and_old_names_say_where_they_went():
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)

    overview = run("endpoint", "--help")
    assert overview.returncode == 0
    assert all(f"python -m endpoint {name}" in overview.stdout for name in ("transcribe", "speak", "talk", "call"))
    for old, new in (("worker", "endpoint deploy"), ("speech_server", "endpoint transcribe")):
        moved = run(old, "client" if old == "speech_server" else "call", "x")
        assert (moved.returncode, moved.stdout, moved.stderr.count("\n")) == (2, "", 1)
        assert f"python -m {new}" in moved.stderr
