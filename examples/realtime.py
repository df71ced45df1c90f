"""Speak to the server with the official openai client: words come back while the file is still being sent.

    python examples/realtime.py examples/clips/english.opus --base-url http://127.0.0.1:8000/v1
    python examples/realtime.py question.wav --base-url http://127.0.0.1:8000/v1 --model gpt-4o-mini --answer answer.wav

The second holds a conversation: the server needs CHAT_COMPLETION_BASE_URL for that. Through a queue endpoint, start a
job {"path": "/v1/realtime", "query": {...}}, and give the address and token of its progress:

    ... --websocket ws://203.0.113.7:40123/v1 --api-key TOKEN
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import wave
from collections.abc import Iterator

import av
from openai import AsyncOpenAI

RATE = 24_000
FRAME = RATE // 50  # 20 ms


def read_frames(path: str) -> Iterator[bytes]:
    """16-bit mono samples of any audio file, 20 ms at a time, then a second of silence so that the turn ends."""
    resampler = av.AudioResampler("s16", "mono", RATE, frame_size=FRAME)
    with av.open(path) as container:
        for decoded in container.decode(audio=0):
            yield from (bytes(frame.planes[0])[: 2 * frame.samples] for frame in resampler.resample(decoded))
        yield from (bytes(frame.planes[0])[: 2 * frame.samples] for frame in resampler.resample(None))
    yield from [bytes(2 * FRAME)] * 50


async def talk(arguments: argparse.Namespace) -> None:
    client = AsyncOpenAI(api_key=arguments.api_key, base_url=arguments.base_url, websocket_base_url=arguments.websocket)
    intent = "conversation" if arguments.answer else "transcription"
    async with client.realtime.connect(model=arguments.model, extra_query={"intent": intent}) as connection:

        async def speak() -> None:
            for frame in read_frames(arguments.file):
                await connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())
                await asyncio.sleep(0.02)  # as fast as it was spoken

        speaking = asyncio.create_task(speak())
        answer = bytearray()
        shown = ""
        async for event in connection:
            if event.type == "conversation.item.input_audio_transcription.delta":
                print(event.delta, end="", flush=True)
                shown += event.delta
            elif event.type == "conversation.item.input_audio_transcription.completed":
                # The final text may differ from the words that were shown while they were spoken.
                print("" if event.transcript == shown else f"\n= {event.transcript}" if shown else event.transcript)
                shown = ""
                if not arguments.answer:
                    break
            elif event.type == "response.output_audio_transcript.delta":
                print(event.delta, end="", flush=True)
            elif event.type == "response.output_audio.delta":
                answer += base64.b64decode(event.delta)
            elif event.type == "response.done":
                print()
                break
            elif event.type == "error":
                raise SystemExit(event.error.message)
        speaking.cancel()
    await client.close()
    if arguments.answer:
        with wave.open(arguments.answer, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(bytes(answer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="audio file")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1", help="the server (%(default)s)")
    parser.add_argument("--websocket", help="the WebSocket's address where it is another: ws://HOST:PORT/v1")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--model", default="whisper-1", help="what transcribes, or the language model with --answer")
    parser.add_argument("--answer", metavar="FILE.wav", help="hold a conversation and write the answer here")
    asyncio.run(talk(parser.parse_args()))


if __name__ == "__main__":
    main()
