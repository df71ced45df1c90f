"""python -m endpoint call, against a local platform with a worker that does what its input says."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from endpoint.__main__ import main
from tests.conftest import ROOT
from tests.local_runpod.local_platform import LocalPlatform, eventually


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    with LocalPlatform([sys.executable, "-u", ROOT / "tests" / "local_runpod" / "echo_handler.py"]) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path):
    def write(order: Any) -> str:
        path = tmp_path / "job.json"
        path.write_text(json.dumps(order))
        return str(path)

    return write


AUDIO = b"RIFF not really\0\xff"
SPOKEN = {"status": "success", "content_type": "audio/wav", "audio_content": base64.b64encode(AUDIO).decode()}


def test_the_result_goes_to_stdout_as_json(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    assert main(["call", platform.base, job({"input": {"return": {"text": "hällo"}}})]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"text": "hällo"}
    assert "COMPLETED in" in err


def test_an_input_alone_is_a_job(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    assert main(["call", platform.base, job({"return": [1, 2]})]) == 0
    assert json.loads(capsys.readouterr().out) == [1, 2]


def test_a_job_comes_from_stdin_too(platform: LocalPlatform):
    done = subprocess.run(
        [sys.executable, "-m", "endpoint", "call", platform.base, "-"],
        input='{"return": "from stdin"}', cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == "from stdin"


def test_progress_is_shown_while_the_job_runs(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    order = {"progress": [{"seconds_done": 12.5, "seconds": 60}], "sleep": 1.5, "return": "done"}
    assert main(["call", platform.base, job(order)]) == 0
    assert "IN_PROGRESS seconds_done 12.5 seconds 60" in capsys.readouterr().err


def test_a_terminal_is_spared_the_base64(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    main(["call", platform.base, job({"return": SPOKEN})])
    out = capsys.readouterr().out
    assert SPOKEN["audio_content"] not in out
    assert "--output FILE writes the bytes" in out


@pytest.mark.parametrize(
    ("output", "written"),
    [
        (SPOKEN, AUDIO),
        (
            {"text": "1\n00:00 --> 00:01\nhé\n", "content_type": "application/x-subrip"},
            "1\n00:00 --> 00:01\nhé\n".encode(),
        ),
        ({"text": "hello"}, b'{\n  "text": "hello"\n}\n'),
        ([{"start": 1, "end": 2}], b'[\n  {\n    "start": 1,\n    "end": 2\n  }\n]\n'),
    ],
    ids=["audio", "subtitles", "object", "list"],
)
def test_output_writes_what_the_result_holds(platform: LocalPlatform, job, tmp_path: Path, output: Any, written: bytes):
    main(["call", platform.base, job({"return": output}), "--output", str(tmp_path / "result")])
    assert (tmp_path / "result").read_bytes() == written


def test_pieces_are_shown_in_order_before_the_result(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    pieces = [{"delta": "Hello"}, {"delta": " world"}, "!\n"]
    assert main(["call", platform.base, job({"pieces": pieces, "return": "whole"}), "--stream"]) == 0
    assert capsys.readouterr().out == 'Hello world!\n"whole"\n'


def test_a_failed_job_says_why_and_exits_1(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    error = json.dumps({"status": 404, "code": "model_not_found", "message": "no model 'x'"})
    assert main(["call", platform.base, job({"return": {"error": error}})]) == 1
    assert "404 model_not_found: no model 'x'" in capsys.readouterr().err


def test_a_job_that_takes_too_long_is_cancelled(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    assert main(["call", platform.base, job({"sleep": 60}), "--timeout", "0.5"]) == 3
    err = capsys.readouterr().err
    assert "after 0.5 s: cancelled" in err
    job_id = err.split()[0]
    assert platform.status(job_id)["status"] == "CANCELLED"


def test_ctrl_c_cancels_the_job(platform: LocalPlatform, job):
    process = subprocess.Popen(
        [sys.executable, "-m", "endpoint", "call", platform.base, job({"sleep": 60})],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    line = process.stderr.readline()
    job_id = line.split()[0]
    platform.wait_until_running(job_id)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"{job_id} cancelled" in err
    eventually(lambda: platform.status(job_id)["status"] == "CANCELLED", what="the job is cancelled")


@pytest.mark.parametrize("text", ["not json", "[]"])
def test_a_file_that_is_no_job_is_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "job.json"
    path.write_text(text)
    assert main(["call", "http://127.0.0.1:9/v2/none", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_an_endpoint_that_is_not_there_is_named(job, capsys: pytest.CaptureFixture[str]):
    assert main(["call", "http://127.0.0.1:9/v2/none", job({})]) == 2
    assert "http://127.0.0.1:9/v2/none/run cannot be reached" in capsys.readouterr().err


def test_the_key_is_sent_and_its_lack_explained(
    job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with LocalPlatform(["true"], workers=0, api_key="the-key") as locked:
        monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
        assert main(["call", locked.base, job({"return": 1})]) == 2
        assert "RUNPOD_API_KEY is missing" in capsys.readouterr().err
        monkeypatch.setenv("RUNPOD_API_KEY", "the-key")
        assert main(["call", locked.base, job({"return": 1}), "--timeout", "0.1"]) == 3


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "deploy" in out
    assert "call" in out


def test_the_commands_start_without_the_sdk():
    """`call` and `deploy` answer --help at once: the SDK takes 1.5 s to import."""
    code = "import sys, endpoint.call, endpoint.deploy, endpoint.__main__; print('runpod' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "False"


def test_pieces_of_audio_go_into_the_file_as_they_come(platform: LocalPlatform, job, tmp_path: Path, capsys):
    parts = [base64.b64encode(AUDIO[:5]).decode(), base64.b64encode(AUDIO[5:]).decode()]
    pieces = [
        {"content_type": "audio/mpeg", "audio_content": parts[0]},
        {"type": "speech.audio.delta", "audio": parts[1]},
    ]
    (tmp_path / "sound").write_bytes(b"from an earlier call")
    assert (
        main(
            [
                "call",
                platform.base,
                job({"pieces": pieces, "return": {"text": "what the file must not become"}}),
                "--stream",
                "--output",
                str(tmp_path / "sound"),
            ]
        )
        == 0
    )
    assert (tmp_path / "sound").read_bytes() == AUDIO
    assert capsys.readouterr().out == ""


def test_a_streamed_chat_is_shown_as_text(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    deltas = [{"content": "Hi"}, {"audio": {"transcript": " you"}}, {}]
    pieces = [{"choices": [{"delta": delta}]} for delta in deltas]
    main(["call", platform.base, job({"pieces": pieces, "return": None}), "--stream"])
    assert capsys.readouterr().out.startswith("Hi you")


def test_the_end_of_a_transcript_is_a_new_line(platform: LocalPlatform, job, capsys: pytest.CaptureFixture[str]):
    pieces = [{"type": "transcript.text.delta", "delta": "Hello"}, {"type": "transcript.text.done", "text": "Hello"}]
    main(["call", platform.base, job({"pieces": pieces, "return": {"text": "Hello"}}), "--stream"])
    assert capsys.readouterr().out == 'Hello\n{\n  "text": "Hello"\n}\n'
