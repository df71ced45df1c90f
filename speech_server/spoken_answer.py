"""A language model's words, spoken sentence by sentence while it still writes: what chat and realtime share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from speech_server.errors import SpeechError
from speech_server.text.growing import GrowingText
from speech_server.text.sentences import speakable

T = TypeVar("T")

Say = Callable[[str], Awaitable[None]]

_AHEAD = 64  # stretches of text that are read before they are spoken


async def read_aloud(
    read: Callable[[Say], Coroutine[Any, Any, T]],
    speak: Callable[[AsyncIterator[str]], Coroutine[Any, Any, None]],
) -> T:
    """What `read` returns. It calls what it is given with each bit of text, as it is written; `speak` gets the
    sentences, each as soon as it is whole, and takes them as fast as it can say them.

    Raises the SpeechError of whichever fails; the other is stopped then, as both are when this is cancelled.
    """
    sentences: asyncio.Queue[str | None] = asyncio.Queue(_AHEAD)
    growing = GrowingText()

    async def say(text: str) -> None:
        if whole := growing.add(text):
            await sentences.put(whole)

    async def reading() -> T:
        result = await read(say)
        await sentences.put(growing.finish())
        await sentences.put(None)
        return result

    async def whole_sentences() -> AsyncIterator[str]:
        while (sentence := await sentences.get()) is not None:
            if speakable(sentence):
                yield sentence

    failed: SpeechError | None = None
    try:
        async with asyncio.TaskGroup() as parts:
            written = parts.create_task(reading())
            parts.create_task(speak(whole_sentences()))
    except* SpeechError as errors:
        failed = next(_leaves(errors))
    if failed is not None:  # raised here: what leaves an except* is a group
        raise failed
    return written.result()


def _leaves(group: BaseExceptionGroup[SpeechError]) -> Iterator[SpeechError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
