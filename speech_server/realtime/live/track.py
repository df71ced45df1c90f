"""The sound of a call: a track with the answers, 20 ms at a time, and the samples of the one that comes in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from fractions import Fraction

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from speech_server.audio.resample import Resampler
from speech_server.domain import Samples
from speech_server.realtime.live.ear import decode
from speech_server.realtime.protocol.config import AudioFormat, PcmFormat

RATE = 48_000  # Opus's own
FRAME = RATE // 50  # samples of 20 ms
HEARD = PcmFormat(rate=24_000)
# So late may a frame be after a stall of the process and be made up for; what is later shifts all that follows.
LATEST = 0.2


class SpokenTrack(MediaStreamTrack):
    """Silence, but for what `play` was given. `format` is that of what comes in."""

    kind = "audio"
    format: AudioFormat = HEARD

    def __init__(self) -> None:
        super().__init__()
        self._unplayed: deque[Samples] = deque()  # at RATE
        self._format: AudioFormat | None = None
        self._resampler = Resampler(RATE, RATE)
        self._due: float | None = None
        self._position = 0

    def play(self, data: bytes, audio_format: AudioFormat) -> None:
        """After what came before, in real time."""
        if audio_format != self._format:
            self._format = audio_format
            self._resampler = Resampler(audio_format.rate, RATE)
        self._unplayed.append(self._resampler.feed(decode(data, audio_format)[0]))

    def hush(self) -> None:
        """Forget what is not played yet."""
        self._unplayed.clear()
        self._format = None  # nor what the resampler still holds

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms, when they are due."""
        if self.readyState != "live":
            raise MediaStreamError
        now = asyncio.get_running_loop().time()
        if self._due is None or now - self._due > LATEST:
            self._due = now
        await asyncio.sleep(self._due - now)
        self._due += FRAME / RATE
        samples = (self._take(FRAME) * 32767).clip(-32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._position, Fraction(1, RATE)
        self._position += FRAME
        return frame

    def _take(self, count: int) -> Samples:
        taken = np.zeros(count, np.float32)
        filled = 0
        while self._unplayed and filled < count:
            block = self._unplayed.popleft()
            part = block[: count - filled]
            taken[filled : filled + len(part)] = part
            filled += len(part)
            if len(part) < len(block):
                self._unplayed.appendleft(block[len(part) :])
        return taken


async def heard(track: MediaStreamTrack) -> AsyncIterator[bytes]:
    """What comes over a track, in HEARD, until it ends."""
    resampler = av.AudioResampler("s16", "mono", HEARD.rate)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        assert isinstance(frame, av.AudioFrame)
        for part in resampler.resample(frame):
            yield part.to_ndarray().tobytes()
