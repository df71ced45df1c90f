"""Realtime: how soon a turn's end and its text are known, what eight sessions cost, and whether cost stays flat."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import statistics
import time
import wave
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.clips import whole
from benchmarks.report import Report, percentile
from benchmarks.server import ROOT, speech_server
from benchmarks.words import plain

if TYPE_CHECKING:
    from speech_server.engines.interfaces import VoiceDetector

RATE = 24_000
FRAME_MS = 20
SILENCE_MS = 550
SESSIONS = 8
STT, TTS = "Systran/faster-whisper-base", "speaches-ai/piper-en_US-joe-medium"
SHORT = "Where is the next station?"  # about 1.3 s
TURNS = (
    "Where is the next station?",
    "I would like a cup of coffee, please.",
    "The weather is much better than it was yesterday.",
    "Can you tell me what time it is?",
)


def run(report: Report) -> None:
    with speech_server({"PRELOAD_MODELS": f"{STT},{TTS}"}) as server:
        turn_ends(report, server.url)
        captions(report, server.url)
        many_sessions(report, server.url)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the server's own kind of loop
        runner.run(stalls(report))
    long_hearing(report)


# --- one person ---


def turn_ends(report: Report, url: str) -> None:
    speech = spoken(url, SHORT)
    late, text_after, offline = [], [], []
    for _ in range(7):
        offline.append(transcribed(url, speech).elapsed.total_seconds())
        person = asyncio.run(one_turn(url, speech))
        late.append(1000 * (person.at["input_audio_buffer.speech_stopped"] - person.ended) - SILENCE_MS)
        text_after.append(person.at[COMPLETED] - person.at["input_audio_buffer.speech_stopped"])
    seconds = len(speech) / 2 / RATE
    report.add(
        "end of turn after speech + silence",
        statistics.median(late),
        "ms",
        against=f"{seconds:.1f} s utterance, silence_duration_ms {SILENCE_MS}",
        at_most=100,
        note="median of 7; Speaches: 1,160 ms",
    )
    report.add(
        "final text after the end of turn",
        statistics.median(text_after) / statistics.median(offline),
        "x",
        against="offline transcription of the same utterance over HTTP",
        at_most=1.1,
        note=f"{1000 * statistics.median(text_after):.0f} ms against {1000 * statistics.median(offline):.0f} ms",
    )


async def one_turn(url: str, speech: bytes) -> Person:
    async with session(url) as socket:
        person = Person(socket)
        await asyncio.gather(person.speak(speech), person.listen(1))
        return person


# --- captions ---


def captions(report: Report, url: str) -> None:
    """A person's reading at its own pace: when is each word on the page?"""
    reading = pcm_of(whole().path)
    told = transcribed(url, reading, {"response_format": "verbose_json", "timestamp_granularities[]": "word"})
    spoken_at = [(plain(word["word"]), float(word["end"])) for word in told.json()["words"]]

    async def watch() -> Person:
        async with session(url) as socket:
            person = Person(socket)
            listening = asyncio.create_task(person.listen(None))
            await person.speak(reading)
            await asyncio.sleep(3)
            listening.cancel()
            return person

    person = asyncio.run(watch())
    shown = [(plain(word), at) for at, text in person.shown for word in text.split()]
    same = SequenceMatcher(None, [word for word, _ in spoken_at], [word for word, _ in shown], autojunk=False)
    late = [
        shown[block.b + index][1] - person.began - spoken_at[block.a + index][1]
        for block in same.get_matching_blocks()
        for index in range(block.size)
    ]
    report.add(
        "captions: from the end of a word to the word on the page",
        statistics.median(late),
        "s",
        against=f"{len(late)} of {len(spoken_at)} words of a 44 s reading, the same in its captions",
        at_most=1.0,
        note=f"median; 95th percentile {percentile(late, 95):.2f} s",
    )


# --- eight at once ---


def many_sessions(report: Report, url: str) -> None:
    speeches = [spoken(url, text) for text in TURNS]

    async def talk_all() -> list[Person]:
        return await asyncio.gather(*(talk(number) for number in range(SESSIONS)))

    async def talk(number: int) -> Person:
        await asyncio.sleep(number * 0.37)
        async with session(url) as socket:
            person = Person(socket)
            order = [speeches[(number + turn) % len(speeches)] for turn in range(5)]
            await asyncio.gather(person.say_all(order), person.listen(len(order)))
            return person

    people = asyncio.run(talk_all())
    lags = sorted(lag for person in people for lag in person.lags)
    report.add(
        "text after the end of turn, 8 sessions in real time",
        lags[int(len(lags) * 0.95)],
        "s",
        against=f"{len(lags)} turns, 95th percentile",
        at_most=1.0,
        note=f"median {statistics.median(lags):.2f} s, worst {lags[-1]:.2f} s",
    )


# --- the event loop ---


async def stalls(report: Report) -> None:
    """The server's own session code in this process, beside a task that notes how late it is woken."""
    from speech_server.app import compose
    from speech_server.realtime.live.run import run_session
    from speech_server.realtime.protocol.config import SessionConfig
    from speech_server.settings import Settings

    settings = Settings()
    loader = compose(settings).loader
    late: list[float] = []
    speech = clip()
    async with loader.use(STT), loader.detector():
        watching = asyncio.create_task(_note_delays(late))
        await asyncio.sleep(3)
        idle = sorted(late)
        late.clear()
        config = SessionConfig().updated({"type": "transcription"})
        sockets = [FakeSocket(speech, seconds=20, delay=number * 0.0025) for number in range(SESSIONS)]
        await asyncio.gather(
            *(
                run_session(socket, config, settings, loader, beta=False, sessions=lambda: SESSIONS)
                for socket in sockets
            )
        )
        watching.cancel()
    busy = sorted(late)
    report.add(
        "event-loop stall, 8 sessions of 20 ms frames",
        1000 * busy[int(len(busy) * 0.99)],
        "ms",
        against="99th percentile of a 1 ms timer's delay",
        at_most=5.0,
        note=f"idle loop: {1000 * idle[int(len(idle) * 0.99)]:.2f} ms; Speaches: 14.5 ms per append",
    )
    await loader.close()


async def _note_delays(late: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.001
        await asyncio.sleep(0.001)
        late.append(loop.time() - due)


class FakeSocket:
    """A client that sends `pcm` over and over in real time, then leaves."""

    media = None

    def __init__(self, pcm: bytes, seconds: float, delay: float) -> None:
        size = 2 * RATE * FRAME_MS // 1000
        self._frames = [append(pcm[at : at + size]) for at in range(0, len(pcm), size)]
        self._count = int(seconds * 1000 / FRAME_MS)
        self._sent = 0
        self._began = time.perf_counter() + delay

    async def receive(self) -> str | None:
        if self._sent == self._count:
            return None
        self._sent += 1
        await asyncio.sleep(max(0.0, self._began + self._sent * FRAME_MS / 1000 - time.perf_counter()))
        return self._frames[self._sent % len(self._frames)]

    async def send(self, text: str) -> None:
        return


# --- half an hour ---


def long_hearing(report: Report) -> None:
    """30 minutes through the ear and the state machine, faster than real time: is the end as cheap as the start?"""
    from speech_server.realtime.live.ear import Ear
    from speech_server.realtime.protocol.config import PcmFormat, SessionConfig
    from speech_server.realtime.protocol.events import Append
    from speech_server.realtime.protocol.outputs import Transcribe, Written
    from speech_server.realtime.state.session import Session

    ear = Ear(PcmFormat(), asyncio.run(_voice_detector()).stream())
    machine = Session(SessionConfig().updated({"type": "transcription"}), time.time)
    speech, size = clip(), 2 * RATE * FRAME_MS // 1000
    frames = [
        Append(type="input_audio_buffer.append", audio=base64.b64encode(speech[at : at + size]).decode())
        for at in range(0, len(speech), size)
    ]
    process, costs, memory = psutil.Process(), [], []
    for _ in range(30):
        began = time.perf_counter()
        for index in range(60_000 // FRAME_MS):
            machine.hear(ear.hear([frames[index % len(frames)]]))
            machine.take_events()
            for work in machine.take_work():
                if isinstance(work, Transcribe):
                    machine.transcribed(work.job, Written("some words", 1.0))
        costs.append(time.perf_counter() - began)
        memory.append(process.memory_info().rss / 1e6)
    report.series["seconds of work per minute of audio"] = list(enumerate(costs))
    report.add(
        "cost per append after 30 minutes",
        statistics.median(costs[-5:]) / statistics.median(costs[:5]),
        "x",
        against="the first five minutes",
        at_most=1.15,
        note=f"{1000 * statistics.median(costs) / (60_000 / FRAME_MS):.2f} ms per 20 ms of audio",
    )
    report.add("memory grown in 30 minutes", memory[-1] - memory[1], "MB", against="after the second", at_most=5.0)


async def _voice_detector() -> VoiceDetector:
    from speech_server.app import compose
    from speech_server.settings import Settings

    async with compose(Settings()).loader.detector() as detector:
        return detector


# --- a person at a WebSocket ---

COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"


@dataclass
class Person:
    """`at`: when each kind of event came last; `shown`: when each piece of text came; `lags`: seconds from each end of
    turn to its text."""

    socket: ClientConnection
    at: dict[str, float] = field(default_factory=dict)
    shown: list[tuple[float, str]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0

    async def say_all(self, speeches: list[bytes]) -> None:
        for speech in speeches:
            await self.speak(speech)

    async def speak(self, speech: bytes) -> None:
        """In real time, then a second of silence. `ended` is when the last loud sample was spoken."""
        loud = float(np.flatnonzero(np.abs(np.frombuffer(speech, np.int16)) > 300)[-1]) / RATE
        pcm, size = speech + bytes(2 * RATE), 2 * RATE * FRAME_MS // 1000
        self.began = time.perf_counter()
        self.ended = self.began + loud
        for at in range(0, len(pcm), size):
            await asyncio.sleep(max(0.0, self.began + (at + size) / 2 / RATE - time.perf_counter()))
            await self.socket.send(append(pcm[at : at + size]))

    async def listen(self, turns: int | None) -> None:
        stopped: dict[str, float] = {}
        async with asyncio.timeout(120):
            async for message in self.socket:
                event: dict[str, Any] = json.loads(message)
                now = self.at[event["type"]] = time.perf_counter()
                if event["type"] == "input_audio_buffer.speech_stopped":
                    stopped[event["item_id"]] = now
                elif event["type"] == DELTA:
                    self.shown.append((now, event["delta"]))
                elif event["type"] == COMPLETED:
                    self.lags.append(now - stopped[event["item_id"]])
                    if len(self.lags) == turns:
                        return


@asynccontextmanager
async def session(url: str) -> AsyncIterator[ClientConnection]:
    query = f"model={STT}&intent=transcription&language=en"
    async with connect(f"ws{url.removeprefix('http')}/v1/realtime?{query}", compression=None) as socket:
        await socket.recv()
        yield socket


def clip() -> bytes:
    """Five seconds of English and a second of silence: pcm16 at 24 kHz."""
    return pcm_of(ROOT / "examples" / "clips" / "english.opus") + bytes(2 * RATE)


def pcm_of(path: Path) -> bytes:
    from speech_server.audio import decode
    from speech_server.audio.encode import pcm16

    return b"".join(map(pcm16, decode.stream(path, decode.Limits(60), rate=RATE)))


def append(pcm: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})


def spoken(url: str, text: str) -> bytes:
    order = {"model": TTS, "voice": "joe", "input": text, "response_format": "pcm", "sample_rate": RATE}
    response = httpx.post(f"{url}/v1/audio/speech", json=order, timeout=60)
    response.raise_for_status()
    samples = np.frombuffer(response.content, np.int16)
    return samples[: np.flatnonzero(np.abs(samples) > 300)[-1] + RATE // 20].tobytes()


def transcribed(url: str, pcm: bytes, how: Mapping[str, str] | None = None) -> httpx.Response:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(pcm)
    return httpx.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": ("a.wav", file.getvalue())},
        data={"model": STT, "language": "en", **(how or {})},
        timeout=60,
    ).raise_for_status()
