"""Kokoro speech synthesis with kokoro-onnx: many voices, nine languages, blends."""

from __future__ import annotations

import logging
import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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
from speech_server.engines.onnx import StoppableSession, has_cuda, open_session
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


def load(folder: Path, args: EngineArgs) -> KokoroSpeaker:
    """The model in `folder`. Raises ModelBroken."""
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    network, voices = among(names, NETWORKS), among(names, VOICES)
    if not network or not voices:
        raise ModelBroken(f"{folder} holds no Kokoro: model.onnx and voices.bin are needed")
    return KokoroSpeaker(folder / network, folder / voices, read_vocabulary(folder), args)


class KokoroSpeaker(QueuedSpeaker):
    """A loaded Kokoro. One session with one thread is called from as many threads as there are cores: several
    pieces side by side beat one piece on all cores. A second session on all cores speaks what comes alone."""

    sample_rate = RATE
    speeds = (0.5, 2.0)  # the library refuses others

    def __init__(self, model: Path, voices: Path, vocabulary: Mapping[str, int] | None, args: EngineArgs) -> None:
        cores = args.threads or core_count()
        on_gpu = args.device != "cpu" and has_cuda()
        workers = args.workers or (2 if on_gpu else cores)
        opening = partial(_open, model, voices, vocabulary, args)
        self._library = opening(1)
        self._wide = self._library
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
            super().__init__("kokoro", args, workers=workers, turnstile=None if on_gpu else CORES)
            undo.callback(super().close)
            if cores > 1 and not on_gpu:
                # In the background: the model is ready without it.
                self._opening = threading.Thread(
                    target=self._widen, args=(partial(opening, cores),), name="kokoro-wide"
                )
                start_threads([self._opening], "kokoro")
            undo.pop_all()
        self.memory_bytes = model.stat().st_size * (2 if self._opening else 1) + voices.stat().st_size

    def close(self) -> None:
        super().close()
        if self._opening:
            self._opening.join()
        self._styles.close()
        del self._library, self._wide

    def _widen(self, opening: Callable[[], Library]) -> None:
        try:
            wide = opening()
        except ModelBroken as error:  # its files were read a moment ago: a machine at its limits
            log.warning("kokoro speaks what comes alone on one core: %s", error.message)
            return
        cast("NpzFile", wide.voices).close()
        self._wide = wide

    def _read(self, options: SpeakOptions) -> Reading:
        blend = parse_blend(options.voice, self._styles.files)  # a voice may read another language than its own
        language = resolve_language(options.language, blend[0][0], self._languages)
        phonemes.check(language)

        def say(piece: str, alone: bool) -> Samples:
            library = self._wide if alone else self._library
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


def _open(model: Path, voices: Path, vocabulary: Mapping[str, int] | None, args: EngineArgs, threads: int) -> Library:
    from kokoro_onnx import Kokoro as Library

    try:
        # It only calls the session's run and asks for its inputs.
        session = cast(
            "InferenceSession", StoppableSession(open_session(model, threads, args.device, args.provider_options))
        )
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
