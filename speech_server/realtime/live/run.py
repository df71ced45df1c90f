"""Runs one realtime session: joins its state machine with a client's socket and with the engines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from speech_server.engines.interfaces import TranscribeOptions
from speech_server.errors import SpeechError
from speech_server.models.transcribers import choose
from speech_server.realtime.live.ear import Ear, ear_threads
from speech_server.realtime.live.media import Message, Socket, TrackAudio
from speech_server.realtime.live.queues import READ_AHEAD, Bounded
from speech_server.realtime.live.working import Crew, needed
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.events import (
    AnyClientEvent,
    Append,
    Close,
    Commit,
    ProtocolError,
    SessionUpdate,
)
from speech_server.realtime.protocol.events import parse_client_event as parse
from speech_server.realtime.protocol.updates import updated
from speech_server.realtime.state.session import Session
from speech_server.settings import Settings

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

CLOCK = time.time
MOST_PENDING = 4  # turns waiting for their text, beyond which no more audio is heard
BATCH = 64 * 1024  # characters heard at once: a second of audio
LONGEST_INLINE = 256 * 1024  # characters of JSON that may be parsed on the event loop


class SessionOver(Exception):
    """`message`, if any, goes to the client as an error event."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message


async def run_session(
    socket: Socket,
    config: SessionConfig,
    settings: Settings,
    loader: Loader,
    *,
    beta: bool,
    sessions: Callable[[], int],
) -> str:
    """Until the client leaves or a limit is reached: returns why. Leaves nothing running behind, cancelled or not.

    Raises SpeechError when there is no voice detector.
    """
    session = Session(
        config,
        CLOCK,
        beta=beta,
        plays=socket.media is not None,
        lifetime=settings.realtime_max_seconds,
        longest_turn=settings.realtime_max_turn_seconds,
        max_sessions=settings.realtime_max_sessions,
        sessions=sessions,
    )
    over = SessionOver("")
    async with loader.detector() as detector, AsyncExitStack() as stack:
        ear = Ear(socket.media.format if socket.media else config.audio.input.format, detector.stream())
        try:
            async with asyncio.TaskGroup() as tasks:
                crew = Crew(session, ear, socket.media, settings, loader, tasks, stack)
                Live(session, ear, crew, socket, settings, loader).start(tasks)
        except* SessionOver as ends:
            over = cast(SessionOver, ends.exceptions[0])
    if over.message:
        error = {"type": "server_error", "code": over.code, "message": over.message}
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.realtime_send_timeout):
                await socket.send(json.dumps({"type": "error", "event_id": "event_last", "error": error}))
    return over.code


@dataclass
class Live:
    _session: Session
    _ear: Ear
    _crew: Crew
    _socket: Socket
    _settings: Settings
    _loader: Loader
    _inbox: Bounded[Message] = field(default_factory=lambda: Bounded(READ_AHEAD))

    def start(self, tasks: asyncio.TaskGroup) -> None:
        for part in (self._read(), self._obey(), self._write(), self._watch(), self._limit()):
            tasks.create_task(part)

    async def _read(self) -> None:
        idle = self._settings.realtime_idle_timeout
        while True:
            try:
                async with asyncio.timeout(idle):
                    message = await self._socket.receive()
            except TimeoutError:
                raise SessionOver("session_idle", f"The client was silent for {idle:g} seconds") from None
            if message is None:
                raise SessionOver("client_left")
            await self._inbox.room(len(message))
            self._inbox.put(message)

    async def _write(self) -> None:
        while True:
            for text in await self._crew.outbox.take():
                try:
                    async with asyncio.timeout(self._settings.realtime_send_timeout):
                        await self._socket.send(text)
                except TimeoutError:
                    raise SessionOver("client_too_slow") from None
            if self._session.closed and not self._crew.outbox:
                raise SessionOver("session_closed")

    async def _watch(self) -> None:
        """Wakes the session when it is due to do something that nobody asked for."""
        while True:
            due = self._session.due
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - CLOCK())):
                    await self._crew.due_changes(due)
            except TimeoutError:
                await self._crew.outbox.room()
                self._session.tick()
                self._crew.flush()

    async def _limit(self) -> None:
        most = self._settings.realtime_max_seconds
        await asyncio.sleep(most)
        raise SessionOver("session_expired", f"The session has lasted {most:g} seconds: open a new one")

    async def _obey(self) -> None:
        await self._check(self._session.config, None)
        self._crew.hold_models()
        self._crew.flush()
        while True:
            await self._crew.outbox.room()
            await self._crew.fewer_pending(MOST_PENDING)
            appends: list[Append | TrackAudio] = []
            for message in await self._inbox.take(BATCH):
                event = message if isinstance(message, TrackAudio) else await self._parse(message)
                if isinstance(event, Append | TrackAudio):
                    appends.append(event)
                elif event is not None:
                    await self._hear(appends)
                    appends = []
                    await self._crew.fewer_pending(MOST_PENDING)
                    await self._receive(event)
                    self._crew.flush()
            await self._hear(appends)

    async def _hear(self, appends: list[Append | TrackAudio]) -> None:
        if appends:
            self._session.hear(await ear_threads.run(self._ear.hear, appends))
            self._crew.flush()

    async def _parse(self, message: str | bytes) -> AnyClientEvent | None:
        try:
            event = parse(message) if len(message) <= LONGEST_INLINE else await ear_threads.run(parse, message)
            if isinstance(event, Append) and self._socket.media is not None:
                fault = "A call takes no input_audio_buffer.append: its audio comes over the track"
                raise ProtocolError(fault, code="unknown_event", param="type", event_id=event.event_id)
            return event
        except ProtocolError as error:
            self._session.refuse(error)
            self._crew.flush()
            return None

    async def _receive(self, event: AnyClientEvent) -> None:
        if isinstance(event, Commit | Close):
            self._session.hear(await ear_threads.run(self._ear.finish))
        if isinstance(event, SessionUpdate) and not await self._would_work(event):
            return
        self._session.receive(event)
        if isinstance(event, SessionUpdate):
            self._crew.hold_models()

    async def _would_work(self, event: SessionUpdate) -> bool:
        try:
            return await self._check(updated(self._session.config, event), event.event_id)
        except ProtocolError:
            return True  # the session refuses it in its own words

    async def _check(self, config: SessionConfig, event_id: str | None) -> bool:
        """Whether the models the session names can do what it needs; if not, the client is told."""
        try:
            if config.translator is not None:
                await choose(self._loader, config.translator, TranscribeOptions(task="translate"))
            for name, task in needed(config, self._settings):
                await self._loader.require(name, task)
        except SpeechError as error:
            code = error.code or error.type
            self._session.refuse(ProtocolError(error.message, code=code, param="session", event_id=event_id))
            return False
        return True
