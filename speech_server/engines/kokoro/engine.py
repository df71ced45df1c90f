"""Kokoro speech synthesis with kokoro-onnx: many voices, nine languages, blends."""

from __future__ import annotations

import logging
import threading
import zipfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.lib.npyio import NpzFile

from speech_server.domain import Samples, Voice
from speech_server.engines.cores import core_count
from speech_server.engines.interfaces import EngineArgs, SpeakOptions
from speech_server.engines.kokoro import phonemes
from speech_server.engines.kokoro.voices import Blend, parse_blend, resolve_language, usable
from speech_server.engines.onnx import StoppableSession, has_cuda, open_session
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


def load(folder: Path, args: EngineArgs) -> KokoroSpeaker:
    """The model in `folder` (model.onnx, voices.bin). Raises ModelBroken."""
    model = folder / "model.onnx"
    if not model.exists():
        model = next(iter(sorted(folder.glob("*.onnx"))), model)
    return KokoroSpeaker(model, folder / "voices.bin", args)


class KokoroSpeaker:
    """A loaded Kokoro. One session with one thread is called from as many threads as there are cores: several
    pieces side by side beat one piece on all cores. A second session on all cores speaks what comes alone."""

    sample_rate = RATE

    def __init__(self, model: Path, voices: Path, args: EngineArgs) -> None:
        cores = args.threads or core_count()
        on_gpu = args.device != "cpu" and has_cuda()
        workers = args.workers or (2 if on_gpu else cores)
        self._library = _open(model, voices, 1, args)
        self._wide = self._library
        self._styles = cast("NpzFile", self._library.voices)  # an open archive, read when asked for
        self._styles_lock = threading.Lock()
        self.voices: Mapping[str, Voice] = {voice.id: voice for voice in usable(sorted(self._styles.files))}
        self._opening: threading.Thread | None = None
        with ExitStack() as undo:  # what a thread that cannot start would leave behind
            undo.callback(self._styles.close)
            self._queue = SpeechQueue("kokoro", workers, args, None if on_gpu else CORES)
            undo.callback(self._queue.close)
            if cores > 1 and not on_gpu:
                # In the background: the model is ready without it.
                self._opening = threading.Thread(
                    target=self._widen, args=(model, voices, cores, args), name="kokoro-wide"
                )
                start_threads([self._opening], "kokoro")
            undo.pop_all()
        self.memory_bytes = model.stat().st_size * (2 if self._opening else 1) + voices.stat().st_size
        self.batcher = self._queue.batcher

    def check(self, options: SpeakOptions) -> None:
        self._read(options)

    def speak(self, text: str, options: SpeakOptions) -> AsyncGenerator[Samples, None]:
        blend, language = self._read(options)
        own, tempo = split_speed(options.speed)

        def say(piece: str, alone: bool) -> Samples:
            library = self._wide if alone else self._library
            return self._say(library, piece, language, blend, own)

        pieces = cut(text, language, early=options.early)
        check = phonemes.check_text(language)
        return self._queue.speak(pieces, say, rate=RATE, pause_scale=1 / options.speed, tempo=tempo, check=check)

    def close(self) -> None:
        self._queue.close()
        if self._opening:
            self._opening.join()
        self._styles.close()
        del self._library, self._wide

    def _widen(self, model: Path, voices: Path, cores: int, args: EngineArgs) -> None:
        try:
            wide = _open(model, voices, cores, args)
        except ModelBroken as error:  # its files were read a moment ago: a machine at its limits
            log.warning("kokoro speaks what comes alone on one core: %s", error.message)
            return
        cast("NpzFile", wide.voices).close()
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


def _open(model: Path, voices: Path, threads: int, args: EngineArgs) -> Library:
    from kokoro_onnx import Kokoro as Library

    try:
        # It only calls the session's run and asks for its inputs.
        session = cast(
            "InferenceSession", StoppableSession(open_session(model, threads, args.device, args.provider_options))
        )
        library: Library = Library.from_session(session, str(voices))
        if not isinstance(library.voices, NpzFile):  # the library says array, whatever the file holds
            raise ValueError("voices.bin holds no voices by name")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelBroken(f"{voices.parent} is no Kokoro model this server can read: {error}") from error
    return library
