"""The tasks behind one session: its transcriptions, its replies, judged pauses, and the models it keeps in memory."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from speech_server.engines.interfaces import TurnModel
from speech_server.errors import SpeechError
from speech_server.language_model import LanguageModel, open_language_model
from speech_server.models.catalog.info import SEGMENTATION, STT, TTS, TURNS, VOICES
from speech_server.models.loader import ENCODER
from speech_server.models.optional import optional_engine
from speech_server.realtime.live.ear import Ear
from speech_server.realtime.live.queues import SEND_BEHIND, Bounded
from speech_server.realtime.live.speaking import Deliver, answer, pronounce
from speech_server.realtime.live.transcribing import carry_out, translate
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.outputs import (
    Generate,
    Hush,
    JudgePause,
    ListenFor,
    Play,
    Pronounce,
    StopWork,
    Transcribe,
    TranscribeUpload,
    Transcription,
    Translate,
    Work,
    describe,
)
from speech_server.realtime.state.session import Session
from speech_server.settings import Settings
from speech_server.speakers.who_speaks import SEGMENTER

if TYPE_CHECKING:
    from speech_server.models.catalog.info import Task as ModelTask
    from speech_server.models.loader import Loader
    from speech_server.realtime.live.track import SpokenTrack

log = logging.getLogger(__name__)

TURN_MODEL = "smart-turn"  # an alias: DEFAULT_TURN_MODEL, or Silero, which hears silence and no more
LIKELY = 0.5  # from this probability on a turn is over

W = TypeVar("W", int, str)


def needed(config: SessionConfig, settings: Settings) -> list[tuple[str, ModelTask]]:
    """The models without which there is no such session; a translation has its translator beside them."""
    models: list[tuple[str, ModelTask]] = []
    if config.translator is None or config.audio.input.transcription is not None:
        models.append((config.audio.input.spoken.model, STT))
    if config.audio.input.spoken.names_speakers:
        models.append((ENCODER, VOICES))
    says = config.type == "translation" or (config.type == "realtime" and settings.chat_completion_base_url)
    if says and config.speaks:
        models.append((config.audio.output.model, TTS))
    return models


@dataclass
class Crew:
    """Every task belongs to `tasks`, the session's group, and ends with it."""

    _session: Session
    _ear: Ear
    _media: SpokenTrack | None
    _settings: Settings
    _loader: Loader
    _tasks: asyncio.TaskGroup
    _stack: AsyncExitStack
    _model: LanguageModel | None = None
    _pronouncing: bool = False
    outbox: Bounded[str] = field(default_factory=lambda: Bounded(SEND_BEHIND))
    _working: dict[int | str, asyncio.Task[None]] = field(default_factory=dict)  # by job, response or pause
    _held: dict[tuple[str, ModelTask], asyncio.Task[None]] = field(default_factory=dict)
    _to_pronounce: deque[Pronounce] = field(default_factory=deque)
    _flushed: asyncio.Event = field(default_factory=asyncio.Event)

    def flush(self) -> None:
        """Send what the session has to say, start and stop the work it wants done."""
        for event in self._session.take_events():
            self._post(event)
        for work in self._session.take_work():
            self._start(work)
        self._flushed.set()

    async def fewer_pending(self, most: int) -> None:
        """Wait until fewer than `most` turns wait for their text."""
        while self._session.pending >= most:
            self._flushed.clear()
            await self._flushed.wait()

    async def due_changes(self, due: float | None) -> None:
        """Wait until the session is due at another time than this."""
        while self._session.due == due:
            self._flushed.clear()
            await self._flushed.wait()

    def hold_models(self) -> None:
        """Load what the session will need, and keep it in memory while it lasts: nobody waits for it later."""
        config = self._session.config
        wanted = set(needed(config, self._settings))
        if config.translator is not None:
            # `auto` may mean a quick model that does not translate.
            auto = self._loader.catalog.leaves_choice(config.translator)
            wanted.add((self._loader.catalog.best_of("whisper") if auto else config.translator, STT))
        if config.audio.input.spoken.names_speakers:
            wanted.add((SEGMENTER, SEGMENTATION))
        if config.audio.input.eagerness:
            wanted.add((TURN_MODEL, TURNS))
        for key in self._held.keys() - wanted:
            self._held.pop(key).cancel()
        for key in wanted - self._held.keys():
            self._held[key] = self._tasks.create_task(self._hold(*key))

    async def _hold(self, name: str, task: ModelTask) -> None:
        try:
            async with self._loader.use(name, task):
                await asyncio.Event().wait()
        except SpeechError:
            return  # who needs the model is told why there is none

    def _post(self, event: dict[str, Any]) -> None:
        label = None
        if event["type"] in ("response.output_audio.delta", "response.audio.delta"):
            label = event["response_id"]
        elif event["type"] == "response.done" and event["response"]["status"] == "cancelled":
            self.outbox.drop(event["response"]["id"])  # nobody wants to hear the rest
        self.outbox.put(json.dumps(event, separators=(",", ":")), label)

    def _start(self, work: Work) -> None:
        match work:
            case Transcribe() | Translate() | TranscribeUpload():
                self._begin(work.job, partial(self._transcribe, work), self._session.transcription_failed)
            case Generate():
                self._begin(work.response_id, partial(self._generate, work), self._session.reply_failed)
            case JudgePause():
                self._begin(work.pause, partial(self._judge, work), self._not_judged)
            case Pronounce():
                self._to_pronounce.append(work)
                if not self._pronouncing:
                    self._pronouncing = True
                    self._tasks.create_task(self._pronounce())
            case StopWork():
                if (task := self._working.pop(work.work, None)) is not None:
                    task.cancel()
            case ListenFor() if self._media is None:  # a call's comes as its track brings it
                self._ear.listen_for(work.format)
            case Play() if self._media is not None:
                self._media.play(base64.b64decode(work.data), work.format)
            case Hush() if self._media is not None:
                self._media.hush()

    def _begin(self, key: W, do: Callable[[], Awaitable[None]], failed: Callable[[W, dict[str, Any]], None]) -> None:
        async def work() -> None:
            try:
                await do()
            except SpeechError as error:
                failed(key, describe(error))
            self._working.pop(key, None)
            self.flush()

        self._working[key] = self._tasks.create_task(work())

    async def _transcribe(self, work: Transcription) -> None:
        if isinstance(work, Translate):
            written = await translate(work, self._loader)
        else:
            written = await carry_out(work, self._loader, max_seconds=self._settings.max_audio_seconds)
        self._session.transcribed(work.job, written)

    async def _judge(self, work: JudgePause) -> None:
        async with optional_engine(self._loader, TURN_MODEL, TURNS) as engine:
            if engine:
                finished = await cast(TurnModel, engine).finished(work.samples)
                self._session.pause_judged(work.pause, finished >= LIKELY)

    def _not_judged(self, _pause: str, error: dict[str, Any]) -> None:
        log.info("silence alone decides about a pause: %s", error["message"])

    async def _pronounce(self) -> None:
        """One after another: an interpreter has one voice."""
        while self._to_pronounce:
            work = self._to_pronounce.popleft()
            try:
                await pronounce(work, self._loader, self._handing(self._session.pronouncing, work))
            except SpeechError as error:
                self._session.pronounced(describe(error))
            else:
                self._session.pronounced()
            self.flush()
        self._pronouncing = False

    async def _generate(self, work: Generate) -> None:
        if self._model is None:
            self._model = await self._stack.enter_async_context(open_language_model(self._settings))
        told = (self._session.reply_text, self._session.reply_call, self._session.reply_audio)
        deliver = Deliver(*(self._handing(tell, work.response_id) for tell in told))
        end = await answer(work, self._model, self._loader, deliver, lead=self._settings.realtime_audio_lead)
        self._session.reply_done(work.response_id, end.finish_reason, end.usage)

    def _handing(self, tell: Callable[..., None], of: str | Pronounce) -> Callable[..., Awaitable[None]]:
        """Tells the session of a work's results piece by piece, as fast as the client takes them."""

        async def hand(*piece: Any) -> None:
            await self.outbox.room()
            tell(of, *piece)
            self.flush()

        return hand
