"""Parakeet TDT by onnx-asr: the chunks of all requests in one queue, those of like length heard together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_asr
from onnx_asr.asr import Asr, TimestampedResult
from onnx_asr.onnx import OnnxSessionOptions

from speech_server.domain import RATE, ChunkTranscript, Samples, SpeechChunk
from speech_server.engines.asked import check_heard
from speech_server.engines.cores import core_count
from speech_server.engines.device import choose, onnxruntime_fault
from speech_server.engines.interfaces import EngineArgs, Placement, TranscribeOptions
from speech_server.engines.onnx import ON_CPU, opening, placement_of, providers_for, require_gpu, session_options
from speech_server.engines.parakeet.files import (
    FLOAT,
    FLOAT_WEIGHTS,
    INT8,
    VOCABULARY,
    choose_precision,
    languages_of,
    parse_vocabulary,
)
from speech_server.engines.parakeet.words import HeardToken, to_segments
from speech_server.engines.queue.engine import QueuedEngine
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.turnstile import CORES
from speech_server.engines.workspace import Need, Workspace
from speech_server.errors import InvalidRequest, ModelBroken

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_SHORTEST = RATE // 4  # samples; of less there are too few frames to compare with each other
# Bytes of activations that a worker's 30 s take in int8, seen with layers of the real shapes (float32: half of it): the
# first convolution alone makes 256 maps of 1500 x 64 numbers.
_WORKSPACE = 400 * 1024 * 1024
_ON_GPU = Need(worker=0, work=_WORKSPACE // 2)  # where it is float32


@dataclass(frozen=True, slots=True)
class ParakeetJob:
    """One chunk, and how its request wants it told."""

    chunk: SpeechChunk
    options: TranscribeOptions


class ParakeetTranscriber(QueuedEngine[ParakeetJob, ChunkTranscript]):
    """One model in memory, called from as many threads as it has workers.

    It takes no prompt, hotwords or temperature. One for many languages finds out by itself which it hears, and does
    not tell: a given language is checked, and changes nothing.
    """

    def __init__(
        self, library: Asr, tokens: Sequence[str], *, placement: Placement, weights: int, args: EngineArgs
    ) -> None:
        self.languages = frozenset(languages_of(tokens))
        self.placement = placement
        cuda, workers = placement.device == "cuda", placement.workers
        given = int(args.extra.get("max_batch", 0))
        # On a CPU a batch is 30 s of sound, however many works: its memory is known.
        self._workspace = Workspace(_ON_GPU, placement.gpus, workers, most=16, given=given) if cuda else None
        batch = self._workspace.batch if self._workspace else given or 8
        self.gpu_workspace = self._workspace.bytes if self._workspace else 0
        self.memory_bytes = weights + (0 if cuda else workers * _WORKSPACE)
        self._library = library
        self._ids = {token: number for number, token in enumerate(tokens)}
        super().__init__(
            "parakeet",
            args,
            workers=workers,
            max_batch=batch,
            # Seconds of audio. On a CPU a full chunk keeps a core busy by itself; short ones share the way of the
            # weights through its cache.
            max_cost=30.0 * batch if cuda else 30.0,
            ahead=workers * batch if cuda else 3 * workers,
            turnstile=None if cuda else CORES,
        )

    def close(self) -> None:
        super().close()
        del self._library
        if self._workspace:
            self._workspace.close()

    def transcribe(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        if options.task == "translate":
            raise InvalidRequest("a Parakeet model does not translate: use a Whisper model", param="model")
        check_heard(options.language, self.languages)
        return self._results(_works(chunks, options))

    # --- on worker threads ---

    def _step(self, batch: list[Work[ParakeetJob, ChunkTranscript]]) -> None:
        sounds = [work.payload.chunk.samples for work in batch]
        for work, heard in zip(batch, hear(self._library, sounds), strict=True):
            work.future.set_result(self._transcript(work.payload, heard))

    def _transcript(self, job: ParakeetJob, heard: TimestampedResult) -> ChunkTranscript:
        options = job.options
        # Features are compared with their own variation: those of digital silence are rounding errors made large.
        tokens = self._tokens(heard) if job.chunk.samples.any() else []
        language = options.language or (min(self.languages) if len(self.languages) == 1 else "")
        return ChunkTranscript(to_segments(job.chunk, tokens, options), language, 1.0 if language else 0.0)

    def _tokens(self, heard: TimestampedResult) -> list[HeardToken]:
        texts, starts, logprobs = heard.tokens or [], heard.timestamps or [], heard.logprobs or []
        return [
            HeardToken(self._ids[text], text, start, logprob)
            for text, start, logprob in zip(texts, starts, logprobs, strict=True)
        ]


async def _works(
    chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
) -> AsyncIterator[tuple[ParakeetJob, float, Hashable]]:
    """Chunks of one kind differ by less than a factor of two: no more than half of a batch is padding."""
    async for chunk in chunks:
        seconds = len(chunk.samples) / RATE
        yield ParakeetJob(chunk, options), seconds, ceil(log2(max(seconds, 1.0)))


def hear(library: Asr, sounds: Sequence[Samples]) -> list[TimestampedResult]:
    lengths = np.array([max(len(sound), _SHORTEST) for sound in sounds], np.int64)
    together = np.zeros((len(sounds), lengths.max()), np.float32)
    for row, sound in zip(together, sounds, strict=True):
        row[: len(sound)] = sound
    return list(library.recognize_batch(together, lengths, need_logprobs=True))


def load(folder: Path, args: EngineArgs) -> ParakeetTranscriber:
    gpu = choose(args, onnxruntime_fault) == "cuda"
    precision = choose_precision(folder, gpu=gpu, only_gpu=args.device == "cuda")
    cuda = gpu and precision == "float32"
    try:
        text = (folder / VOCABULARY).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ModelBroken(f"no {VOCABULARY} to read in {folder}: pull the model again ({error})") from error
    tokens = parse_vocabulary(text, folder / VOCABULARY)
    library = _open(folder, precision, args, cuda=cuda)
    placement = placement_of(_sessions(library)[0], workers=_workers(args, cuda=cuda), threads=args.threads or 1)
    names = INT8 if precision == "int8" else (*FLOAT, FLOAT_WEIGHTS)
    weights = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
    placement = replace(placement, numbers=precision)
    return ParakeetTranscriber(library, tokens, placement=placement, weights=weights, args=args)


def _sessions(library: Any) -> tuple[InferenceSession, ...]:
    # What they run on is in no public name of the library's.
    return library._encoder, library._decoder_joint


def _workers(args: EngineArgs, *, cuda: bool) -> int:
    return args.workers or (2 if cuda else core_count())


def _open(folder: Path, precision: str, args: EngineArgs, *, cuda: bool) -> Asr:
    """The library's model. It gets a kind of model and a folder, never a name that it could look up on a hub."""
    options = session_options(args.threads or 1)
    unused: OnnxSessionOptions = {"sess_options": options, "providers": providers_for(ON_CPU, cuda=False)}
    try:
        with opening(folder):
            library: Asr = onnx_asr.load_model(
                "nemo-conformer-tdt",
                folder,
                quantization="int8" if precision == "int8" else None,
                sess_options=options,
                providers=providers_for(args, cuda=cuda),
                resampler_config=unused,  # all audio has the model's rate
            ).asr
            for session in _sessions(library) if cuda else ():
                require_gpu(session, folder, args)
            hear(library, [np.zeros(RATE, np.float32)])  # a model of another shape fails now, not in each request
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise ModelBroken(f"the Parakeet model in {folder} cannot be loaded: {error}") from error
    return library
