"""Kokoro speech synthesis with kokoro-onnx: many voices, nine languages, blends."""

from __future__ import annotations

import logging
import queue
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.lib.npyio import NpzFile

from speech_server.domain import Samples, Voice
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro import phonemes
from speech_server.engines.kokoro.files import NETWORKS, VOICES, among, read_vocabulary
from speech_server.engines.kokoro.voices import (
    Blend,
    are_numbered,
    describe,
    parse_blend,
    resolve_language,
    usable,
)
from speech_server.engines.onnx import StoppableSession, is_on_gpu, open_session, opening, placement_of
from speech_server.engines.queue.speaker import QueuedSpeaker, Reading
from speech_server.engines.queue.threads import start_threads
from speech_server.engines.queue.turnstile import CORES
from speech_server.errors import ModelBroken
from speech_server.text.sentences import speakable

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
    """The model in `folder`. Raises ModelBroken."""
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    network, voices = among(names, NETWORKS), among(names, VOICES)
    if not network or not voices:
        raise ModelBroken(f"{folder} holds no Kokoro: model.onnx and voices.bin are needed")
    return KokoroSpeaker(folder / network, folder / voices, read_vocabulary(folder), args)


class KokoroSpeaker(QueuedSpeaker):
    """A loaded Kokoro. One session with one thread is called from as many threads as there are cores: several
    pieces side by side beat one piece on all cores. A second session on all cores speaks what comes alone.

    On a GPU there is a session for each worker, and each piece goes to one that is free: a piece's length, which the
    model finds by itself, is in the shapes of most of its convolutions, so no order of the pieces spares the plans.
    """

    sample_rate = RATE
    speeds = (0.5, 2.0)  # the library refuses others

    def __init__(self, model: Path, voices: Path, vocabulary: Mapping[str, int] | None, args: EngineArgs) -> None:
        cores = args.threads or core_count()
        twin = partial(_twin, model, voices, vocabulary, args)
        self._library = _open(model, voices, vocabulary, args, 1)
        on_gpu = is_on_gpu(self._library.sess)
        workers = args.workers or (2 if on_gpu else cores)
        self.placement = placement_of(self._library.sess, workers=workers, threads=1)
        self._wide = self._library
        self._model = model
        self._free: queue.LifoQueue[Library] = queue.LifoQueue()  # on a GPU
        self._vocabulary: Mapping[str, int] = self._library.tokenizer.vocab
        if "int" in _inputs(self._library)["speed"]:  # v1.1-zh takes whole numbers only
            self.speeds = (1.0, 1.0)
        self._styles = cast("NpzFile", self._library.voices)  # an open archive, read when asked for
        self._styles_lock = threading.Lock()
        self._languages = {describe(name).language for name in self._styles.files}
        self.voices: Mapping[str, Voice] = {voice.id: voice for voice in usable(sorted(self._styles.files))}
        self._opening: threading.Thread | None = None
        with ExitStack() as undo:  # what a thread that cannot start would leave behind
            undo.callback(self._styles.close)
            for library in [self._library, *(twin(1) for _ in range(workers - 1))] if on_gpu else ():
                self._free.put(library)
            super().__init__("kokoro", args, workers=workers, turnstile=None if on_gpu else CORES)
            undo.callback(super().close)
            if cores > 1 and not on_gpu:
                # In the background: the model is ready without it.
                self._opening = threading.Thread(target=self._widen, args=(partial(twin, cores),), name="kokoro-wide")
                start_threads([self._opening], "kokoro")
            undo.pop_all()
        sessions = 2 if self._opening else self._free.qsize() or 1
        self.memory_bytes = model.stat().st_size * sessions + voices.stat().st_size

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
        super().close()
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

    def _widen(self, open_wide: Callable[[], Library]) -> None:
        try:
            wide = open_wide()
        except ModelBroken as error:  # its files were read a moment ago: a machine at its limits
            log.warning("kokoro speaks what comes alone on one core: %s", error.message)
            return
        self._wide = wide

    def _read(self, options: SpeakOptions) -> Reading:
        blend = parse_blend(options.voice, self._styles.files)  # a voice may read another language than its own
        language = resolve_language(options.language, blend[0][0], self._languages)
        phonemes.check(language)

        def say(piece: str, alone: bool) -> Samples:
            with self._library_for(alone) as library:
                return self._say(library, piece, language, blend, options.speed)

        return Reading(language, say, phonemes.check_text(language, self._vocabulary))

    def _say(self, library: Library, text: str, language: str, blend: Blend, speed: float) -> Samples:
        spoken = phonemes.for_kokoro(text, language, self._vocabulary)
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


def _twin(model: Path, voices: Path, vocabulary: Mapping[str, int] | None, args: EngineArgs, threads: int) -> Library:
    """One more session; the voices are read once."""
    library = _open(model, voices, vocabulary, args, threads)
    cast("NpzFile", library.voices).close()
    return library


def _open(model: Path, voices: Path, vocabulary: Mapping[str, int] | None, args: EngineArgs, threads: int) -> Library:
    from kokoro_onnx import Kokoro as Library

    try:
        # It only calls the session's run and asks for its inputs.
        session = cast("InferenceSession", StoppableSession(open_session(model, threads, args)))
        own = {"vocab": dict(vocabulary)} if vocabulary else None
        library: Library = Library.from_session(session, str(voices), vocab_config=own)
        if not isinstance(library.voices, NpzFile):  # the library says array, whatever the file holds
            raise ValueError(f"{voices.name} holds no voices by name")
        if are_numbered(library.voices.files) and not phonemes.are_bopomofo(library.tokenizer.vocab):
            raise ValueError("its voices take the vocabulary that is config.json of hexgrad/Kokoro-82M-v1.1-zh")
        if missing := {"style", "speed"} - _inputs(library).keys():
            raise ValueError(f"its network has no {' and no '.join(sorted(missing))}")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelBroken(f"{voices.parent} is no Kokoro model this server can read: {error}") from error
    return library


def _inputs(library: Library) -> dict[str, str]:
    """Names and types of what its network takes."""
    return {node.name: node.type for node in library.sess.get_inputs()}
