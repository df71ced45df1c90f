"""A file that cannot be opened in a bounded time ends a process made for that, never the server's thread."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from speech_server.audio import vetting
from speech_server.audio.vetter import MOST_IN_TIME, MOST_LATE
from speech_server.errors import AudioUnreadable, RequestTooLarge
from tests.speech_server.audio import bombs
from tests.speech_server.audio.making import KINDS, make
from tests.speech_server.conftest import ENGLISH


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    yield
    vetting.end()


def vet(source: bytes | BinaryIO | Path) -> None:
    asyncio.run(vetting.vet(io.BytesIO(source) if isinstance(source, bytes) else source))


def vetter() -> psutil.Process:
    assert vetting._vetter
    return psutil.Process(vetting._vetter.process.pid)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (another process is looked at)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_honest_files_pass(kind: str):
    vet(make(kind, seconds=2.0))


def test_a_large_file_is_handed_over_as_it_is(tmp_path: Path):
    (tmp_path / "long.wav").write_bytes(make("wav", seconds=60.0))
    with (tmp_path / "long.wav").open("rb") as file:
        file.seek(7)
        vet(file)
        assert file.tell() == 0  # where the decoder begins
    vet(tmp_path / "long.wav")


def test_an_upload_in_memory_is_at_its_start_afterwards():
    source = io.BytesIO(ENGLISH.read_bytes())
    vet(source)
    assert source.tell() == 0
    vet(make("wav", seconds=60.0))


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
    vet(make("wav"))  # the next is opened again


@pytest.mark.anyio
async def test_whoever_leaves_leaves_nothing_running():
    waiting = asyncio.create_task(vetting.vet(io.BytesIO(bombs.tagged_mp3(200_000))))
    await until(lambda: vetting._vetter and vetter().children())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: not vetter().children())


@pytest.mark.anyio
async def test_long_work_makes_room_for_honest_files():
    """More of them than are opened at once: late ones go on at a low priority, and only so many of them."""
    long = [asyncio.create_task(vetting.vet(io.BytesIO(bombs.tagged_mp3(200_000)))) for _ in range(16)]
    await until(lambda: vetting._vetter and any(child.nice() > 0 for child in vetter().children()))
    await vetting.vet(io.BytesIO(make("wav")))
    await until(lambda: len(vetter().children()) <= MOST_LATE + MOST_IN_TIME)
    for task in long:
        task.cancel()
    await asyncio.gather(*long, return_exceptions=True)


def test_a_vetter_that_died_is_replaced():
    vet(make("wav"))
    died = vetter()
    os.kill(died.pid, signal.SIGKILL)
    vet(make("wav"))
    assert vetter().pid != died.pid


@pytest.mark.anyio
async def test_a_vetter_that_dies_at_work_is_replaced():
    asking = asyncio.create_task(vetting.vet(io.BytesIO(bombs.tagged_mp3(200_000))))
    await until(lambda: vetting._vetter and vetter().children())
    child = vetter().children()[0]
    os.kill(vetter().pid, signal.SIGKILL)
    with pytest.raises(RequestTooLarge, match="too long to open"):
        await asking
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.anyio
async def test_a_file_that_crashes_its_child_is_refused():
    asking = asyncio.create_task(vetting.vet(io.BytesIO(bombs.tagged_mp3(200_000))))
    await until(lambda: vetting._vetter and vetter().children())
    os.kill(vetter().children()[0].pid, signal.SIGSEGV)
    with pytest.raises(AudioUnreadable):
        await asking


@pytest.mark.parametrize("is_dead_already", [False, True])
def test_a_vetter_that_never_starts_refuses_the_file(monkeypatch: pytest.MonkeyPatch, *, is_dead_already: bool):
    running = vetting._running

    def seen_dead() -> vetting.Vetter:
        made = running()
        made.process.wait(10)
        return made

    monkeypatch.setattr(sys, "executable", "/bin/false")
    if is_dead_already:
        monkeypatch.setattr(vetting, "_running", seen_dead)
    with pytest.raises(AudioUnreadable):
        vet(make("wav"))


def test_it_ends_with_its_server():
    vet(make("wav"))
    process = vetter()
    began = time.monotonic()
    vetting.end()
    assert not process.is_running()
    assert time.monotonic() - began < vetting._LONGEST_DEATH  # of itself


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_knows_no_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEY", "canary-1")
    monkeypatch.setenv("CHAT_COMPLETION_API_KEY", "canary-2")
    vet(make("wav"))
    environment = Path(f"/proc/{vetter().pid}/environ").read_bytes()
    assert b"canary" not in environment
