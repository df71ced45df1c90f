"""What a job lends is read by whoever knows its address, as long as the job lasts."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from worker.errors import MediaUnavailable
from worker.job.lending import Lender

pytestmark = pytest.mark.anyio


class Digits:
    """Of a million bytes; a read at 500,000 fails, one at 600,000 does not end."""

    size = 1_000_000

    def __init__(self) -> None:
        self.is_waiting = asyncio.Event()

    async def read(self, start: int, count: int) -> bytes:
        if start == 500_000:
            raise MediaUnavailable("input.file_url: gone")
        if start == 600_000:
            self.is_waiting.set()
            await asyncio.Event().wait()
        return (b"0123456789" * (count // 10 + 2))[start % 10 :][:count]


async def get(url: str, asked: str | None) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, headers={"range": asked} if asked else {})


async def test_a_part_is_read_with_its_size_and_type():
    lender = Lender("key")
    async with lender.lend(Digits(), "audio/pcm") as loan:
        part = await get(loan.url, "bytes=10-14")
        assert (part.status_code, part.content) == (206, b"01234")
        assert part.headers["content-range"].endswith("/1000000")
        assert part.headers["content-type"] == "audio/pcm"
    await lender.close()


@pytest.mark.parametrize("asked", [None, "bytes=5-", "bytes=-5", "bytes=9-5", "bytes=1000000-1000001", "bytes=0-1,4-5"])
async def test_only_one_part_that_is_there_can_be_asked_for(asked: str | None):
    lender = Lender("key")
    async with lender.lend(Digits(), "audio/wav") as loan:
        assert (await get(loan.url, asked)).status_code == 416
    await lender.close()


async def test_no_other_address_leads_anywhere_nor_this_one_after_the_job():
    lender = Lender("key")
    async with lender.lend(Digits(), "audio/wav") as loan:
        place = loan.url.rpartition("/key/")
        for wrong in (loan.url[:-1], f"{place[0]}/{place[2]}", f"{place[0]}/other/{place[2]}", f"{place[0]}/key/"):
            assert (await get(wrong, "bytes=0-1")).status_code == 404
    assert (await get(loan.url, "bytes=0-1")).status_code == 404
    await lender.close()


async def test_why_a_part_cannot_be_had_stays_with_the_job():
    lender = Lender("key")
    async with lender.lend(Digits(), "audio/wav") as loan:
        assert (await get(loan.url, "bytes=500000-500009")).status_code == 502
        assert isinstance(loan.trouble, MediaUnavailable)
    await lender.close()


async def test_a_job_that_ends_waits_for_no_reader():
    lender, digits = Lender("key"), Digits()
    async with lender.lend(digits, "audio/wav") as loan:
        reading = asyncio.create_task(get(loan.url, "bytes=600000-600009"))
        await digits.is_waiting.wait()
    with pytest.raises(httpx.HTTPError):
        await reading
    await lender.close()
