"""LiveKit's OpenAI plugin, as an agent uses it."""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.plugins import openai
from shared import GATEWAY, SPEECH_MODEL, got, heard, samples


async def main() -> None:
    sound = samples(24_000)
    hear = openai.STT(base_url=GATEWAY, api_key="any", model="whisper-1", language="en", use_realtime=False)
    event = await hear.recognize([rtc.AudioFrame(sound, 24_000, 1, len(sound) // 2)])
    heard("transcription", event.alternatives[0].text)
    speak = openai.TTS(base_url=GATEWAY, api_key="any", model=SPEECH_MODEL, voice="joe")
    got("speech", sum([len(piece.frame.data) * 2 async for piece in speak.synthesize("Hello from an agent.")]))


asyncio.run(main())
