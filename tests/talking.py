"""What tests of conversations share: a server with a stand-in language model, and a person with a voice."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import av
import httpx
import jiwer

from tests.conftest import PIPER, WHISPER, ServerProcess
from tests.stand_in_llm import Reply, StandInLLM, stand_in_llm

RATE = 24_000
SILENCE = bytes(2 * RATE)  # one second
# Of "Madrid es la capital de España", as `plain` words: which of them it is depends on how much of it was heard when.
ENGLISH_OF_SPANISH = re.compile(r"madrid is the (capital of spain|spanish capital)")


@dataclass
class TalkServer:
    """`answers` is what the language model says to a request; every test sets its own."""

    url: str
    llm: StandInLLM

    def answer(self, reply: str | Reply | Callable[[dict[str, Any]], Reply]) -> None:
        self.llm.requests.clear()
        self.llm.gone.clear()
        if isinstance(reply, str):
            reply = Reply(reply)
        self.llm.answer = reply if callable(reply) else lambda body: reply

    @property
    def asked(self) -> dict[str, Any]:
        """The body of the last request to the language model."""
        return self.llm.requests[-1][1]


@contextmanager
def talk_server(**env: str) -> Iterator[TalkServer]:
    with stand_in_llm("") as llm:
        server = ServerProcess({"CHAT_COMPLETION_BASE_URL": llm.url, "CHAT_COMPLETION_API_KEY": "llm-key"} | env)
        try:
            yield TalkServer(server.url, llm)
        finally:
            server.stop()


def spoken(url: str, text: str) -> bytes:
    """Piper reads the text: pcm16 at 24 kHz."""
    order = {"model": PIPER, "voice": "joe", "input": text, "response_format": "pcm", "sample_rate": RATE}
    response = httpx.post(f"{url}/v1/audio/speech", json=order, timeout=60)
    assert response.status_code == 200, response.text
    return response.content


def understood(url: str, audio: bytes, kind: str = "audio/wav") -> str:
    """What Whisper hears in it, as `plain` words."""
    response = httpx.post(
        f"{url}/v1/audio/transcriptions", files={"file": ("audio", audio, kind)}, data={"model": WHISPER}, timeout=60
    )
    assert response.status_code == 200, response.text
    return plain(response.json()["text"])


def plain(text: str) -> str:
    """Lower case words, nothing else."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


class nearly:  # noqa: N801 - read like pytest.approx
    """Equals the words of a text, save one: Piper speaks a sentence another way each time, and now and then Whisper
    base takes "a" for "the"."""

    def __init__(self, text: str) -> None:
        self._words = plain(text)

    def __eq__(self, heard: object) -> bool:
        if not isinstance(heard, str) or not heard:
            return False
        errors = jiwer.process_words(self._words, heard)
        return errors.substitutions + errors.deletions + errors.insertions <= 1

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"nearly {self._words!r}"


def base64_of(pcm: bytes) -> str:
    return base64.b64encode(pcm).decode()


def pcm_of(clip: Path) -> bytes:
    """A recording as pcm16 at 24 kHz."""
    resampler = av.AudioResampler("s16", "mono", RATE)
    with av.open(str(clip)) as opened:
        frames = [part for frame in opened.decode(audio=0) for part in resampler.resample(frame)]
    return b"".join(frame.to_ndarray().tobytes() for frame in frames)


class Connection(Protocol):
    """The part of the openai package's realtime connection used here."""

    async def send(self, event: Any) -> None: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...


@dataclass
class Person:
    """Somebody at a realtime connection: speaks, and takes down every event with its time since `start`."""

    connection: Any
    heard: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    async def say(self, pcm: bytes, *, pace: float = 0.0, frame_ms: int = 20) -> None:
        """`pace` 1 is real time, 0 as fast as it goes."""
        size = 2 * RATE * frame_ms // 1000
        began = time.perf_counter()
        for at in range(0, len(pcm), size):
            await self.send("input_audio_buffer.append", audio=base64_of(pcm[at : at + size]))
            if pace:
                due = began + (at + size) / (2 * RATE) * pace
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def send(self, kind: str, **fields: Any) -> None:
        await self.connection.send({"type": kind, **fields})

    async def until(self, kind: str, seconds: float = 40.0) -> dict[str, Any]:
        """The next event of that kind."""
        return await self.find(lambda event: event["type"] == kind, seconds, kind)

    async def find(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 40.0, what: str = "event"
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                async for event in self.connection:
                    seen = event.to_dict()
                    self.heard.append((time.perf_counter() - self.start, seen))
                    if wanted(seen):
                        return seen
        except TimeoutError:
            raise AssertionError(f"no {what} within {seconds:g} s; there were {self.names}") from None
        raise AssertionError(f"the connection ended before {what}; there were {self.names}")

    @property
    def names(self) -> list[str]:
        return [event["type"] for _, event in self.heard]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.heard if event["type"] == kind]
