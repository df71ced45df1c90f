"""The command line client against the real server."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tests.conftest import PIPER, ROOT
from tests.speech_server.routes.conftest import CLIPS

ENGLISH = str(CLIPS / "english.opus")


def call(server_url: str, *words: str, stdin: bytes = b"", cwd: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "speech_server", "client", *words, "--server", server_url],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        input=stdin,
        capture_output=True,
        timeout=60,
    )


def test_transcribe_prints_the_text(server_url: str):
    done = call(server_url, "transcribe", ENGLISH)
    assert done.returncode == 0, done.stderr
    assert b"quick brown fox" in done.stdout
    assert done.stderr == b""


def test_transcribe_streams_and_writes_a_file(server_url: str, tmp_path: Path):
    done = call(server_url, "transcribe", ENGLISH, "--stream", "--output", str(tmp_path / "text.txt"))
    assert b"quick brown fox" in done.stdout
    assert "quick brown fox" in (tmp_path / "text.txt").read_text()


def test_transcribe_reads_standard_input(server_url: str):
    assert b"fox" in call(server_url, "transcribe", "-", stdin=Path(ENGLISH).read_bytes()).stdout


def test_transcribe_shows_times(server_url: str):
    assert b"0.00 -> " in call(server_url, "transcribe", ENGLISH, "--timestamps").stdout


def test_transcribe_makes_subtitles(server_url: str):
    assert call(server_url, "transcribe", ENGLISH, "--format", "vtt").stdout.startswith(b"WEBVTT\n")


def test_translate_is_english(server_url: str):
    assert b"Madrid is " in call(server_url, "translate", str(CLIPS / "spanish.opus"), "--language", "es").stdout


def test_speak_writes_the_format_of_the_file(server_url: str, tmp_path: Path):
    done = call(server_url, "speak", "Hello there.", "--model", PIPER, "--output", "hello.wav", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"hello.wav\n"), done.stderr
    with wave.open(str(tmp_path / "hello.wav")) as audio:
        assert 0.3 < audio.getnframes() / audio.getframerate() < 3


def test_speak_can_write_to_a_pipe(server_url: str):
    done = call(server_url, "speak", "-", "--model", PIPER, "--format", "pcm", "--output", "-", stdin=b"Hello there.")
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
def test_a_refusal_is_one_line_and_a_status(server_url: str, words: tuple[str, ...], reason: bytes):
    done = call(server_url, *words)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert done.stderr.startswith(b"error: ")
    assert reason in done.stderr


def test_a_server_that_is_not_there_is_one_line():
    done = call("http://127.0.0.1:9", "transcribe", ENGLISH)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"is the server running?" in done.stderr


@pytest.mark.parametrize("command", ["transcribe", "translate", "speak"])
def test_help_explains_the_options(command: str):
    done = subprocess.run(
        [sys.executable, "-m", "speech_server", "client", command, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--server", "--format", "--stream", "--model", "--output"))
