"""Looking names up holds nobody up: bounded threads of its own, limits for whoever waits, nothing left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from outgoing.addresses import is_any, is_public
from outgoing.door import Door
from outgoing.errors import AddressRefused, HostUnknown
from outgoing.lookups import NAME, THREADS, LookUps
from worker.errors import MediaUnavailable
from worker.job.download import Download
from worker.settings import Settings

pytestmark = pytest.mark.anyio
PUBLIC = ["8.8.8.8", "2606:4700::1111", "1.1.1.1", "203.0.114.1", "2a00:1450:4001::1"]
NOT_PUBLIC = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.8", "192.168.1.1",
    "192.88.99.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::808:808", "2001:0:808:808::", "2002:808:808::", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
async def test_public_addresses_are_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_other_addresses_are_not(address: str):
    assert not is_public(address)


class SlowServer:
    """A name server that answers once it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()

    def look_up(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        self.gate.wait(120)
        return ["127.0.0.1"]


@pytest.fixture
def slow() -> Iterator[SlowServer]:
    server = SlowServer()
    yield server
    server.gate.set()
    until(lambda: threads() == 0)


def threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def until(done: object) -> None:
    limit = time.monotonic() + 60
    while not done():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.01)


async def nowhere(_: bytes) -> None: ...


async def test_cancelled_downloads_with_slow_names_hold_nobody_up(slow: SlowServer):
    fetches = [
        asyncio.create_task(
            Download(f"http://slow-{number}.example/a.wav", "input.file_url", Settings(), slow.look_up).to(nowhere)
        )
        for number in range(3 * THREADS)
    ]
    await asyncio.to_thread(until, lambda: len(slow.asked) == THREADS)
    for fetch in fetches:
        fetch.cancel()
    await asyncio.gather(*fetches, return_exceptions=True)
    # The look-ups still hang, on a bounded number of threads; the loop's own are free, for more calls than it has.
    assert threads() == THREADS
    await asyncio.wait_for(asyncio.gather(*(asyncio.to_thread(int) for _ in range(64))), 60)
    assert not slow.gate.is_set()
    slow.gate.set()
    await asyncio.to_thread(until, lambda: threads() == 0)
    assert len(slow.asked) == THREADS  # those in line were taken out of it


async def test_whoever_waits_for_a_name_has_a_limit(slow: SlowServer):
    with pytest.raises(HostUnknown, match=r"not known after 0\.05 s"):
        await Door(is_any, slow.look_up).addresses_async("slow.example", 80, 0.05)
    with pytest.raises(HostUnknown, match=r"not known after 0\.05 s"):
        await asyncio.to_thread(Door(is_any, slow.look_up).addresses, "slow.example", 80, 0.05)
    fetch = Download("http://slow.example/", "input.file_url", Settings(download_stall_timeout=0.1), slow.look_up)
    with pytest.raises(MediaUnavailable, match=r"'slow\.example' is not known after 0\.1 s"):
        await fetch.to(nowhere)


async def test_one_address_inside_refuses_the_host():
    door = Door.to_strangers(look_up=lambda host, port: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(AddressRefused, match=r"'a\.example' is 10\.0\.0\.1, which is not a public address"):
        await door.addresses_async("a.example", 80, 10)


async def test_a_name_without_addresses_is_unknown():
    with pytest.raises(HostUnknown):
        await Door(is_any, lambda host, port: []).addresses_async("a.example", 80, 10)


async def test_a_process_without_threads_says_so_and_recovers(monkeypatch: pytest.MonkeyPatch):
    def cannot(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    line = LookUps(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot)
        with pytest.raises(RuntimeError):
            line.submit(lambda host, port: ["127.0.0.1"], "a.example", 80)
    futures = [line.submit(lambda host, port: [host], f"{number}.example", 80) for number in range(9)]
    assert [future.result(60) for future in futures] == [[f"{number}.example"] for number in range(9)]


async def test_a_look_up_that_breaks_takes_no_thread_along():
    line = LookUps(1)

    def broken(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    for _ in range(3):
        with pytest.raises(OSError, match="no such name"):
            line.submit(broken, "a.example", 80).result(60)
    assert line.submit(lambda host, port: ["127.0.0.1"], "a.example", 80).result(60) == ["127.0.0.1"]
