"""A file that cannot be opened in a bounded time ends a process made for that, never the server's thread."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speech_server.audio import vetting
from speech_server.errors import AudioUnreadable, RequestTooLarge
from tests.speech_server.audio import bombs
from tests.speech_server.audio.making import KINDS, make
from tests.speech_server.conftest import ENGLISH


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    yield
    while vetter := vetting._take():
        vetter.kill()


def vet(data: bytes) -> None:
    vetting.vet(io.BytesIO(data), threading.Event())


@pytest.mark.parametrize("kind", KINDS)
def test_honest_files_pass(kind: str):
    vet(make(kind, seconds=2.0))


def test_a_large_file_is_handed_over_as_it_is(tmp_path: Path):
    (tmp_path / "long.wav").write_bytes(make("wav", seconds=60.0))
    with (tmp_path / "long.wav").open("rb") as file:
        file.seek(7)
        vetting.vet(file, threading.Event())
        assert file.tell() == 0  # where the decoder begins
    vetting.vet(tmp_path / "long.wav", threading.Event())


def test_an_upload_in_memory_is_at_its_start_afterwards():
    source = io.BytesIO(ENGLISH.read_bytes())
    vetting.vet(source, threading.Event())
    assert source.tell() == 0
    large = io.BytesIO(make("wav", seconds=60.0))
    vetting.vet(large, threading.Event())


def test_what_is_no_audio_is_for_the_decoder_to_tell():
    vet(b"nothing to hear" * 99)
    vet(b"")


@pytest.mark.parametrize(
    "bomb",
    [lambda: bombs.tagged_mp3(40_000), lambda: bombs.tagged_flac(40_000), bombs.probing],
    ids=["tagged mp3", "tagged flac", "probing"],
)
def test_a_file_that_takes_too_long_to_open_is_refused(bomb: Callable[[], bytes]):
    with pytest.raises(RequestTooLarge, match="too long to open"):
        vet(bomb())
    vet(make("wav"))  # the next has a vetter again


def test_whoever_leaves_does_not_wait_for_it():
    stop = threading.Event()
    data = io.BytesIO(bombs.tagged_mp3(200_000))
    waiting = threading.Thread(target=vetting.vet, args=(data, stop))
    waiting.start()
    stop.set()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_vetter_that_died_idle_is_replaced():
    vet(make("wav"))
    (idle,) = vetting._idle
    os.kill(idle._process.pid, signal.SIGKILL)
    vet(make("wav"))
    assert vetting._idle != [idle]


def test_a_file_that_crashes_the_vetter_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(AudioUnreadable):
        vet(make("wav"))


def test_idle_vetters_are_few():
    kept = [vetting.Vetter() for _ in range(4)]
    for vetter in kept:
        vetting._give_back(vetter)
    assert len(vetting._idle) == vetting.MOST_IDLE
    assert [vetter._process.poll() is None for vetter in kept] == [True, True, False, False]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_knows_no_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "canary-1")
    monkeypatch.setenv("CHAT_COMPLETION_API_KEY", "canary-2")
    vet(make("wav"))
    environment = Path(f"/proc/{vetting._idle[0]._process.pid}/environ").read_bytes()
    assert b"canary" not in environment
