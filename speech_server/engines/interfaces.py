"""What an engine is: the interfaces between the use cases and the libraries.

All engines run blocking work on threads of their own. Their async methods are called on the event loop, never
block it, and stop the work when the caller's task is cancelled or its iterator is closed. Samples are mono
float32 in -1..1, shape (n,).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from speech_server.domain import Activity, ChunkTranscript, Embeddings, Likeness, Samples, SpeechChunk, Voice
from speech_server.errors import DeviceFailed
from speech_server.hearing.spans import VoiceStream


class Engine(Protocol):
    """A model in memory. `close` frees it: blocking, called once, from a thread, when nobody uses it."""

    @property
    def memory_bytes(self) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a loaded engine runs, as its library says: what was asked for may be something else. Its `placement`.

    `numbers` is CTranslate2's compute type, `providers` are those of ONNX Runtime's session, `gpus` as CUDA counts.
    """

    device: Literal["cpu", "cuda"]
    workers: int  # calls at once
    threads: int  # of the CPU, that work on one call
    numbers: str = ""
    providers: tuple[str, ...] = ()
    gpus: tuple[int, ...] = ()


class Rehearsing(Protocol):
    """An engine that can be tried out before anybody waits for it, which finds a card that does not do what it says.

    Each step is a call of another shape, and gives its name; none may take long. Raises GpuUnavailable, ModelBroken.
    """

    def rehearse(self) -> Iterator[str]: ...


class Queue(Protocol):
    """What waits for an engine that takes the work of many requests in batches: its `batcher`, for the metrics."""

    @property
    def waiting(self) -> int: ...
    @property
    def lanes(self) -> int: ...  # requests
    @property
    def batches(self) -> int: ...
    @property
    def works_done(self) -> int: ...
    @property
    def busy_seconds(self) -> float: ...
    @property
    def step_seconds(self) -> float: ...  # how long the oldest batch under way has taken, 0 when there is none
    @property
    def fault(self) -> DeviceFailed | None: ...  # why it can do nothing any more


# --- speech to text ---


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """How to decode. `language` is a code the model knows, or None to detect it from the first chunk: among
    `languages`, where there are any."""

    task: Literal["transcribe", "translate"] = "transcribe"
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    hotwords: str | None = None
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    beam_size: int = 5
    word_timestamps: bool = False
    without_timestamps: bool = False
    logprobs: bool = False


class Transcriber(Protocol):
    """An engine, or two of them that hear as one."""

    @property
    def languages(self) -> frozenset[str]: ...

    def transcribe(
        self, chunks: AsyncIterator[SpeechChunk], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        """One transcript per chunk, in the order of the chunks, each as soon as it and those before it are done.

        Raises Busy when the engine's queue is full, InvalidRequest for a language or a task the model does not know.
        What else of the options means nothing to a model is ignored.
        """
        ...


class LanguageTeller(Transcriber, Protocol):
    """A transcriber that can also say which language it hears, without transcribing it."""

    async def tell_language(self, chunk: SpeechChunk) -> tuple[str, float]:
        """The code, and how likely it is. Raises Busy."""
        ...


# --- text to speech ---


@dataclass(frozen=True, slots=True)
class SpeakOptions:
    voice: str
    speed: float = 1.0
    language: str | None = None  # None: the voice's own
    early: bool = True  # cut the first sentence short so that sound starts soon; False where nobody hears it yet


class Speaker(Engine, Protocol):
    @property
    def sample_rate(self) -> int: ...

    @property
    def voices(self) -> Mapping[str, Voice]: ...

    def check(self, options: SpeakOptions) -> None:
        """Raise InvalidRequest for a voice, blend, language or speed this engine cannot do."""
        ...

    def speak(self, text: str, options: SpeakOptions) -> AsyncGenerator[Samples, None]:
        """Samples at `sample_rate`, one array per piece of text, in order. Raises what `check` raises, at once;
        InvalidRequest on the first step when the text holds nothing this voice can say."""
        ...


# --- voices ---


class VoiceEncoder(Engine, Protocol):
    @property
    def window(self) -> int:
        """Samples, the most that one embedding is made of."""
        ...

    @property
    def likeness(self) -> Likeness:
        """What distances between its embeddings mean."""
        ...

    def embed(self, voices: AsyncIterator[Sequence[Samples]]) -> AsyncGenerator[Embeddings, None]:
        """For each lot of sounds of somebody's voice at RATE, none of them empty, their embeddings, (sounds, size), in
        order. Raises Busy.

        A lot is worked on at once: some 16 sounds are quicker together than one after the other.
        """
        ...


class Segmenter(Engine, Protocol):
    """Its frames' middles are `middle` samples after a window's beginning, and then every `step`."""

    @property
    def window(self) -> int:
        """Samples that are looked at at once."""
        ...

    @property
    def step(self) -> int: ...
    @property
    def middle(self) -> int: ...

    def segment(self, windows: AsyncIterator[Samples]) -> AsyncGenerator[Activity, None]:
        """For each window, in order, who speaks in each of its frames. Raises Busy.

        Somebody's column is their own in one window only: in the next it may be another.
        """
        ...


# --- voice activity, ends of turns ---


class VoiceDetector(Engine, Protocol):
    def stream(self) -> VoiceStream: ...


class TurnModel(Engine, Protocol):
    async def finished(self, samples: Samples) -> float:
        """How likely it is, 0 to 1, that somebody who has fallen silent has finished: of their turn's sound at RATE,
        the beginning of the silence included. Raises Busy."""
        ...


Options = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class EngineArgs:
    """What an engine factory gets beside the model's folder. `extra` holds a models file's other `args`.

    `auto` is a GPU where there is one and the model gains by it. With `require_gpu` a model that gains by a GPU does
    not go without.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    compute_type: str = "default"  # CTranslate2's names; the ONNX engines ignore it
    threads: int = 0  # 0: one per core
    workers: int = 0  # 0: as many as suit the device
    gpus: tuple[int, ...] = (0,)  # CTranslate2's
    provider_options: Mapping[str, Options] = field(default_factory=dict)  # ONNX Runtime's
    extra: Options = field(default_factory=dict)
    voices: Mapping[str, Path] = field(default_factory=dict)  # a models file's own: name -> the file that makes it
    require_gpu: bool = False


# Loads a model folder into memory: blocking, called in a thread. Raises ModelBroken.
EngineFactory = Callable[[Path, EngineArgs], Engine]
