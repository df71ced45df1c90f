"""Kokoro speech synthesis with kokoro-onnx: many voices, nine languages, blends."""

from __future__ import annotations

import logging
import queue
import threading
import zipfile
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.lib.npyio import NpzFile

from speech_server.domain import Samples, Voice
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro import phonemes
from speech_server.engines.kokoro.voices import Blend, parse_blend, resolve_language, usable
from speech_server.engines.onnx import StoppableSession, is_on_gpu, open_session, opening, placement_of
from speech_server.engines.queue.speaking import SpeechQueue, check_speed, split_speed
from speech_server.engines.queue.threads import start_threads
from speech_server.engines.queue.turnstile import CORES
from speech_server.errors import ModelBroken
from speech_server.text.sentences import cut, speakable

if TYPE_CHECKING:
    from kokoro_onnx import Kokoro as Library
    from onnxruntime import InferenceSession

log = logging.getLogger(__name__)

RATE = 24_000
_REHEARSED = (
    "Good morning.",
    "This long sentence is said here first, so that nobody waits for its like later on.",
)


def load(folder: Path, args: EngineArgs) -> KokoroSpeaker:
    """The model in `folder` (model.onnx, voices.bin). Raises ModelBroken."""
    model = folder / "model.onnx"
    if not model.exists():
        model = next(iter(sorted(folder.glob("*.onnx"))), model)
    return KokoroSpeaker(model, folder / "voices.bin", args)


class KokoroSpeaker:
    """A loaded Kokoro. One session with one thread is called from as many threads as there are cores: several
    pieces side by side beat one piece on all cores. A second session on all cores speaks what comes alone.

    On a GPU there is a session for each worker, and each piece goes to one that is free: a piece's length, which the
    model finds by itself, is in the shapes of most of its convolutions, so no order of the pieces spares the plans.
    """

    sample_rate = RATE

    def __init__(self, model: Path, voices: Path, args: EngineArgs) -> None:
        cores = args.threads or core_count()
        self._library = _open(model, voices, 1, args)
        on_gpu = is_on_gpu(self._library.sess)
        workers = args.workers or (2 if on_gpu else cores)
        self.placement = placement_of(self._library.sess, workers=workers, threads=1)
        self._wide = self._library
        self._model = model
        self._free: queue.LifoQueue[Library] = queue.LifoQueue()  # on a GPU
        self._styles = cast("NpzFile", self._library.voices)  # an open archive, read when asked for
        self._styles_lock = threading.Lock()
        self.voices: Mapping[str, Voice] = {voice.id: voice for voice in usable(sorted(self._styles.files))}
        self._opening: threading.Thread | None = None
        with ExitStack() as undo:  # what a thread that cannot start would leave behind
            undo.callback(self._styles.close)
            for library in [self._library, *(_twin(model, voices, args) for _ in range(workers - 1))] if on_gpu else ():
                self._free.put(library)
            self._queue = SpeechQueue("kokoro", workers, args, None if on_gpu else CORES)
            undo.callback(self._queue.close)
            if cores > 1 and not on_gpu:
                # In the background: the model is ready without it.
                self._opening = threading.Thread(
                    target=self._widen, args=(model, voices, cores, args), name="kokoro-wide"
                )
                start_threads([self._opening], "kokoro")
            undo.pop_all()
        sessions = 2 if self._opening else self._free.qsize() or 1
        self.memory_bytes = model.stat().st_size * sessions + voices.stat().st_size
        self.batcher = self._queue.batcher

    def check(self, options: SpeakOptions) -> None:
        self._read(options)

    def speak(self, text: str, options: SpeakOptions) -> AsyncGenerator[Samples, None]:
        blend, language = self._read(options)
        own, tempo = split_speed(options.speed)

        def say(piece: str, alone: bool) -> Samples:
            with self._library_for(alone) as library:
                return self._say(library, piece, language, blend, own)

        pieces = cut(text, language, early=options.early)
        check = phonemes.check_text(language)
        return self._queue.speak(pieces, say, rate=RATE, pause_scale=1 / options.speed, tempo=tempo, check=check)

    def rehearse(self) -> Iterator[str]:
        """A short and a long sentence in each session, where it has a GPU; on a CPU the first is as quick as others."""
        if self.placement.device == "cpu":
            return
        blend = parse_blend(next(iter(self.voices)), self._styles.files)
        for library in list(self._free.queue):
            for text in _REHEARSED:
                with opening(self._model):
                    self._say(library, text, "en-us", blend, 1.0)
                yield f"a sentence of {len(text)} characters"

    def close(self) -> None:
        self._queue.close()
        if self._opening:
            self._opening.join()
        self._styles.close()
        del self._library, self._wide, self._free

    @contextmanager
    def _library_for(self, alone: bool) -> Iterator[Library]:
        if self.placement.device == "cpu":
            yield self._wide if alone else self._library
            return
        library = self._free.get()  # there are as many as workers; a newcomer waits for one piece
        try:
            yield library
        finally:
            self._free.put(library)

    def _widen(self, model: Path, voices: Path, cores: int, args: EngineArgs) -> None:
        try:
            wide = _twin(model, voices, args, threads=cores)
        except ModelBroken as error:  # its files were read a moment ago: a machine at its limits
            log.warning("kokoro speaks what comes alone on one core: %s", error.message)
            return
        self._wide = wide

    def _read(self, options: SpeakOptions) -> tuple[Blend, str]:
        check_speed(options.speed)
        blend = parse_blend(options.voice, self._styles.files)  # a voice may read another language than its own
        language = resolve_language(options.language, blend[0][0])
        phonemes.check(language)
        return blend, language

    def _say(self, library: Library, text: str, language: str, blend: Blend, speed: float) -> Samples:
        spoken = phonemes.for_kokoro(text, language, library.tokenizer.vocab)
        if not speakable(spoken):
            return np.zeros(0, np.float32)
        style: Samples = np.sum(
            [self._style(name) * np.float32(weight) for name, weight in blend], axis=0, dtype=np.float32
        )
        samples, _ = library.create(spoken, style, speed, is_phonemes=True, trim=False)
        return np.asarray(samples, np.float32)

    def _style(self, name: str) -> Samples:
        with self._styles_lock:
            return np.asarray(self._styles[name], np.float32)


def _twin(model: Path, voices: Path, args: EngineArgs, threads: int = 1) -> Library:
    """One more session; the voices are read once."""
    library = _open(model, voices, threads, args)
    cast("NpzFile", library.voices).close()
    return library


def _open(model: Path, voices: Path, threads: int, args: EngineArgs) -> Library:
    from kokoro_onnx import Kokoro as Library

    try:
        # It only calls the session's run and asks for its inputs.
        session = cast("InferenceSession", StoppableSession(open_session(model, threads, args)))
        library: Library = Library.from_session(session, str(voices))
        if not isinstance(library.voices, NpzFile):  # the library says array, whatever the file holds
            raise ValueError("voices.bin holds no voices by name")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelBroken(f"{voices.parent} is no Kokoro model this server can read: {error}") from error
    return library
