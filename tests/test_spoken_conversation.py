"""A whole spoken conversation with no stand-in: Whisper hears, a real language model answers, Kokoro speaks.

Needs `python -m tools.language_model pull` and `pip install xllamacpp`; skipped, with the reason, where they are not.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI

from tests.conftest import KOKORO, PIPER, ROOT, WHISPER, ServerProcess
from tests.sound import wav
from tests.talking import RATE, SILENCE, Person, nearly, plain, spoken, understood
from tools import language_model

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HEARD = "conversation.item.input_audio_transcription.completed"
BRIEF = {
    "type": "realtime",
    "instructions": "Answer in one short sentence.",
    "max_output_tokens": 40,
    "audio": {"output": {"model": KOKORO, "voice": "af_heart"}},
}


@pytest.fixture(scope="module")
def chat_url() -> Iterator[str]:
    if reason := language_model.missing():
        pytest.skip(reason)
    command = [sys.executable, "-m", "tools.language_model", "serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        limit = threading.Timer(60, process.kill)
        limit.start()
        line = process.stdout.readline()
        limit.cancel()
        try:
            assert line.startswith("CHAT_COMPLETION_BASE_URL=http://127.0.0.1:"), "it did not start within 60 s"
            yield line.partition("=")[2].strip()
        finally:
            process.terminate()
            try:
                assert process.wait(30) == 0, "it ends when it is told to"
            finally:
                process.kill()


@pytest.fixture(scope="module")
def url(chat_url: str) -> Iterator[str]:
    preload = ",".join((WHISPER, KOKORO, PIPER))
    server = ServerProcess({"CHAT_COMPLETION_BASE_URL": chat_url, "PRELOAD_MODELS": preload})
    yield server.url
    server.stop()


@asynccontextmanager
async def conversation(url: str) -> AsyncIterator[Person]:
    async with (
        AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client,
        client.realtime.connect(model="smollm2", extra_query={"language": "en"}) as connection,
    ):
        person = Person(connection)
        await person.until("session.created")
        await person.send("session.update", session=BRIEF)
        yield person


async def ask(person: Person, speech: bytes) -> tuple[str, str, bytes]:
    """Somebody asks aloud, at the pace of speech: what was heard, what was answered, and the sound of the answer."""
    person.heard.clear()
    await person.say(speech + SILENCE, pace=1.0)
    done = await person.until("response.done", 120)
    assert done["response"]["status"] == "completed", done["response"]
    (heard,) = person.all(HEARD)
    (said,) = person.all("response.output_audio_transcript.done")
    pcm = b"".join(base64.b64decode(event["delta"]) for event in person.all("response.output_audio.delta"))
    return plain(heard["transcript"]), said["transcript"], pcm


async def test_questions_asked_aloud_are_heard_answered_and_the_answers_heard_back(url: str):
    async with conversation(url) as person:
        for question, key in (("What is the capital of France?", "paris"), ("What is the capital of Italy?", "rome")):
            heard, answer, pcm = await ask(person, await asyncio.to_thread(spoken, url, question))
            assert heard == nearly(question)
            assert key in plain(answer).split()
            assert await asyncio.to_thread(understood, url, wav(pcm, RATE)) == nearly(answer)
