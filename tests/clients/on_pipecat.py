"""pipecat's OpenAI services."""

from __future__ import annotations

import asyncio
import io
import wave

from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from shared import GATEWAY, SPEECH_MODEL, got, heard, samples


async def main() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(samples(16_000))
    hear = OpenAISTTService(api_key="any", base_url=GATEWAY, model="whisper-1")
    heard("transcription", (await hear._transcribe(file.getvalue())).text)  # what its pipeline calls
    speak = OpenAITTSService(api_key="any", base_url=GATEWAY, model=SPEECH_MODEL, voice="alloy")
    speak._sample_rate = 24_000  # which a pipeline sets at its start
    frames = [frame async for frame in speak.run_tts("Hello from a pipeline.", "context")]
    got("speech", sum(len(getattr(frame, "audio", b"") or b"") for frame in frames))


asyncio.run(main())
