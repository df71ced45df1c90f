"""`transcribe` for many and for long recordings, as a person types it, at a queue endpoint with workers of the SDK.

KILLS=20 and FILES=200 run the two long ones as docs/bulk.md says they were run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.local_runpod.local_platform import LocalPlatform, eventually
from tests.speech_server.audio.making import make, sweep

HANDLER = Path(__file__).with_name("sleepy_handler.py")
KILLS = int(os.environ.get("KILLS", "4"))
FILES = int(os.environ.get("FILES", "24"))
MEMORY = 150_000  # kB


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sleepy") / "log"
    path.touch()
    return path


@pytest.fixture(scope="module")
def platform(log: Path) -> Iterator[LocalPlatform]:
    env = {"SLEEPY_SPEED": "300", "SLEEPY_LOG": str(log), "RUNPOD_LOG_LEVEL": "ERROR", "PYTHONPATH": str(ROOT)}
    with LocalPlatform([sys.executable, "-u", HANDLER], env=env, workers=2, no_rate_limits=False) as platform:
        yield platform


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes; ten pieces of 60 s."""
    path = tmp_path_factory.mktemp("recordings") / "long.flac"
    path.write_bytes(make("flac", sound=sweep(600.0, 16_000)))
    return path


def start(platform: LocalPlatform, *words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "endpoint", "transcribe", *map(str, words), "--at", platform.base, "--piece", "60"]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT)


def transcribe(platform: LocalPlatform, *words: str | Path) -> subprocess.CompletedProcess[str]:
    process = start(platform, *words)
    out, err = process.communicate(timeout=200)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def heard(log: Path) -> list[float]:
    """Where the pieces begin that workers have been given, in order."""
    return [float(line) for line in log.read_text().splitlines()]


def pieces_in(manifest: Path) -> dict[int, float]:
    """Those that have been answered, number and start, of a file that may end anywhere."""
    done = {}
    for line in manifest.read_text().splitlines() if manifest.exists() else []:
        with suppress(ValueError):
            if "text" in (read := json.loads(line)):
                done[read["piece"]] = read["start"]
    return done


def test_a_long_recording_comes_back_whole(platform: LocalPlatform, recording: Path, tmp_path: Path):
    done = transcribe(platform, recording, "--out", tmp_path, "--price", "0.684", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (line,) = report["recordings"]
    assert (line["state"], line["pieces"], line["seconds"]) == ("done", 10, 600.0)
    assert line["dollars"] > 0
    assert len((tmp_path / "long.txt").read_text().split()) == 10
    assert os.listdir(tmp_path) == ["long.txt"]  # noqa: PTH208 - a name, not a path


def test_a_dry_run_sends_nothing(platform: LocalPlatform, recording: Path, tmp_path: Path, log: Path):
    before = heard(log)
    done = transcribe(platform, recording, "--out", tmp_path, "--dry-run", "--price", "0.684")
    assert (done.returncode, done.stderr) == (0, "")
    assert "0:10:00      10  would be sent" in done.stdout
    assert "$" in done.stdout
    assert heard(log) == before
    assert not list(tmp_path.iterdir())


def test_killed_at_any_moment_it_goes_on_where_it_was(
    platform: LocalPlatform, recording: Path, tmp_path: Path, log: Path
):
    reference = tmp_path / "reference"
    assert transcribe(platform, recording, "--out", reference, "--language", "en").returncode == 0
    for number in range(KILLS):
        out = tmp_path / str(number)
        manifest = out / "long.txt.pieces"
        process = start(platform, recording, "--out", out, "--language", "en")
        # After a random number of answers, and a random moment more.
        wanted = random.randrange(10)
        eventually(lambda: len(pieces_in(manifest)) >= wanted or process.poll() is not None, 60, "pieces were heard")  # noqa: B023
        with suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0, 0.3))
        process.kill()
        process.communicate()
        done, sent = pieces_in(manifest), len(heard(log))
        if not (out / "long.txt").exists():
            again = transcribe(platform, recording, "--out", out, "--language", "en")
            assert again.returncode == 0, again.stderr
        assert (out / "long.txt").read_bytes() == (reference / "long.txt").read_bytes()
        assert not set(done.values()) & set(heard(log)[sent:]), "a piece that was answered was sent again"
        assert os.listdir(out) == ["long.txt"]  # noqa: PTH208 - a name, not a path


def test_interrupted_it_cancels_what_nobody_waits_for(platform: LocalPlatform, recording: Path, tmp_path: Path):
    process = start(platform, recording, "--out", tmp_path, "--language", "en")
    manifest = tmp_path / "long.txt.pieces"
    eventually(lambda: len(pieces_in(manifest)) >= 1, 60, "a piece was heard")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "goes on" in err
    eventually(
        lambda: not {job["status"] for job in platform.state()["jobs"]} & {"IN_QUEUE", "IN_PROGRESS"}, 20, "jobs end"
    )
    assert pieces_in(manifest)


def test_a_folder_of_everything(platform: LocalPlatform, tmp_path: Path):
    """The right ones are done, the wrong ones named, and the memory of the command does not grow with them."""
    folder = tmp_path / "in"
    good, bad = everything(folder, FILES)
    process = start(platform, folder, "--out", tmp_path / "out", "--language", "en", "--json")
    peaks: list[int] = []
    watching = threading.Thread(target=watch, args=(process, peaks))
    watching.start()
    out, err = process.communicate(timeout=280)
    watching.join()
    assert process.returncode == 1, err
    report = json.loads(out)
    states = {line["source"]: line for line in report["recordings"]}
    assert {name for name, line in states.items() if line["state"] == "done"} == good
    assert {name for name, line in states.items() if line["state"] == "failed" and line["reason"]} == bad
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == len(good)
    assert all(path.suffix == ".txt" and path.read_text().strip() for path in written)
    assert 20_000 < max(peaks) < MEMORY
    print(f"{len(states)} files, {report['total']}, peak {max(peaks)} kB")


def watch(process: subprocess.Popen[Any], peaks: list[int]) -> None:
    status = Path(f"/proc/{process.pid}/status")
    pause = threading.Event()
    while process.poll() is None:
        with suppress(OSError, IndexError, ValueError):
            peaks.append(int(status.read_text().split("VmHWM:")[1].split()[0]))
        pause.wait(0.05)


def everything(folder: Path, count: int) -> tuple[set[str], set[str]]:
    """Recordings and what only looks like some, by their names below the folder."""
    (folder / "déjà vu").mkdir(parents=True)
    second, video = make("mp3", seconds=1.0), make("mp4", seconds=2.0, video=True)
    good: dict[str, bytes] = {}
    bad: dict[str, bytes] = {"empty.mp3": b"", "picture.mp4": b"\x89PNG" + bytes(999)}
    odd = ["-rf.mp3", "a b  c.mp3", "déjà vu/ü.mp3", "quo'te\".mp3", "tab\there.mp3", "100%.mp3", "日本.mp3", "x.MP3"]
    for number in range(count - 4):
        kind = number % 6
        if kind == 0:
            bad[f"broken-{number}.wav"] = random.Random(number).randbytes(2_000)
        elif kind == 1:
            good[f"video-{number}.mp4"] = video
        elif kind == 2 and odd:
            good[odd.pop()] = second
        else:
            good[f"second-{number}.mp3"] = second
    for name, content in (good | bad).items():
        (folder / name).write_bytes(content)
    with wave.open(str(folder / "hours.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", "NONE"))
        minute = sweep(60.0, 16_000)
        for _ in range(120 if count >= 200 else 10):
            file.writeframes(np.asarray(minute).tobytes())
    (folder / "notes.txt").write_text("no recording, and not named")
    return {*good, "hours.wav"}, set(bad)
