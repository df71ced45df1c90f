"""What one client sends is refused or stopped, while the others are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.conftest import WHISPER, ServerProcess
from tests.speech_server.audio import bombs
from tests.speech_server.routes.conftest import silence

pytestmark = pytest.mark.anyio

HEAR = "/v1/audio/transcriptions"
FIND = "/v1/audio/speech/timestamps"
BOMBS = {
    "packets": lambda: bombs.packets(200_000),
    "packets of one size": lambda: bombs.packets(2_000_000, size=1, per_chunk=2000),
    "probing": bombs.probing,
    "tags": lambda: bombs.tagged_mp3(40_000),
    "tags in the midst": lambda: bombs.chained_ogg(20_000),
}


@pytest.fixture(scope="module")
def bombed() -> Iterator[ServerProcess]:
    server = ServerProcess({"PRELOAD_MODELS": WHISPER})
    yield server
    server.stop()


async def send(url: str, path: str, data: bytes, seconds: float = 120.0) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=seconds) as client:
        return await client.post(path, files={"file": ("a", data)}, data={"model": WHISPER} if path == HEAR else {})


async def until_in_flight(url: str, wanted: int) -> None:
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=url, timeout=30) as client:
        while True:
            if (await client.get("/health")).json()["in_flight"] == wanted:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", [HEAR, FIND])
@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused(bombed: ServerProcess, bomb: str, path: str):
    response = await send(bombed.url, path, BOMBS[bomb]())
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


async def test_an_honest_file_is_answered_beside_four_bombs(bombed: ServerProcess):
    data = bombs.tagged_mp3(200_000)
    attack = [asyncio.ensure_future(send(bombed.url, HEAR, data)) for _ in range(4)]
    await until_in_flight(bombed.url, 4)
    assert (await send(bombed.url, FIND, silence(1))).status_code == 200
    assert {response.status_code for response in await asyncio.gather(*attack)} == {413}


async def test_those_who_hang_up_leave_nothing_running(bombed: ServerProcess):
    for bomb in BOMBS.values():
        leaving = [asyncio.ensure_future(send(bombed.url, HEAR, bomb(), 0.2)) for _ in range(4)]
        await asyncio.gather(*leaving, return_exceptions=True)
    process = psutil.Process(bombed.process.pid)
    await until_in_flight(bombed.url, 0)
    async with asyncio.timeout(30):
        while True:
            if len(process.children(recursive=True)) <= 1:
                break
            await asyncio.sleep(0.05)
    assert (await send(bombed.url, HEAR, silence(1))).status_code == 200


async def test_a_body_of_very_many_values_is_refused_before_it_is_read(bombed: ServerProcess):
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "extra": [1] * 250_000}
    async with httpx.AsyncClient(base_url=bombed.url, timeout=30) as client:
        response = await client.post("/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert "values" in response.json()["error"]["message"]


async def test_a_prompt_of_a_megabyte_is_cut_to_its_end(bombed: ServerProcess):
    async with httpx.AsyncClient(base_url=bombed.url, timeout=60) as client:
        form = {"model": WHISPER, "prompt": "word " * 200_000, "hotwords": "word " * 200_000}
        response = await client.post(HEAR, files={"file": ("a.wav", silence(1))}, data=form)
    assert response.status_code == 200
