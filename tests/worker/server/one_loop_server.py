"""A server that is one event loop, as most are: /ping and all else answer 200, /hang never gives the loop back."""

from __future__ import annotations

import asyncio
import os
import time


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if b" /hang" in head:
        time.sleep(3600)  # noqa: ASYNC251 (the fault this server is for)
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    )
    await writer.drain()
    writer.close()


async def main() -> None:
    async with await asyncio.start_server(
        answer, os.environ["UVICORN_HOST"], int(os.environ["UVICORN_PORT"])
    ) as server:
        await server.serve_forever()


asyncio.run(main())
