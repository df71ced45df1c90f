"""What every route works with, made once by app.py."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from speech_server.chat.answers import Answers
from speech_server.errors import ManagementOff, NotFound
from speech_server.routes.border.client_secrets import ClientSecrets
from speech_server.routes.metrics import Metrics
from speech_server.settings import Settings

if TYPE_CHECKING:
    from speech_server.models.library.catalog import Catalog
    from speech_server.models.library.library import Library
    from speech_server.models.loader import Loader
    from speech_server.speech_to_text import Transcription


class Running:
    """The transcriptions in work. Clients choose the request ids, so two may run under one."""

    def __init__(self) -> None:
        self._works: list[tuple[str, Transcription]] = []

    @contextmanager
    def entered(self, request_id: str, work: Transcription) -> Iterator[None]:
        self._works.append((request_id, work))
        try:
            yield
        finally:
            self._works.remove((request_id, work))

    def find(self, request_id: str) -> list[Transcription]:
        return [work for sent, work in self._works if sent == request_id]


class Calls:
    """The calls that are held, each by a task that ends with it."""

    def __init__(self) -> None:
        self._held: dict[str, asyncio.Task[None]] = {}

    def hold(self, call_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._held[call_id] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._held.pop(call_id))

    def hang_up(self, call_id: str) -> None:
        """Raises NotFound."""
        if call_id not in self._held:
            raise NotFound(
                f"There is no call '{call_id[:100]}' here, or it is over", param="call_id", code="call_not_found"
            )
        self._held[call_id].cancel()

    async def close(self) -> None:
        tasks = list(self._held.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Speech:
    """`running` holds the transcriptions in work, for whoever asks how far they are; `sessions` the realtime
    connections that are open, `calls` those over WebRTC, `answers` what voice chat has said, `secrets` makes and reads
    browsers' keys."""

    settings: Settings
    catalog: Catalog
    library: Library
    loader: Loader
    metrics: Metrics
    running: Running = field(default_factory=Running)
    sessions: set[object] = field(default_factory=set)
    calls: Calls = field(default_factory=Calls)
    answers: Answers = field(default_factory=Answers)
    secrets: ClientSecrets = field(default_factory=lambda: ClientSecrets(None))


async def speech_of(connection: HTTPConnection) -> Speech:
    # Async although it waits for nothing: FastAPI would run it in a thread.
    speech: Speech = connection.app.state.speech
    return speech


async def require_management(connection: HTTPConnection) -> None:
    """Whoever may use a model need not be one who may change which models there are."""
    speech: Speech = connection.app.state.speech
    if not speech.settings.manages_models:
        raise ManagementOff(
            "Callers of this server may not pull, remove, load or unload models: its operator can allow it with "
            "MODEL_MANAGEMENT=on, or by setting an API_KEY",
        )


Managed = Depends(require_management)
SpeechDep = Annotated[Speech, Depends(speech_of)]
