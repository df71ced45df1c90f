"""Somebody who calls a server over WebRTC: a real aiortc peer on loopback, with a voice and an ear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import av
import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from speech_server.realtime.live.call import listen_on
from tests.sound import wav
from tests.talking import RATE, Person

FRAME = RATE // 50


class Microphone(MediaStreamTrack):
    """What was given it to say, in real time, and silence."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.to_say = b""
        self._position = 0
        self._began: float | None = None

    async def recv(self) -> av.AudioFrame:
        clock = asyncio.get_running_loop().time
        self._began = self._began or clock()
        await asyncio.sleep(self._began + self._position / RATE - clock())
        said, self.to_say = self.to_say[: 2 * FRAME], self.to_say[2 * FRAME :]
        samples = np.frombuffer(said.ljust(2 * FRAME, b"\0"), np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._position, Fraction(1, RATE)
        self._position += FRAME
        return frame


class Events:
    """The data channel, as the openai package's connection has it."""

    def __init__(self, channel: RTCDataChannel) -> None:
        self.channel = channel
        self.opened, self.closed = asyncio.Event(), asyncio.Event()
        self._come: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        channel.on("open", self.opened.set)
        channel.on("close", self.closed.set)
        channel.on("message", lambda text: self._come.put_nowait(json.loads(text)))

    async def send(self, event: dict[str, Any]) -> None:
        self.channel.send(json.dumps(event))

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            yield Event(await self._come.get())


class Event(dict[str, Any]):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


class Caller(Person):
    """A person whose voice is `microphone` and who hears `sound`."""

    def __init__(self) -> None:
        listen_on("127.0.0.1")
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.microphone = Microphone()
        self.peer.addTrack(self.microphone)
        self.events = Events(self.peer.createDataChannel("oai-events"))
        self.sound = b""  # pcm16 at RATE
        self.place = ""  # of the call, on the server
        self._more = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self.peer.on("track", self._listen)
        super().__init__(self.events)

    def _listen(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.get_running_loop().create_task(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler("s16", "mono", RATE)
        try:
            while True:
                for part in resampler.resample(await track.recv()):  # type: ignore[arg-type]
                    self._more.set()
                    self.sound += part.to_ndarray().tobytes()
        except MediaStreamError:
            return

    @property
    def wav(self) -> bytes:
        return wav(self.sound, RATE)

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return self.peer.localDescription.sdp

    async def accept(self, answer: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(40):
            await self.events.opened.wait()

    async def silence(self, seconds: float) -> None:
        """So much of the answers' track has come, and nothing sounds in it."""
        async with asyncio.timeout(40):
            while not self.sound or loudness(self.sound[-int(seconds * RATE) * 2 :]) > 100:
                self._more.clear()
                await self._more.wait()

    async def leave(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self.microphone.stop()
        await self.peer.close()


def loudness(pcm: bytes) -> int:
    return int(np.abs(np.frombuffer(pcm, np.int16).astype(int)).max(initial=0))


@asynccontextmanager
async def calling(url: str, session: dict[str, Any] | None = None, **headers: str) -> AsyncIterator[Caller]:
    """A call that is there, and is left at the end."""
    caller = Caller()
    try:
        async with httpx.AsyncClient(timeout=40) as client:
            fields = {"sdp": (None, await caller.offer(), "application/sdp")}
            if session is not None:
                fields["session"] = (None, json.dumps(session), "application/json")
            reply = await client.post(f"{url}/v1/realtime/calls", files=fields, headers=headers)
        assert reply.status_code == 201, reply.text
        caller.place = reply.headers["location"]
        await caller.accept(reply.text)
        yield caller
    finally:
        await caller.leave()
