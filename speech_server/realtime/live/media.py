"""What a session sees of its client: messages, and in a call sound beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from speech_server.realtime.live.track import SpokenTrack


@dataclass(frozen=True, slots=True)
class TrackAudio:
    """What the microphone gives, in the format of `Socket.media`."""

    pcm: bytes

    def __len__(self) -> int:
        return len(self.pcm)


Message = str | bytes | TrackAudio


class Socket(Protocol):
    """`media`: None where sound comes and goes inside the messages."""

    @property
    def media(self) -> SpokenTrack | None: ...

    async def receive(self) -> Message | None:
        """The client's next message; None once it has gone."""
        ...

    async def send(self, text: str) -> None: ...
