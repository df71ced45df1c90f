"""Makes messages of text out of messages with audio: what was said, transcribed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from speech_server.chat.answers import Answers
from speech_server.chat.request import ChatRequest
from speech_server.decoding import from_base64
from speech_server.domain import VadOptions
from speech_server.engines.interfaces import TranscribeOptions, Transcriber, VoiceDetector
from speech_server.errors import InvalidRequest, RequestTooLarge
from speech_server.models.transcribers import transcriber
from speech_server.speech_to_text import transcribe

if TYPE_CHECKING:
    from speech_server.models.loader import Loader

AT_ONCE = 4  # clips of one request in work


async def hear(request: ChatRequest, loader: Loader, answers: Answers, *, max_seconds: float) -> list[dict[str, Any]]:
    """The request's messages, audio replaced by its text, spoken answers by what was said in them.

    Raises InvalidRequest, AudioUnreadable, RequestTooLarge where all the audio together lasts longer than
    `max_seconds`, and what the loader raises.
    """
    clips = {
        (m, p): await _audio(part, f"messages[{m}].content[{p}].input_audio.data")
        for m, message in enumerate(request.messages)
        for p, part in enumerate(_parts(message))
        if part.get("type") == "input_audio"
    }
    texts = dict(zip(clips, await _transcribe_all(list(clips.values()), request, loader, max_seconds), strict=True))
    return [_as_text(message, m, texts, answers) for m, message in enumerate(request.messages)]


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


@dataclass(frozen=True)
class InputAudio:
    data: bytes
    where: str  # in the request, for messages


async def _audio(part: Mapping[str, Any], where: str) -> InputAudio:
    audio = part.get("input_audio")
    data = audio.get("data") if isinstance(audio, dict) else None
    if not isinstance(data, str) or not data:
        raise InvalidRequest(f"{where} is missing: give the audio as base64", param=where)
    return InputAudio(await from_base64(data, where), where)


async def _transcribe_all(
    clips: list[InputAudio], request: ChatRequest, loader: Loader, max_seconds: float
) -> list[str]:
    if not clips:
        return []
    extras = request.transcription_extra_body
    options = TranscribeOptions(
        language=extras.language,
        prompt=extras.prompt,
        hotwords=extras.hotwords,
        without_timestamps=True,
    )
    if extras.temperature:
        options = replace(options, temperatures=(extras.temperature,))
    async with transcriber(loader, request.transcription_model, options) as engine, loader.detector() as detector:
        hearing = _Hearing(engine, detector, options, max_seconds)
        tasks = [asyncio.create_task(hearing.transcribe(clip)) for clip in clips]
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class _Hearing:
    """The clips of one request: a few at once, and all of them together no longer than one recording may be."""

    _transcriber: Transcriber
    _detector: VoiceDetector
    _options: TranscribeOptions
    _max_seconds: float
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _seconds: dict[str, float] = field(default_factory=dict)  # heard so far, by clip

    async def transcribe(self, clip: InputAudio) -> str:
        try:
            async with self._places:
                return await self._transcribe(clip)
        except InvalidRequest as error:
            error.param = clip.where  # the decoder knows it only as a file
            raise

    async def _transcribe(self, clip: InputAudio) -> str:
        transcription = transcribe(
            io.BytesIO(clip.data), self._transcriber, self._detector, self._options, VadOptions(),
            max_seconds=self._max_seconds,
        )  # fmt: skip
        text = ""
        async with aclosing(transcription):
            async for segment in transcription:
                text += segment.text
                self._count(clip, transcription.duration)
        self._count(clip, transcription.duration)
        return text.strip()

    def _count(self, clip: InputAudio, seconds: float) -> None:
        self._seconds[clip.where] = seconds
        if sum(self._seconds.values()) > self._max_seconds:
            raise RequestTooLarge(f"the audio of all messages is longer than {self._max_seconds:g} s: send less of it")


def _as_text(message: dict[str, Any], m: int, texts: Mapping[tuple[int, int], str], answers: Answers) -> dict[str, Any]:
    if message.get("role") == "assistant" and isinstance(message.get("audio"), dict):
        said = answers.said(message["audio"], f"messages[{m}].audio.id")
        return {key: value for key, value in message.items() if key != "audio"} | {"content": said}
    parts = _parts(message)
    if not any((m, p) in texts for p in range(len(parts))):
        return message
    replaced = [{"type": "text", "text": texts[m, p]} if (m, p) in texts else part for p, part in enumerate(parts)]
    if all(part.get("type") == "text" for part in replaced):
        # Plain text wherever it can be: many servers know no other content.
        return {**message, "content": "\n".join(str(part.get("text", "")) for part in replaced)}
    return {**message, "content": replaced}
