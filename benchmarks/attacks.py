"""Hostile HTTP clients, one function a kind: each goes on until its time is over, and only ever at the given server."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

MODEL = "Systran/faster-whisper-base"
VOICE = "speaches-ai/piper-en_US-joe-medium"
PATIENCE = 10.0  # seconds a hostile client waits for any answer


@dataclass(frozen=True)
class Target:
    """A server on this machine, a real clip, files made to be decoded for ever, and when to stop (monotonic)."""

    url: str
    clip: bytes
    bombs: tuple[bytes, ...]
    until: float
    address: str = "127.0.0.1"  # that the client comes from

    def left(self) -> float:
        return self.until - time.monotonic()


Attack = Callable[[Target, httpx.AsyncClient], Awaitable[None]]


async def _post(
    target: Target, http: httpx.AsyncClient, path: str, patience: float = PATIENCE, **sent: object
) -> httpx.Response | None:
    try:
        return await http.post(target.url + path, timeout=min(patience, max(0.1, target.left())), **sent)  # type: ignore[arg-type]
    except httpx.HTTPError:
        return None


def _form(**fields: str) -> dict[str, str]:
    return {"model": MODEL, "language": "en", **fields}


async def bomb(target: Target, http: httpx.AsyncClient) -> None:
    """A small file that is long work to open or to decode, and a client that hangs up after a second."""
    files = {"file": ("a.mp4", random.choice(target.bombs))}
    await _post(target, http, "/v1/audio/transcriptions", 1.0, data=_form(), files=files)


async def hang_up(target: Target, http: httpx.AsyncClient) -> None:
    """A real clip, and a client that has gone before it is transcribed."""
    await _post(target, http, "/v1/audio/transcriptions", 0.3, data=_form(), files={"file": ("a.wav", target.clip)})


async def rubbish(target: Target, http: httpx.AsyncClient) -> None:
    files = {"file": ("a.wav", random.randbytes(500_000))}
    await _post(target, http, "/v1/audio/transcriptions", data=_form(), files=files)


async def long_prompt(target: Target, http: httpx.AsyncClient) -> None:
    files = {"file": ("a.wav", target.clip)}
    await _post(target, http, "/v1/audio/transcriptions", 1.0, data=_form(prompt="word " * 200_000), files=files)


async def many_parts(target: Target, http: httpx.AsyncClient) -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    await _post(target, http, "/v1/audio/transcriptions", content=part * 50_000, headers=headers)


async def dashes(target: Target, http: httpx.AsyncClient) -> None:
    await _post(target, http, "/v1/audio/speech", 1.0, json={"model": VOICE, "voice": "joe", "input": "-" * 60_000})


async def long_speech(target: Target, http: httpx.AsyncClient) -> None:
    """Seven gigabytes of sound, asked for in one request."""
    body = {"model": VOICE, "voice": "joe", "input": "A word. " * 12_500, "response_format": "wav", "speed": 0.25}
    await _post(target, http, "/v1/audio/speech", 2.0, json={**body, "sample_rate": 48_000})


async def reads_nothing(target: Target, http: httpx.AsyncClient) -> None:
    """Asks for speech and leaves it in the socket."""
    body = {"model": VOICE, "voice": "joe", "input": "A word. " * 500, "response_format": "pcm"}
    try:
        async with http.stream("POST", f"{target.url}/v1/audio/speech", json=body, timeout=PATIENCE):
            await asyncio.sleep(min(5.0, max(0.0, target.left())))
    except httpx.HTTPError:
        return


async def large_json(target: Target, http: httpx.AsyncClient) -> None:
    await _post(target, http, "/v1/audio/speech", json={"model": VOICE, "input": "x", "ignored": ["x" * 9] * 1_400_000})


async def deep_json(target: Target, http: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    await _post(target, http, "/v1/chat/completions", content=b"[" * 1_000_000, headers=headers)
    await _post(target, http, "/v1/audio/speech", content=b'{"speed": ' + b"9" * 500_000 + b"}", headers=headers)


async def chat_sound(target: Target, http: httpx.AsyncClient) -> None:
    """Sound in a chat that expands to much more than it weighs."""
    sound = {"data": base64.b64encode(random.choice(target.bombs)).decode(), "format": "wav"}
    content = [{"type": "input_audio", "input_audio": sound}] * 3
    await _post(
        target,
        http,
        "/v1/chat/completions",
        2.0,
        json={"model": "m", "messages": [{"role": "user", "content": content}]},
    )


async def models(target: Target, http: httpx.AsyncClient) -> None:
    names = (f"/v1/models/evil/x{random.randrange(10**6)}" for _ in range(30))
    await asyncio.gather(*(_post(target, http, name, 1.0) for name in names))


async def trickle(target: Target, http: httpx.AsyncClient) -> None:
    """Fifty requests that are never finished, a byte a second each."""
    parts = urlsplit(target.url)

    async def one() -> None:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(target.address, 0))
        try:
            for byte in b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\nx-slow: " + b"a" * 600:
                writer.write(bytes([byte]))
                await writer.drain()
                if target.left() < 1:
                    return
                await asyncio.sleep(1)
        finally:
            writer.close()

    await asyncio.gather(*(one() for _ in range(50)), return_exceptions=True)


async def sockets(target: Target, http: httpx.AsyncClient) -> None:
    """Realtime sessions that send rubbish, and as much sound as they can."""
    url = f"ws{target.url.removeprefix('http')}/v1/realtime?model={MODEL}&intent=transcription"
    sound = base64.b64encode(random.randbytes(1_000_000)).decode()
    try:
        async with (
            asyncio.timeout(max(0.1, min(5.0, target.left()))),
            connect(url, max_size=None, local_addr=(target.address, 0)) as socket,
        ):
            for event in ('{"type":"input_audio_buffer.append","audio":"no base64"}', '{"type":"no.such"}', "[]", "7"):
                await socket.send(event)
            for _ in range(5):
                await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
                await socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
            async for _ in socket:
                pass
    except (OSError, TimeoutError, WebSocketException):
        return


ATTACKS: tuple[Attack, ...] = (
    bomb, hang_up, rubbish, long_prompt, many_parts, dashes, long_speech, reads_nothing, large_json, deep_json,
    chat_sound, models, trickle, sockets,
)  # fmt: skip


async def go_on(attack: Attack, target: Target) -> int:
    """One hostile client: the same again and again, with a breath between. How often it struck."""
    count = 0
    limits = httpx.Limits(max_connections=100)
    transport = httpx.AsyncHTTPTransport(limits=limits, local_address=target.address)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
        while target.left() > 0:
            with suppress(OSError):  # the server may refuse the connection
                await attack(target, http)
            count += 1
            await asyncio.sleep(0.05)
    return count
