from __future__ import annotations

import asyncio
import importlib.util
import shutil
import threading
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest
import soxr

from speech_server.domain import RATE, Samples
from speech_server.engines.interfaces import EngineArgs, Speaker, SpeakOptions
from speech_server.engines.kokoro import engine, phonemes
from speech_server.engines.kokoro.voices import describe
from speech_server.errors import Busy, InvalidRequest, ModelBroken, ThreadsExhausted
from tests.conftest import KOKORO
from tests.speech_server.conftest import model_folder
from tests.speech_server.transcribing import hear, text_of, words_of

if TYPE_CHECKING:
    from speech_server.engines.kokoro.engine import KokoroSpeaker
    from speech_server.engines.whisper.engine import WhisperTranscriber

pytestmark = pytest.mark.anyio

ENGLISH = "The quick brown fox jumps over the lazy dog. She walked slowly along the river, and the sun went down."
HEART = SpeakOptions("af_heart")


async def pieces_of(speaker: Speaker, text: str, options: SpeakOptions) -> list[Samples]:
    async with aclosing(speaker.speak(text, options)) as pieces:
        return [piece async for piece in pieces]


async def heard(transcriber: WhisperTranscriber, speaker: Speaker, text: str, options: SpeakOptions) -> str:
    spoken = np.concatenate(await pieces_of(speaker, text, options))
    (transcript,) = await hear(transcriber, soxr.resample(spoken, speaker.sample_rate, RATE).astype(np.float32))
    return words_of(text_of(transcript.segments))


def loudness(samples: Samples) -> float:
    """dB of the parts that are not silent."""
    frames = samples[: len(samples) // 240 * 240].reshape(-1, 240)
    energy = np.square(frames).mean(axis=1)
    return float(10 * np.log10(energy[energy > energy.max() * 0.01].mean()))


@pytest.mark.parametrize("early", [True, False])
async def test_english_comes_back_word_for_word(kokoro: KokoroSpeaker, transcriber: WhisperTranscriber, early: bool):
    options = SpeakOptions("af_heart", early=early)
    assert await heard(transcriber, kokoro, ENGLISH, options) == words_of(ENGLISH)


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("ef_dora", "Madrid es la capital de España."),
        ("ff_siwis", "Le train arrive demain matin."),
        ("if_sara", "Il treno parte domani mattina."),
        ("pf_dora", "O tempo está bom hoje."),
        ("bm_george", "The weather is lovely this morning."),
    ],
)
async def test_each_voice_reads_its_own_language(
    kokoro: KokoroSpeaker, transcriber: WhisperTranscriber, voice: str, text: str
):
    assert await heard(transcriber, kokoro, text, SpeakOptions(voice)) == words_of(text)


async def test_signs_are_read(kokoro: KokoroSpeaker, transcriber: WhisperTranscriber):
    said = await heard(transcriber, kokoro, "In 1984, **Dr. Smith** paid $5.50 for 20% of it 😀.", HEART)
    assert said in ("in 1984 dr smith paid 5 50 for 20 of it", "in 1984 doctor smith paid 5 50 for 20 of it")


async def test_there_are_54_voices_in_nine_languages(kokoro: KokoroSpeaker):
    voices = [describe(name) for name in kokoro._styles.files]
    assert len({voice.id for voice in voices}) == 54
    assert len({voice.language for voice in voices}) == 9
    # Listed are those whose language can be read here.
    assert set(kokoro.voices.values()) == {voice for voice in voices if not phonemes.missing(voice.language)}
    assert len(kokoro.voices) >= 41


async def test_a_voice_that_is_not_listed_reads_another_language(kokoro: KokoroSpeaker):
    kokoro.check(SpeakOptions("zf_xiaoxiao", language="en"))


async def test_pieces_start_short_and_join_without_clicks_at_equal_loudness(kokoro: KokoroSpeaker):
    text = "The harbour was quiet that morning, and the fog had not yet lifted. The sun went down behind the hills."
    pieces = await pieces_of(kokoro, text, HEART)
    assert len(pieces) == 3
    assert 0.8 < len(pieces[0]) / 24_000 < 2
    levels = [loudness(piece) for piece in pieces]
    assert max(levels) - min(levels) < 3
    for piece in pieces:
        assert abs(piece[0]) < 1e-3
    for piece in pieces[1:]:  # the ends of the two sentences
        assert not piece[-int(0.24 * 24_000) :].any()


@pytest.mark.parametrize("speed", [0.5, 2.0])
async def test_speed_changes_the_length(kokoro: KokoroSpeaker, speed: float):
    text = "The sun went down behind the hills."
    plain = np.concatenate(await pieces_of(kokoro, text, HEART))
    changed = np.concatenate(await pieces_of(kokoro, text, SpeakOptions("af_heart", speed)))
    assert len(plain) / len(changed) == pytest.approx(speed, rel=0.2)


async def test_a_speed_the_model_does_not_do_is_stretched_piece_by_piece(kokoro: KokoroSpeaker):
    text = "The sun went down behind the hills. It was late."
    plain = await pieces_of(kokoro, text, SpeakOptions("af_heart", early=True))
    for speed in (0.25, 4.0):
        changed = await pieces_of(kokoro, text, SpeakOptions("af_heart", speed, early=True))
        assert len(changed) == len(plain) > 1
        assert sum(map(len, plain)) / sum(map(len, changed)) == pytest.approx(speed, rel=0.05)


async def test_stretched_speech_is_understood(kokoro: KokoroSpeaker, transcriber: WhisperTranscriber):
    assert await heard(transcriber, kokoro, ENGLISH, SpeakOptions("af_heart", 0.4)) == words_of(ENGLISH)


async def test_a_blend_is_neither_of_its_voices(kokoro: KokoroSpeaker):
    text = "Good morning to all of you."
    blend, heart, adam = [
        np.concatenate(await pieces_of(kokoro, text, SpeakOptions(voice)))
        for voice in ("af_heart(2)+am_adam(1)", "af_heart", "am_adam")
    ]
    assert len(blend) not in (len(heart), len(adam))


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (SpeakOptions("nobody"), "voice"),
        (SpeakOptions("af_heart", 0.24), "speed"),
        (SpeakOptions("af_heart", 4.01), "speed"),
        (SpeakOptions("af_heart", language="klingon"), "language"),
    ],
)
async def test_what_it_cannot_do_is_refused_at_once(kokoro: KokoroSpeaker, options: SpeakOptions, param: str):
    for call in (lambda: kokoro.check(options), lambda: kokoro.speak("Hello", options)):
        with pytest.raises(InvalidRequest) as refused:
            call()
        assert refused.value.param == param


@pytest.mark.parametrize(("voice", "text"), [("zf_xiaoxiao", "今天天气很好。"), ("jf_alpha", "今日はいい天気です。")])
async def test_mandarin_and_japanese_speak_or_say_what_to_install(kokoro: KokoroSpeaker, voice: str, text: str):
    if importlib.util.find_spec("misaki"):
        assert await pieces_of(kokoro, text, SpeakOptions(voice))
    else:
        with pytest.raises(InvalidRequest, match=r"requirements/cjk\.in"):
            kokoro.speak(text, SpeakOptions(voice))


@pytest.mark.parametrize("text", ["...", "😀", " "])
async def test_nothing_to_say_is_refused(kokoro: KokoroSpeaker, text: str):
    with pytest.raises(InvalidRequest):
        await pieces_of(kokoro, text, HEART)


async def test_requests_at_once_get_their_own_words(kokoro: KokoroSpeaker, transcriber: WhisperTranscriber):
    texts = [
        "Apples grow on trees.",
        "The train leaves at noon.",
        "My sister plays the piano.",
        "Rain falls on the roof.",
    ]
    said = await asyncio.gather(*(heard(transcriber, kokoro, text, HEART) for text in texts))
    assert said == [words_of(text) for text in texts]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - worker threads have no event for it
            await anyio.sleep(0.01)


async def test_closing_stops_the_work_under_way(kokoro: KokoroSpeaker):
    """A chapter is begun and dropped: nothing of it waits, and what was being spoken ended without a result."""
    async with aclosing(kokoro.speak(ENGLISH * 200, HEART)) as pieces:
        await anext(pieces)
        await until(lambda: kokoro._queue._running > 0)
        begun = kokoro.batcher.batches
    assert kokoro.batcher.waiting == kokoro.batcher.lanes == 0
    await until(lambda: kokoro._queue._running == 0)
    assert kokoro.batcher.batches == begun


async def test_cancelling_a_consumer_withdraws_its_request(kokoro: KokoroSpeaker):
    task = asyncio.create_task(pieces_of(kokoro, ENGLISH * 50, HEART))
    await until(lambda: kokoro.batcher.lanes > 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert kokoro.batcher.lanes == 0


async def test_more_requests_than_the_bound_are_busy_and_close_leaves_no_thread():
    before = set(threading.enumerate())
    speaker = engine.load(model_folder(KOKORO), EngineArgs(extra={"max_requests": 1}))
    try:
        async with aclosing(speaker.speak(ENGLISH, HEART)) as first:
            await anext(first)
            with pytest.raises(Busy):
                await pieces_of(speaker, ENGLISH, HEART)
    finally:
        await asyncio.to_thread(speaker.close)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("kokoro")]


@pytest.mark.parametrize("name", ["kokoro_", "kokoro-wide"])
async def test_an_engine_whose_threads_cannot_start_does_not_open_and_leaves_none(
    refuse_threads: Callable[[str, int], None], name: str
):
    before = set(threading.enumerate())
    refuse_threads(name, 0)
    with pytest.raises(ThreadsExhausted):
        engine.load(model_folder(KOKORO), EngineArgs(threads=2))
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("kokoro")]


@pytest.mark.parametrize("broken", ["model.onnx", "voices.bin"])
async def test_a_damaged_folder_is_broken(tmp_path: Path, broken: str):
    for name in ("model.onnx", "voices.bin"):
        if name == broken:
            (tmp_path / name).write_bytes(b"nothing of the kind")
        else:
            (tmp_path / name).symlink_to(model_folder(KOKORO) / name)
    with pytest.raises(ModelBroken, match=r"Kokoro|cannot be loaded"):
        engine.load(tmp_path, EngineArgs())
    shutil.rmtree(tmp_path)
    with pytest.raises(ModelBroken):
        engine.load(tmp_path, EngineArgs())
