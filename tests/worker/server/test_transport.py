"""The connection to the local server: what goes out is what httpx meant, and what goes wrong has httpx's names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.worker.conftest import Jobs
from worker.server.forward import open_client

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as client:
        yield client


async def test_paths_queries_and_repeated_headers_go_out_as_they_are(jobs: Jobs, client: httpx.AsyncClient) -> None:
    url = httpx.URL(jobs.supervisor.wait_ready().url).copy_with(raw_path=b"/echo/%41%2f%7e;a=b?x=%7E&x=+&y")
    seen = (await client.get(url, headers=[("X-A", "1"), ("X-A", "2")])).json()
    assert seen["path"] == "/echo/%41%2f%7e;a=b?x=%7E&x=+&y"
    assert [value for name, value in seen["headers"] if name == "x-a"] == ["1", "2"]
    assert sum(name in ("host", "user-agent", "accept") for name, _ in seen["headers"]) == 3


async def test_a_body_of_known_length_is_not_sent_in_chunks(jobs: Jobs, client: httpx.AsyncClient) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"x" * 70_000
        yield b"y"

    url = jobs.supervisor.wait_ready().url + "/echo"
    seen = (await client.post(url, content=blocks(), headers={"content-length": "70001"})).json()
    assert seen["size"] == 70_001
    assert "transfer-encoding" not in dict(seen["headers"])


async def test_redirects_are_not_followed(jobs: Jobs, client: httpx.AsyncClient) -> None:
    url = jobs.supervisor.wait_ready().url
    moved = await client.get(f"{url}/give?status=302&location={url}/echo")
    assert moved.status_code == 302


async def test_nobody_listening_is_a_connect_error(client: httpx.AsyncClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        await client.get(f"http://127.0.0.1:{port}/")


async def test_a_server_that_hangs_up_is_a_transport_error(client: httpx.AsyncClient) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"/early" not in request:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(f"{url}/early", content=b"x")
        with pytest.raises(httpx.ReadError):
            await client.get(f"{url}/late")


async def test_a_request_on_a_kept_connection_is_not_sent_again_when_the_server_hangs_up(
    client: httpx.AsyncClient,
) -> None:
    seen: list[bytes] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await client.get(f"{url}/first")
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"{url}/second")
    assert [line.split()[1] for line in seen] == [b"/first", b"/second"]


async def test_leaving_an_answer_early_lets_the_server_go(jobs: Jobs, client: httpx.AsyncClient) -> None:
    url = jobs.supervisor.wait_ready().url
    async with client.stream(
        "POST", f"{url}/drip?count=1000&pause=0.05&type=text/plain", content=b"x" * 1000
    ) as answer:
        await anext(answer.aiter_raw())
        await jobs.until_in_flight(1, 5)
    await jobs.until_in_flight(0, 5)
