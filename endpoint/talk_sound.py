"""Sound for the realtime client: from a file at its own pace or from a microphone, to a file or a loudspeaker."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from endpoint.errors import BadArgument

RATE = 24_000
FRAME = 2 * RATE // 50  # bytes of pcm16: 20 ms
MICROPHONE = "microphone"
# After a file: longer than any patience of turn detection.
CLOSING_SILENCE = 2.0
LONGEST = 24 * 3600.0  # seconds of a file


class Sink(Protocol):
    def write(self, pcm: bytes) -> None: ...

    def interrupt(self) -> None:
        """Drop what has not been played."""
        ...


async def read_file(path: Path, *, fast: bool) -> AsyncIterator[bytes]:
    """pcm16 frames of any audio or video file, in real time or as fast as they are taken, then silence."""
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0.0
    blocks = _frames(path)
    while (frame := await asyncio.to_thread(next, blocks, None)) is not None:
        yield frame
        sent += len(frame) / 2 / RATE
        if not fast:
            await asyncio.sleep(max(0.0, began + sent - loop.time()))


def _frames(path: Path) -> Iterator[bytes]:
    from speech_server.audio import decode
    from speech_server.audio.encode import pcm16
    from speech_server.errors import SpeechError

    rest = b""
    try:
        for samples in decode.stream(path, decode.Limits(LONGEST), rate=RATE):
            rest += pcm16(samples)
            whole = len(rest) // FRAME * FRAME
            yield from (rest[at : at + FRAME] for at in range(0, whole, FRAME))
            rest = rest[whole:]
    except SpeechError as error:
        raise BadArgument(f"{path}: {error.message}") from None
    rest += bytes(int(CLOSING_SILENCE * RATE) * 2)
    yield from (rest[at : at + FRAME] for at in range(0, len(rest), FRAME))


async def read_microphone() -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[bytes] = asyncio.Queue()

    def heard(data: Any, *_: Any) -> None:
        loop.call_soon_threadsafe(frames.put_nowait, bytes(data))

    device = _sounddevice()
    with device.RawInputStream(RATE, blocksize=FRAME // 2, channels=1, dtype="int16", callback=heard):
        while True:
            yield await frames.get()


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the PortAudio library is missing
        raise BadArgument(
            f"no microphone or loudspeaker: {error}. Install them with `pip install sounddevice` (on Linux also the "
            "package libportaudio2), or name an audio file"
        ) from None
    return sounddevice


def open_sink(output: str | None, source: str) -> AbstractContextManager[Sink | None]:
    """Where spoken replies go: the file, the loudspeaker beside a microphone, or nowhere."""
    if output:
        return _wav_file(output)
    return _loudspeaker() if source == MICROPHONE else nullcontext(None)


class WavFile:
    def __init__(self, file: wave.Wave_write) -> None:
        self._file = file

    def write(self, pcm: bytes) -> None:
        self._file.writeframes(pcm)

    def interrupt(self) -> None: ...


@contextmanager
def _wav_file(path: str) -> Iterator[Sink]:
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        yield WavFile(file)


class Loudspeaker:
    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, pcm: bytes) -> None:
        self._waiting += pcm

    def interrupt(self) -> None:
        self._waiting.clear()

    def play(self, out: Any, *_: Any) -> None:
        """The device asks for the next samples."""
        size = len(out)
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        out[:] = data.ljust(size, b"\0")


@contextmanager
def _loudspeaker() -> Iterator[Sink]:
    speaker = Loudspeaker()
    with _sounddevice().RawOutputStream(RATE, channels=1, dtype="int16", callback=speaker.play):
        yield speaker
