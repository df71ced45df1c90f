"""Transcribes the same clip eight times at once, in less memory than a batch of eight needs; prints what was heard."""

from __future__ import annotations

import asyncio
import logging
import resource
from pathlib import Path

from speech_server.engines.interfaces import EngineArgs, TranscribeOptions
from speech_server.engines.whisper import engine as whisper
from tests.conftest import WHISPER
from tests.speech_server.conftest import model_folder
from tests.speech_server.engines.whisper.test_engine import CLIP
from tests.speech_server.transcribing import hear, text_of, words_of

# Encoding a window takes 140 MB, eight of 25 tokens decoded together 400.
ROOM = 300 * 2**20
OPTIONS = TranscribeOptions(language="en", temperatures=(0.0,))


def leave_room() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


async def main() -> None:
    engine = whisper.load(model_folder(WHISPER), EngineArgs(workers=1, extra={"short_windows": False}))
    await hear(engine, CLIP, options=OPTIONS)  # what is taken once and kept
    leave_room()
    for heard in await asyncio.gather(*(hear(engine, CLIP, options=OPTIONS) for _ in range(8))):
        print(words_of(text_of(heard[0].segments)))
    engine.close()


logging.basicConfig(level=logging.WARNING)
asyncio.run(main())
