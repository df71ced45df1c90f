"""Asks the language model and, where the client wants to hear it, speaks the answer: whole, or as it is written."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from speech_server.chat.answers import Answers
from speech_server.chat.hearing import hear
from speech_server.chat.request import ChatRequest
from speech_server.engines.interfaces import Speaker, SpeakOptions
from speech_server.language_model import LanguageModel, open_language_model, require_language_model
from speech_server.settings import Settings
from speech_server.spoken_answer import Say, read_aloud
from speech_server.text.sentences import speakable
from speech_server.text_to_speech import Bounds, speak

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

STREAM_RATE = 24_000  # Hz, OpenAI's pcm16
AHEAD = 16  # events made before the client takes them
LONGEST = 1800.0  # seconds of a spoken answer, which is in memory, as base64 in JSON


@dataclass(frozen=True)
class Chat:
    """One request, everything it needs in hand: its audio heard, its voice checked, the language model connected."""

    request: ChatRequest
    body: dict[str, Any]
    model: LanguageModel
    speaker: Speaker | None
    answers: Answers
    bounds: Bounds

    @property
    def voice(self) -> SpeakOptions:
        extras = self.request.speech_extra_body
        return SpeakOptions(self.request.voice.voice, extras.speed, extras.language)


@asynccontextmanager
async def open_chat(request: ChatRequest, settings: Settings, loader: Loader, answers: Answers) -> AsyncIterator[Chat]:
    """Everything that can be wrong with a request is found here, before the language model is asked."""
    require_language_model(settings)
    async with AsyncExitStack() as stack:
        speaker = None
        if request.speaks:
            speaker = await stack.enter_async_context(loader.speaker(request.speech_model))
        body = request.upstream(await hear(request, loader, answers, max_seconds=settings.max_audio_seconds))
        model = await stack.enter_async_context(open_language_model(settings))
        bounds = Bounds.of(settings)
        chat = Chat(request, body, model, speaker, answers, replace(bounds, seconds=min(bounds.seconds, LONGEST)))
        if speaker is not None:
            speaker.check(chat.voice)
        yield chat


async def whole(chat: Chat) -> dict[str, Any]:
    """The chat completion, each answer's text spoken into `message.audio`."""
    completion = await chat.model.complete(chat.body)
    if chat.speaker is not None:
        for choice in completion.get("choices") or ():
            message = choice.get("message")
            if isinstance(message, dict) and speakable(text := message.get("content") or ""):
                message["audio"] = await _spoken(chat, chat.speaker, text)
                message["content"] = None
    return completion


async def _spoken(chat: Chat, speaker: Speaker, text: str) -> dict[str, Any]:
    encoding = chat.request.voice.encoding
    rate = chat.request.speech_extra_body.sample_rate or (STREAM_RATE if encoding == "pcm" else None)
    whole_at_once = replace(chat.voice, early=False)
    async with aclosing(
        speak(speaker, text, whole_at_once, encoding, rate, bounds=chat.bounds, streaming=False)
    ) as audio:
        data = b"".join([chunk async for chunk in audio])
    answer_id, expires_at = chat.answers.new()
    chat.answers.remember(answer_id, text)
    return {
        "id": answer_id,
        "data": base64.b64encode(data).decode(),
        "transcript": text,
        "expires_at": expires_at,
    }


async def stream(chat: Chat) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of the answer; a spoken one has its words in `delta.audio.transcript`, its sound in `.data`."""
    async with aclosing(chat.model.stream(chat.body)) as chunks:
        if chat.speaker is None:
            async for chunk in chunks:
                yield chunk
            return
        async with aclosing(SpokenStream(chat, chat.speaker, chunks).events()) as events:
            async for event in events:
                yield event


class SpokenStream:
    """Reads the language model and speaks its sentences side by side; both only as fast as the client takes it."""

    def __init__(self, chat: Chat, speaker: Speaker, chunks: AsyncIterator[dict[str, Any]]) -> None:
        self._chat = chat
        self._speaker = speaker
        self._chunks = chunks
        self._id, self._expires_at = chat.answers.new()
        self._slots = asyncio.Semaphore(AHEAD)
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._frame: dict[str, Any] = {}  # what all chunks share: id, model, created
        self._last: list[dict[str, Any]] = []  # what ends the stream, and so waits for the sound
        self._said = ""

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        producing = asyncio.create_task(self._produce())
        producing.add_done_callback(lambda _: self._events.put_nowait(None))
        try:
            while (event := await self._events.get()) is not None:
                self._slots.release()
                yield event
            producing.result()
        finally:
            producing.cancel()
            await asyncio.gather(producing, return_exceptions=True)
        for event in self._last:
            yield event

    async def _produce(self) -> None:
        await read_aloud(self._read, self._speak)
        self._chat.answers.remember(self._id, self._said)
        await self._put(self._chunk({"id": self._id, "expires_at": self._expires_at}))

    async def _put(self, event: dict[str, Any]) -> None:
        await self._slots.acquire()
        self._events.put_nowait(event)

    async def _read(self, say: Say) -> None:
        async for chunk in self._chunks:
            self._frame = {key: value for key, value in chunk.items() if key not in ("choices", "usage")}
            choices = chunk.get("choices") or []
            text = "".join(self._move_text(choice) for choice in choices)
            self._said += text
            if choices and not any(choice.get("finish_reason") for choice in choices):
                await self._put(chunk)
            else:
                self._last.append(chunk)
            if text:
                await say(text)

    def _move_text(self, choice: dict[str, Any]) -> str:
        """From delta.content to delta.audio.transcript; only the first choice is spoken."""
        delta = choice.get("delta") or {}
        if choice.get("index", 0) != 0 or not (text := delta.pop("content", None)):
            return ""
        delta["audio"] = {"id": self._id, "transcript": text}
        return str(text)

    async def _speak(self, sentences: AsyncIterator[str]) -> None:
        voice, bounds = self._chat.voice, self._chat.bounds
        rate = self._chat.request.speech_extra_body.sample_rate or STREAM_RATE
        spoken: list[float] = []
        async for sentence in sentences:
            left = replace(bounds, seconds=bounds.seconds - sum(spoken))
            speech = speak(
                self._speaker, sentence, voice, "pcm", rate, bounds=left, streaming=True, count_seconds=spoken.append
            )
            async with aclosing(speech) as sound:
                async for data in sound:
                    await self._put(self._chunk({"id": self._id, "data": base64.b64encode(data).decode()}))
            voice = replace(voice, early=False)  # somebody listens already

    def _chunk(self, audio: dict[str, Any]) -> dict[str, Any]:
        return {**self._frame, "choices": [{"index": 0, "delta": {"audio": audio}, "finish_reason": None}]}
