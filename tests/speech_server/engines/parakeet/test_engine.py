"""What only Parakeet does: its precisions and languages, its sentences, and folders that are none. On tiny models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import ctranslate2
import numpy as np
import onnx
import pytest

from speech_server.domain import RATE, SpeechChunk
from speech_server.engines.interfaces import EngineArgs, Placement, TranscribeOptions
from speech_server.engines.parakeet import engine as parakeet
from speech_server.engines.parakeet.engine import ParakeetJob, ParakeetTranscriber
from speech_server.engines.parakeet.files import FLOAT, FLOAT_WEIGHTS, INT8, VOCABULARY, choose_precision
from speech_server.engines.queue.fair_queue import Work
from speech_server.errors import GpuUnavailable, InvalidRequest, ModelBroken
from tests.speech_server.engines.parakeet_maker import FEW, MANY, make_parakeet, tones
from tests.speech_server.stand_in_driver import GB, StandInDriver
from tests.speech_server.transcribing import hear, text_of

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParakeetTranscriber]:
    engine = parakeet.load(make_parakeet(tmp_path_factory.mktemp("v3")), EngineArgs())
    yield engine
    engine.close()


async def heard_by(folder: Path, *hertz: int, options: TranscribeOptions | None = None) -> tuple[str, str]:
    engine = parakeet.load(folder, EngineArgs(workers=1))
    (heard,) = await hear(engine, tones(*hertz), options=options)
    await asyncio.to_thread(engine.close)
    return text_of(heard.segments), heard.language


async def test_sentences_are_segments_with_the_times_of_their_words(engine: ParakeetTranscriber):
    options = TranscribeOptions(word_timestamps=True)
    (heard,) = await hear(engine, tones(500, 1500, 4000, 500, 1500), options=options)
    assert [segment.text for segment in heard.segments] == [" alpha beta.", " gamma alpha.", " beta"]
    words = [word for segment in heard.segments for word in segment.words]
    assert [word.start for word in words] == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5], abs=0.1)
    assert all(0.3 < word.end - word.start < 0.6 for word in words)


@pytest.mark.parametrize("tokens", [MANY, FEW])
async def test_both_precisions_hear_the_same(tmp_path: Path, tokens: int):
    int8 = make_parakeet(tmp_path / "int8", tokens)
    float32 = make_parakeet(tmp_path / "float32", tokens, int8=False, float32=True)
    expected = "alpha beta. gamma"
    assert (await heard_by(int8, 500, 1500, 4000))[0] == expected
    assert (await heard_by(float32, 500, 1500, 4000))[0] == expected


async def test_v2_knows_english_and_says_so(tmp_path: Path):
    folder = make_parakeet(tmp_path, FEW)
    assert await heard_by(folder, 500, 1500) == ("alpha beta.", "en")
    with pytest.raises(InvalidRequest, match="language 'es'"):
        await heard_by(folder, 500, options=TranscribeOptions(language="es"))


async def test_v3_knows_twenty_five_languages_and_does_not_tell_which_it_hears(engine: ParakeetTranscriber):
    assert len(engine.languages) == 25
    assert {"bg", "es", "fr", "uk"} < engine.languages
    (heard,) = await hear(engine, tones(500, 1500))
    assert (heard.language, heard.language_probability) == ("", 0.0)


async def test_digital_silence_has_no_words(engine: ParakeetTranscriber):
    (heard,) = await hear(engine, np.zeros(10 * RATE, np.float32))
    assert heard.segments == ()


def test_each_of_a_batch_gets_its_own_words_and_times(engine: ParakeetTranscriber):
    """Of different lengths: the shorter ones are filled up, and what fills them is not heard."""
    sounds = [tones(500), tones(1500, 4000, 500), tones(4000, 1500)]
    with engine.batcher.lane() as lane:
        jobs = [
            ParakeetJob(SpeechChunk(sound, 10.0 * place), TranscribeOptions()) for place, sound in enumerate(sounds)
        ]
        batch = [Work(lane, job, 1.0, None) for job in jobs]
        engine._step(batch)
    segments = [work.future.result().segments for work in batch]
    assert [text_of(heard) for heard in segments] == ["alpha", "beta gamma. alpha", "gamma beta."]
    assert [heard[0].start for heard in segments] == pytest.approx([0.5, 10.5, 20.5], abs=0.1)


async def test_chunks_of_like_length_share_a_batch_and_others_do_not(engine: ParakeetTranscriber):
    kinds = [kind async for _, _, kind in parakeet._works(_of(2.5, 4.0, 4.1, 16.0, 29.9), TranscribeOptions())]
    assert kinds[0] == kinds[1] != kinds[2] != kinds[3] != kinds[4]


def test_on_a_gpu_batches_are_what_its_memory_holds(card: StandInDriver, tmp_path: Path):
    """200 MB for each 30 s; three quarters of what is free, for two workers and a newcomer."""
    card.free = 4 * GB
    library = parakeet.load(make_parakeet(tmp_path), EngineArgs(device="cpu", workers=1))
    on_gpu = ParakeetTranscriber(
        library._library, ["a", "<blk>"], placement=Placement("cuda", 2, 1, gpus=(0,)), weights=1, args=EngineArgs()
    )
    assert on_gpu.batcher._limit.now == 6
    assert on_gpu.gpu_workspace == 13 * 200 * 2**20
    assert library.gpu_workspace == 0
    on_gpu.close()
    library.close()


async def _of(*seconds: float):
    for length in seconds:
        yield SpeechChunk(np.zeros(round(length * RATE), np.float32), 0.0)


def test_a_gpu_takes_float32_and_a_cpu_int8_where_there_are_both(tmp_path: Path):
    folder = make_parakeet(tmp_path, float32=True)
    assert choose_precision(folder, gpu=True, only_gpu=False) == "float32"
    assert choose_precision(folder, gpu=False, only_gpu=False) == "int8"
    (folder / FLOAT[0]).unlink()
    assert choose_precision(folder, gpu=True, only_gpu=False) == "int8"
    with pytest.raises(ModelBroken, match="int8 runs on a CPU only"):
        choose_precision(folder, gpu=True, only_gpu=True)


def test_what_is_missing_is_never_asked_of_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The library would, of a model that it knows by name."""
    monkeypatch.setattr("onnx_asr.resolver.Resolver._download_model", lambda *_, **__: pytest.fail("it asked"))
    monkeypatch.setattr("onnx_asr.resolver.Resolver._download_config", lambda *_, **__: pytest.fail("it asked"))
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        parakeet._open(tmp_path, "int8", EngineArgs(), cuda=False)


def test_float_weights_that_are_missing_are_a_broken_model(tmp_path: Path):
    (make_parakeet(tmp_path, int8=False, float32=True) / FLOAT_WEIGHTS).unlink()
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        parakeet.load(tmp_path, EngineArgs())


@pytest.mark.parametrize(
    ("vocabulary", "complaint"),
    [("", "no <blk>"), ("a 0\nb 2\n", "line 2"), ("a 0\nb\n", "line 2"), ("a 0\nb 1\n", "no <blk>")],
)
def test_a_vocabulary_that_is_none_is_a_broken_model(tmp_path: Path, vocabulary: str, complaint: str):
    (make_parakeet(tmp_path) / VOCABULARY).write_text(vocabulary)
    with pytest.raises(ModelBroken, match=complaint):
        parakeet.load(tmp_path, EngineArgs())


@pytest.mark.parametrize(
    ("name", "content"),
    [(INT8[0], b"\x08\x08 not weights"), ("config.json", b"{"), ("config.json", b'{"features_size": 7}')],
)
def test_files_that_cannot_be_are_a_broken_model(tmp_path: Path, name: str, content: bytes):
    (make_parakeet(tmp_path) / name).write_bytes(content)
    with pytest.raises(ModelBroken):
        parakeet.load(tmp_path, EngineArgs())


def test_a_model_of_another_shape_is_broken_when_it_is_loaded(tmp_path: Path):
    """A pair of files that do not belong together opens well, and would fail in every request."""
    encoder = make_parakeet(tmp_path) / INT8[0]
    model = onnx.load(encoder)
    model.graph.input[0].name = model.graph.node[0].input[0] = "something_else"
    onnx.save(model, encoder)
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        parakeet.load(tmp_path, EngineArgs())


@pytest.mark.parametrize("args", [EngineArgs(device="cuda"), EngineArgs(require_gpu=True)])
def test_a_gpu_that_is_not_there_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: EngineArgs
):
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    with pytest.raises(GpuUnavailable):
        parakeet.load(make_parakeet(tmp_path, float32=True), args)


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider':UserWarning")
@pytest.mark.usefixtures("looks_usable")
def test_sessions_that_the_library_opened_on_the_cpu_are_not_taken_for_a_gpus(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = make_parakeet(tmp_path, float32=True)
    with pytest.raises(GpuUnavailable, match="not on the GPU"):
        parakeet.load(folder, EngineArgs(require_gpu=True))
    with caplog.at_level(logging.WARNING):
        transcriber = parakeet.load(folder, EngineArgs(workers=1))
    transcriber.close()
    assert "not on the GPU" in caplog.text
    assert (transcriber.placement.device, transcriber.placement.numbers) == ("cpu", "float32")
