"""The command line client and the example, as a person runs them."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.talking import ENGLISH_OF_SPANISH, TalkServer, nearly, plain, understood

pytestmark = pytest.mark.xdist_group("talk")
CLIP = ROOT / "examples" / "clips" / "english.opus"
SPANISH = ROOT / "examples" / "clips" / "spanish.opus"
SPOKEN = "the quick brown fox jumps over the lazy dog speech on demand paid by the second"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=os.environ,
    )


def test_it_prints_what_a_file_says(talk: TalkServer):
    done = run("-m", "endpoint", "talk", CLIP, "--fast", "--at", talk.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert plain(done.stdout.splitlines()[-1]) == SPOKEN


def test_it_holds_a_conversation_and_keeps_the_answer(talk: TalkServer, tmp_path: Path):
    talk.answer("That is a nice sentence.")
    command = ["-m", "endpoint", "talk", CLIP, "--fast", "--at", talk.url]
    done = run(*command, "--intent", "conversation", "--output", tmp_path / "answer.wav")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "> That is a nice sentence."
    assert understood(talk.url, (tmp_path / "answer.wav").read_bytes()) == nearly("that is a nice sentence")


def test_it_puts_a_file_into_english_as_text_and_sound(talk: TalkServer, tmp_path: Path):
    command = ["-m", "endpoint", "talk", SPANISH, "--fast", "--at", talk.url, "--intent", "translation"]
    done = run(*command, "--output", tmp_path / "english.wav")
    assert (done.returncode, done.stderr) == (0, "")
    assert ENGLISH_OF_SPANISH.fullmatch(plain(done.stdout))
    assert understood(talk.url, (tmp_path / "english.wav").read_bytes()) == nearly(done.stdout)
    silent = run(*command, "--language", "es")
    assert ENGLISH_OF_SPANISH.fullmatch(plain(silent.stdout))


def test_it_says_what_is_wrong(talk: TalkServer, tmp_path: Path):
    missing = run("-m", "endpoint", "talk", tmp_path / "none.wav")
    assert (missing.returncode, "no such file" in missing.stderr) == (2, True)
    refused = run("-m", "endpoint", "talk", CLIP, "--at", talk.url, "--language", "klingon")
    assert (refused.returncode, "klingon" in refused.stderr) == (1, True)
    nobody = run("-m", "endpoint", "talk", CLIP, "--at", "http://127.0.0.1:9")
    assert (nobody.returncode, "error:" in nobody.stderr) == (2, True)
    (tmp_path / "text.wav").write_text("this is no audio")
    noise = run("-m", "endpoint", "talk", tmp_path / "text.wav", "--at", talk.url)
    assert (noise.returncode, "cannot be decoded" in noise.stderr) == (2, True)


def test_the_example_transcribes_and_converses(talk: TalkServer, tmp_path: Path):
    answer = tmp_path / "answer.wav"
    talk.answer("Fine.")
    base = ["examples/realtime.py", CLIP, "--base-url", f"{talk.url}/v1"]
    done = run(*base, "--model", "some-llm", "--answer", answer)
    assert done.returncode == 0, done.stderr
    assert SPOKEN in plain(done.stdout)
    with wave.open(str(answer)) as file:
        assert file.getnframes() / file.getframerate() > 0.3
