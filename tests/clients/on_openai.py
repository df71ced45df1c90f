"""The official client for Python: synchronous, asynchronous, streamed."""

from __future__ import annotations

import asyncio

import openai
from shared import CLIP, GATEWAY, SPANISH, SPEECH_MODEL, got, heard

client = openai.OpenAI(base_url=GATEWAY, api_key="any")
hear = client.audio.transcriptions.create
heard("transcription", hear(model="whisper-1", file=CLIP).text)
segments = hear(model="whisper-1", file=CLIP, response_format="verbose_json").segments
heard("verbose_json", "".join(part.text for part in segments))
heard("srt", hear(model="whisper-1", file=CLIP, response_format="srt").replace("\n", " "))
deltas = [event.delta for event in hear(model="whisper-1", file=CLIP, stream=True) if event.type.endswith(".delta")]
heard("streamed", "".join(deltas))
print("  translation:", client.audio.translations.create(model="whisper-1", file=SPANISH).text)
speech = {"model": SPEECH_MODEL, "voice": "joe", "input": "Hello from a queue endpoint."}
got("speech", len(client.audio.speech.create(**speech, response_format="wav").content))
with client.audio.speech.with_streaming_response.create(**speech, response_format="pcm") as reply:
    got("speech, streamed", sum(len(block) for block in reply.iter_bytes()))
print("  models:", len(client.models.list().data))
try:
    hear(model="someone/unknown", file=CLIP)
except openai.NotFoundError as error:
    print("  error:", error.status_code, error.code)
else:
    raise SystemExit("an unknown model was no error")


async def others() -> None:
    async with openai.AsyncOpenAI(base_url=GATEWAY, api_key="any") as asynchronous:
        heard("async", (await asynchronous.audio.transcriptions.create(model="whisper-1", file=CLIP)).text)
        stream = await asynchronous.audio.transcriptions.create(model="whisper-1", file=CLIP, stream=True)
        heard("async, streamed", "".join([event.delta async for event in stream if event.type.endswith(".delta")]))


asyncio.run(others())
