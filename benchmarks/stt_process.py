"""One transcription engine in a process of its own, told what to do over its pipes: the library, or ours.

python -m benchmarks.stt_process library|ours '{"keep_memory": true, "workers": 0, ...}'
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.clips import Clip

MODEL = "Systran/faster-whisper-base"


@dataclass
class Heard:
    seconds: float  # from the first request to the last reply
    first: float  # until the first segment of any
    each: list[float]  # until each reply
    texts: list[str]


@dataclass
class EngineProcess:
    """`settings`: keep_memory, workers, threads, max_batch, short_windows. Use as a context manager."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> EngineProcess:
        command = [sys.executable, "-m", "benchmarks.stt_process", self.kind, json.dumps(self.settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load_seconds = float(self._answer())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def transcribe(self, clips: list[Clip], at_once: int = 1, *, early: bool = False) -> Heard:
        """`early`: as a stream, whose first words are waited for."""
        self._ask({"files": [str(clip.path) for clip in clips], "at_once": at_once, "early": early})
        return Heard(**json.loads(self._answer()))

    def probe(self, clip: Clip, beside: Clip) -> list[float]:
        """Seconds of one clip after the other, sent while `beside` is transcribed."""
        self._ask({"files": [str(clip.path)], "beside": str(beside.path)})
        return list(json.loads(self._answer()))

    def _ask(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the {self.kind} process ended with {self._process.wait()}")
        return line


def folders() -> tuple[Path, Path]:
    """The model as published (float16), and as our server loads it (int8, quantised once)."""
    from speech_server.models.library.catalog import Catalog
    from speech_server.models.library.store import Store
    from speech_server.settings import Settings

    settings = Settings()
    catalog = Catalog(settings)
    store = Store(settings, catalog)
    model = catalog.find(MODEL)
    published = store.folder(MODEL)
    if model is None or published is None:
        raise SystemExit(f"{MODEL} is not installed: run `make models` first")
    return published, store.loadable_folder(model) or published


class Library:
    """faster-whisper as most people call it: one model, default threads, one file after the other."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel

        started = time.perf_counter()
        self.model = WhisperModel(str(folders()[0]), compute_type="int8")
        self.load_seconds = time.perf_counter() - started

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        first, each, texts = 0.0, [], []
        for file in order["files"]:
            words = []
            for segment in self.model.transcribe(file)[0]:
                first = first or time.perf_counter() - started
                words.append(segment.text)
            each.append(time.perf_counter() - started)
            texts.append("".join(words).strip())
        return {"seconds": time.perf_counter() - started, "first": first, "each": each, "texts": texts}


class Ours:
    """The engine behind our server, without HTTP."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from speech_server.engines.allocator import keep_memory, use_one_blas_thread

        use_one_blas_thread()
        if settings.pop("keep_memory", True):
            keep_memory()
        from speech_server.engines.interfaces import EngineArgs
        from speech_server.engines.silero import engine as silero
        from speech_server.engines.whisper import engine as whisper

        folder = folders()[1]
        arguments = {name: settings.pop(name) for name in ("workers", "threads") if name in settings}
        started = time.perf_counter()
        self.transcriber = whisper.load(folder, EngineArgs(**arguments, extra=settings))
        self.load_seconds = time.perf_counter() - started
        import faster_whisper

        self.detector = silero.load(Path(faster_whisper.__file__).parent / "assets", EngineArgs())
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def do(self, order: dict[str, Any]) -> Any:
        work = self._probe(order) if "beside" in order else self._all(order["files"], order["at_once"], order["early"])
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _all(self, files: list[str], at_once: int, early: bool) -> dict[str, Any]:
        gate = asyncio.Semaphore(at_once)
        started = time.perf_counter()
        firsts: list[float] = []

        async def one(file: str) -> tuple[float, str]:
            async with gate:
                begun = time.perf_counter()
                words = []
                async for text in self._hear(file, early):
                    firsts.append(time.perf_counter() - started)
                    words.append(text)
                return time.perf_counter() - begun, "".join(words).strip()

        replies = await asyncio.gather(*map(one, files))
        seconds = time.perf_counter() - started
        each, texts = [took for took, _ in replies], [text for _, text in replies]
        return {"seconds": seconds, "first": min(firsts, default=seconds), "each": each, "texts": texts}

    async def _probe(self, order: dict[str, Any]) -> list[float]:
        async def listen() -> None:
            async for _ in self._hear(order["beside"]):
                begun.set()

        begun = asyncio.Event()
        beside = asyncio.create_task(listen())
        await begun.wait()
        seconds = []
        while not beside.done():
            started = time.perf_counter()
            [_ async for _ in self._hear(order["files"][0])]
            if not beside.done():
                seconds.append(time.perf_counter() - started)
            await asyncio.sleep(0.1)
        return seconds

    async def _hear(self, file: str, early: bool = False) -> Any:
        from speech_server.domain import VadOptions
        from speech_server.engines.interfaces import TranscribeOptions
        from speech_server.speech_to_text import transcribe

        options, vad = TranscribeOptions(), VadOptions()
        transcription = transcribe(
            Path(file), self.transcriber, self.detector, options, vad, max_seconds=36_000, early=early
        )
        async for segment in transcription:
            yield segment.text


def main(kind: str, settings: str) -> None:
    engine = Library() if kind == "library" else Ours(json.loads(settings))
    print(engine.load_seconds, flush=True)
    for line in sys.stdin:
        print(json.dumps(engine.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
