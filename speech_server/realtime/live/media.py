"""What a session sees of its client: messages, and in a call sound beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from speech_server.realtime.protocol.config import AudioFormat


@dataclass(frozen=True, slots=True)
class TrackAudio:
    """What the microphone gives, in `Media.format`."""

    pcm: bytes

    def __len__(self) -> int:
        return len(self.pcm)


Message = str | bytes | TrackAudio


class Media(Protocol):
    """The sound of a call, both ways."""

    format: AudioFormat

    def play(self, data: bytes, audio_format: AudioFormat) -> None:
        """After what came before, in real time."""
        ...

    def hush(self) -> None:
        """Forget what is not played yet."""
        ...


class Socket(Protocol):
    """`media`: None where sound comes and goes inside the messages."""

    @property
    def media(self) -> Media | None: ...

    async def receive(self) -> Message | None:
        """The client's next message; None once it has gone."""
        ...

    async def send(self, text: str) -> None: ...
