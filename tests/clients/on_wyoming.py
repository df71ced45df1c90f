"""wyoming_openai, by which Home Assistant hears and speaks: its server, spoken to as Home Assistant does."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

from shared import GATEWAY, SPEECH_MODEL, got, heard, samples
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize, SynthesizeVoice

RATE = 16_000


async def main(port: int) -> None:
    for _ in range(100):
        try:
            async with AsyncTcpClient("127.0.0.1", port):
                break
        except OSError:
            await asyncio.sleep(0.2)
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Transcribe(name="whisper-1", language="en").event())
        await client.write_event(AudioStart(RATE, 2, 1).event())
        sound = samples(RATE)
        for at in range(0, len(sound), 3200):
            await client.write_event(AudioChunk(RATE, 2, 1, sound[at : at + 3200]).event())
        await client.write_event(AudioStop().event())
        while not Transcript.is_type((event := await client.read_event()).type):
            pass
        heard("transcription", Transcript.from_event(event).text)
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Synthesize("Hello from a home.", voice=SynthesizeVoice(name="joe")).event())
        size = 0
        while not AudioStop.is_type((event := await client.read_event()).type):
            size += len(AudioChunk.from_event(event).audio) if AudioChunk.is_type(event.type) else 0
        got("speech", size)


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    number = free.getsockname()[1]
arguments = ["--uri", f"tcp://127.0.0.1:{number}", "--stt-openai-url", GATEWAY, "--stt-openai-key", "any"]
arguments += ["--stt-models", "whisper-1", "--tts-openai-url", GATEWAY, "--tts-openai-key", "any"]
arguments += ["--tts-models", SPEECH_MODEL, "--tts-voices", "joe"]
server = subprocess.Popen([sys.executable, "-m", "wyoming_openai", *arguments], stderr=subprocess.DEVNULL)
try:
    asyncio.run(asyncio.wait_for(main(number), 120))
finally:
    server.terminate()
    server.wait()
