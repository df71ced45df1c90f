"""Runs what a document says: in a folder of its own, with the programs it names, at the addresses given here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np

from tests.conftest import ROOT
from tests.speech_server.audio.making import KINDS, make

ENGLISH, SPANISH = ROOT / "examples/clips/english.opus", ROOT / "examples/clips/spanish.opus"
ENGLISH_WORDS = "the quick brown fox jumps over the lazy dog speech on demand paid by the second"
SECONDS = 120  # for one command


def run(folder: Path, *command: str, **environment: str) -> str:
    """What a command prints; it must succeed, and an HTTP status of 400 or more is no success of curl's."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "RUNPOD_API_KEY": "any"}
    env |= {"ENDPOINT_ID": "local", "CURL_HOME": str(folder)} | environment
    (folder / ".curlrc").write_text("fail-with-body\n")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def shell(folder: Path, command: str) -> str:
    return run(folder, "bash", "-e", "-c", command)


def python(folder: Path, program: str) -> str:
    """From a file in the folder: the documents' programs look for others beside themselves."""
    (folder / "program.py").write_text(program)
    return run(folder, sys.executable, "program.py")


def recording(kind: str, clip: Path = ENGLISH, *, video: bool = False) -> bytes:
    """A clip as a file of another kind."""
    rate = KINDS[kind][2] or 16_000
    resampler = av.AudioResampler("s16", "mono", rate)
    with av.open(str(clip)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    sound = np.concatenate([frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]])
    return make(kind, rate=rate, video=video, sound=sound)


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """The address of the folder's files."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
