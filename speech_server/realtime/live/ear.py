"""What a session hears: base64 audio in, 16 kHz samples and voice probabilities out. Blocking; runs in a thread."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from speech_server.audio import g711
from speech_server.audio.resample import Resampler
from speech_server.domain import RATE, Samples
from speech_server.hearing.spans import VoiceStream
from speech_server.pools import Pool
from speech_server.realtime.live.media import TrackAudio
from speech_server.realtime.protocol.config import AudioFormat
from speech_server.realtime.protocol.events import MAX_APPEND_BYTES, Append, ProtocolError
from speech_server.realtime.state.listening import Heard

# Short calls that must not wait behind an engine, nor hold the event loop up. Each session has a handful at most: one
# for what it hears, one for what it says, one for each message that waits for its text.
ear_threads = Pool("ear", 2, waiting=1024)


class Ear:
    """One stream of audio: keeps the resampler's and the voice detector's state between calls."""

    def __init__(self, audio_format: AudioFormat, voice: VoiceStream) -> None:
        self._voice = voice
        self.listen_for(audio_format)

    def listen_for(self, audio_format: AudioFormat) -> None:
        """From here on the audio comes in this format."""
        self._format = audio_format
        self._odd = b""  # half a 16-bit sample, waiting for its other half
        self._resampler = Resampler(audio_format.rate, RATE)

    def hear(self, appends: Sequence[Append | TrackAudio]) -> Heard:
        """A bad append is refused by itself; the others are heard."""
        data, refused = [], []
        for append in appends:
            if isinstance(append, TrackAudio):
                data.append(append.pcm)
                continue
            try:
                data.append(decode_base64(append.audio))
            except ProtocolError as error:
                error.event_id = append.event_id
                refused.append(error)
        samples, self._odd = decode(self._odd + b"".join(data), self._format)
        return self._heard(self._resampler.feed(samples), tuple(refused))

    def finish(self) -> Heard:
        """The last milliseconds, still inside the resampler; the next audio starts a new stretch."""
        rest = self._resampler.finish()
        self.listen_for(self._format)
        return self._heard(rest, ())

    def _heard(self, samples: Samples, refused: tuple[ProtocolError, ...]) -> Heard:
        return Heard(samples, tuple(self._voice.feed(samples).tolist()), refused)


def decode(data: bytes, audio_format: AudioFormat) -> tuple[Samples, bytes]:
    """Samples at the format's rate, and the byte left over when a 16-bit sample is cut in two."""
    if audio_format.type != "audio/pcm":
        return g711.decode(data, audio_format.type), b""
    whole = len(data) & ~1
    return np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768), data[whole:]


def decode_base64(text: str) -> bytes:
    """Raises ProtocolError, without an event id."""
    if len(text) > MAX_APPEND_BYTES * 4 // 3 + 4:
        raise ProtocolError(
            f"audio is larger than {MAX_APPEND_BYTES // 2**20} MiB: send it in smaller pieces",
            code="audio_too_large",
            param="audio",
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("audio is not valid base64", code="invalid_audio", param="audio") from None
