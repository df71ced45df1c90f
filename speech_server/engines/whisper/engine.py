"""Whisper on CTranslate2: the chunks of all requests in one queue, encoded one by one, decoded together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import ctranslate2
from faster_whisper import WhisperModel
from pydantic_core import from_json

from outgoing import tracing
from speech_server.domain import ChunkTranscript, SpeechChunk
from speech_server.engines.asked import check_heard
from speech_server.engines.cores import core_count
from speech_server.engines.cuda import keep_freed_memory
from speech_server.engines.device import choose, ctranslate2_fault
from speech_server.engines.interfaces import EngineArgs, Placement, TranscribeOptions
from speech_server.engines.queue.engine import QueuedEngine
from speech_server.engines.queue.fair_queue import Work
from speech_server.engines.queue.turnstile import CORES
from speech_server.engines.whisper.decode import Decoder
from speech_server.engines.whisper.job import FULL_WINDOW, Job, Request, choose_attempt, is_worth_another, window_sizes
from speech_server.engines.whisper.memory import need, read_dimensions
from speech_server.engines.whisper.rehearsal import rehearse
from speech_server.engines.whisper.segments import add_segments
from speech_server.engines.workspace import Workspace
from speech_server.errors import InvalidRequest, ModelBroken

_WORKSPACE = 100 * 1024 * 1024  # bytes a CPU worker's activations take, seen with base
_BEAMS = 5


Turn = Work[Job, ChunkTranscript]


class WhisperTranscriber(QueuedEngine[Job, ChunkTranscript]):
    """One model in memory, called from as many threads as it has workers."""

    def __init__(
        self, library: WhisperModel, *, workers: int, weights: int, workspace: Workspace, args: EngineArgs
    ) -> None:
        self.languages = _languages(library)
        self._library = library
        self._decoder = Decoder(library)
        cuda = library.model.device == "cuda"
        gpus = args.gpus if cuda else ()
        self.placement = Placement(
            library.model.device, workers, args.threads or 1, library.model.compute_type, gpus=gpus
        )
        self.memory_bytes = weights + (0 if cuda else workers * _WORKSPACE)
        self.gpu_workspace = workspace.bytes if cuda else 0
        self._workspace = workspace
        self._short_windows = bool(args.extra.get("short_windows", True))
        self._beam_size = int(args.extra.get("beam_size", 0))  # a models file's, in place of the default
        super().__init__(
            "whisper",
            args,
            workers=workers,
            max_batch=workspace.batch,
            # Seconds of audio: on a CPU a longer batch would keep others waiting for seconds.
            max_cost=960.0 if cuda else 90.0,
            ahead=workers * workspace.batch if cuda else 3 * workers,
            turnstile=None if cuda else CORES,
        )

    def close(self) -> None:
        super().close()
        self._library.model.unload_model()
        self._workspace.close()

    def rehearse(self) -> Iterator[str]:
        """On a CPU the first request takes a tenth of a second more than others, and a rehearsal six."""
        if self.placement.device == "cpu":
            return iter(())
        request = self._open(TranscribeOptions(language=min(self.languages)))
        replicas = self.placement.workers + len(self.placement.gpus)
        windows = window_sizes(self._short_windows)
        return rehearse(self._decoder, request, windows, replicas=replicas, batch=self._workspace.batch)

    def transcribe(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        check_heard(options.language, self.languages)
        return self._results(self._jobs(chunks, options))

    async def tell_language(self, chunk: SpeechChunk) -> tuple[str, float]:
        with self.batcher.lane() as lane:
            request = self._open(TranscribeOptions())
            request.only_language = True
            job = Job.of(request, chunk, True)
            told = await asyncio.wrap_future(lane.submit(job, job.cost, job.kind))
        return told.language, told.language_probability

    async def _jobs(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncIterator[tuple[Job, float, Hashable]]:
        request = self._open(options)
        first = True
        async for chunk in chunks:
            job = Job.of(request, chunk, first)
            first = False
            yield job, job.cost, job.kind

    def _open(self, options: TranscribeOptions) -> Request:
        """Asks the library, which must not be closed: from within a lane."""
        if options.languages:
            options = replace(options, languages=self._known(options.languages))
        if self._beam_size and options.beam_size > 1:  # 1 was asked for to be quick
            options = replace(options, beam_size=self._beam_size)
        sample = self._decoder.tokenizer(options.task, "en")
        request = Request(options, self._short_windows, len(self._decoder.prompt(sample, options)))
        if only := options.language or self._only_language(options):
            self._set_language(request, only, 1.0)
        return request

    def _known(self, languages: tuple[str, ...]) -> tuple[str, ...]:
        if known := tuple(code for code in languages if code in self.languages):
            return known
        raise InvalidRequest(f"the model knows none of the languages {', '.join(languages)}", param="languages")

    def _only_language(self, options: TranscribeOptions) -> str | None:
        possible = options.languages or tuple(self.languages)
        return possible[0] if len(possible) == 1 else None

    def _set_language(self, request: Request, language: str, probability: float) -> None:
        request.language, request.language_probability = language, probability
        request.tokenizer = self._decoder.tokenizer(request.options.task, language)

    # --- on worker threads ---

    def _step(self, batch: list[Turn]) -> None:
        self._encode(batch)
        self.batcher.stand_aside(batch)
        self._encode(self.batcher.join(batch))
        self.batcher.stand_aside(batch)
        ready = self._with_language([work for work in batch if work.wanted])
        for work in [work for work in ready if work.payload.request.only_language]:
            work.future.set_result(work.payload.transcript())
            ready.remove(work)
        if not ready:
            return
        with ExitStack() as spans:
            for work in ready:
                spans.enter_context(tracing.begin("decode", work.span.place))
            attempts = self._decoder.decode([work.payload for work in ready])
        for work, attempt in zip(ready, attempts, strict=True):
            job = work.payload
            job.add(attempt)
            if is_worth_another(job.attempts) and self._try_again(job):
                self._put_back(work)
                continue
            done = add_segments(self._decoder, job, choose_attempt(job.attempts))
            if job.start + done < len(job.chunk.samples):
                job.advance(done)
                self._put_back(work)
            else:
                work.future.set_result(job.transcript())

    def _encode(self, batch: list[Turn]) -> None:
        for work in batch:
            if work.wanted and work.payload.encoded is None:
                with tracing.begin("encode", work.span.place):
                    self._decoder.encode(work.payload)

    def _with_language(self, batch: list[Turn]) -> list[Turn]:
        """Those whose language is known. The first chunk decides for all; the others are set aside, already encoded."""
        first = [work for work in batch if work.payload.first and work.payload.request.tokenizer is None]
        if first:
            languages = self._decoder.detect_languages([work.payload for work in first])
            for work, (language, probability) in zip(first, languages, strict=True):
                request = work.payload.request
                with request.lock:
                    self._set_language(request, language, probability)
                self.batcher.call_back(work.lane)
        ready: list[Turn] = []
        for work in batch:
            request = work.payload.request
            with request.lock:
                if request.tokenizer:
                    ready.append(work)
                else:
                    self.batcher.set_aside(work)
        return ready

    def _try_again(self, job: Job) -> bool:
        """Step down the ladder: the full window first, then higher temperatures."""
        if job.window < FULL_WINDOW:
            job.widen()
            return True
        if job.temperature + 1 < len(job.request.options.temperatures):
            job.temperature += 1
            return True
        return False

    def _put_back(self, work: Turn) -> None:
        work.kind = work.payload.kind
        self.batcher.put_back(work)


def _languages(library: WhisperModel) -> frozenset[str]:
    """The library lists all Whisper ever knew; models older than a language lack its token."""
    if not library.model.is_multilingual:
        return frozenset({"en"})
    token = library.hf_tokenizer.token_to_id
    return frozenset(code for code in library.supported_languages if token(f"<|{code}|>") is not None)


def _compute_type(device: str, gpu: int) -> str:
    """Cards without float16 of their own (Pascal and older) would refuse it."""
    if device == "cpu":
        return "int8"
    possible = ctranslate2.get_supported_compute_types(device, gpu)
    return next((kind for kind in ("float16", "int8_float32") if kind in possible), "float32")


def load(folder: Path, args: EngineArgs) -> WhisperTranscriber:
    device = choose(args, ctranslate2_fault)
    gpus = list(args.gpus) if device == "cuda" else [0]
    compute_type = _compute_type(device, gpus[0]) if args.compute_type == "default" else args.compute_type
    if device == "cuda":
        keep_freed_memory(gpus)
    workers = args.workers or (2 if device == "cuda" else core_count())  # on each GPU
    # Without this file the library would ask the hub for one.
    for name in ("model.bin", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ModelBroken(f"no {name} in {folder}: pull the model again")
    try:
        # The library that reads it says bare Exception of what is no JSON, as half a download is.
        from_json((folder / "tokenizer.json").read_bytes())
        library = WhisperModel(
            str(folder),
            device=device,
            device_index=gpus,
            compute_type=compute_type,
            cpu_threads=args.threads or 1,
            num_workers=workers + 1,  # one for newcomers while the others are busy
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelBroken(f"the Whisper model in {folder} cannot be loaded: {error}") from error
    size = (folder / "model.bin").stat().st_size
    weights = size * 6 // 10 if compute_type.startswith("int8") else size
    with ExitStack() as undo:
        workspace = _plan(library, folder / "model.bin", args, gpus if device == "cuda" else [], workers)
        undo.callback(workspace.close)
        loaded = WhisperTranscriber(
            library, workers=workers * len(gpus), weights=weights * len(gpus), workspace=workspace, args=args
        )
        undo.pop_all()
    return loaded


def _plan(library: WhisperModel, weights: Path, args: EngineArgs, gpus: list[int], workers: int) -> Workspace:
    beams = max(_BEAMS, int(args.extra.get("beam_size", 0)))
    takes = need(read_dimensions(weights), beams, library.model.compute_type)
    return Workspace(takes, gpus, workers, most=32 if gpus else 8, given=int(args.extra.get("max_batch", 0)))
