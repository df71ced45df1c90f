"""Whisper hears what was said, alone and in company, with every option, and stops when nobody listens."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from dataclasses import replace

import jiwer
import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import RATE, SpeechChunk
from speech_server.engines.interfaces import EngineArgs, TranscribeOptions
from speech_server.engines.whisper import engine as whisper
from speech_server.engines.whisper.engine import WhisperTranscriber
from speech_server.errors import InvalidRequest
from tests.conftest import WHISPER
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS, SPANISH, Say, model_folder
from tests.speech_server.transcribing import chunked, hear, text_of, words_of

pytestmark = pytest.mark.anyio

CLIP = np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
FOREIGN = np.concatenate(list(decode.stream(SPANISH, decode.Limits(60))))
HUSH = np.zeros(RATE, np.float32)


async def test_a_clip_is_heard_in_its_language(transcriber: WhisperTranscriber):
    heard = (await hear(transcriber, CLIP))[0]
    assert words_of(text_of(heard.segments)) == ENGLISH_WORDS
    assert heard.language == "en"
    assert heard.language_probability > 0.8


async def test_spanish_is_heard_as_spanish_and_translated_on_request(transcriber: WhisperTranscriber):
    heard = (await hear(transcriber, FOREIGN))[0]
    assert heard.language == "es"
    assert "capital de españa" in text_of(heard.segments).lower()
    translated = (await hear(transcriber, FOREIGN, options=TranscribeOptions(task="translate")))[0]
    assert "spain" in text_of(translated.segments).lower()
    assert translated.language == "es"


async def test_the_first_chunk_s_language_holds_for_all(transcriber: WhisperTranscriber):
    heard = await hear(transcriber, FOREIGN, CLIP, CLIP)
    assert [transcript.language for transcript in heard] == ["es"] * 3


async def test_a_given_language_is_not_detected(transcriber: WhisperTranscriber):
    heard = (await hear(transcriber, CLIP, options=TranscribeOptions(language="en")))[0]
    assert (heard.language, heard.language_probability) == ("en", 1.0)


@pytest.mark.parametrize(("languages", "found"), [(("pt", "es", "en"), "es"), (("pt", "en"), "en"), (("fr",), "fr")])
async def test_the_language_is_one_of_those_it_may_be(
    transcriber: WhisperTranscriber, languages: tuple[str, ...], found: str
):
    heard = (await hear(transcriber, FOREIGN, options=TranscribeOptions(languages=languages)))[0]
    assert heard.language == found


async def test_languages_of_which_the_model_knows_none_are_refused(transcriber: WhisperTranscriber):
    with pytest.raises(InvalidRequest, match="klingon, sindarin") as refused:
        await hear(transcriber, CLIP, options=TranscribeOptions(languages=("klingon", "sindarin")))
    assert refused.value.param == "languages"


async def test_segments_have_times_inside_the_audio(transcriber: WhisperTranscriber):
    said_twice = np.concatenate([CLIP, CLIP])  # one sentence after the other may be one segment, the same again not
    chunk = SpeechChunk(said_twice, offset=100.0)
    segments = (await hear(transcriber, chunk))[0].segments
    assert len(segments) >= 2
    times = [time for segment in segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert 100.0 <= times[0] < 101.0
    assert 108.0 < times[-1] <= 100.001 + len(said_twice) / RATE


async def test_times_jump_over_silence_that_was_cut_out(transcriber: WhisperTranscriber):
    seam = len(CLIP)
    chunk = SpeechChunk(np.concatenate((CLIP, CLIP)), 10.0, ((0, 10.0), (seam, 70.0)))
    segments = (await hear(transcriber, chunk, options=TranscribeOptions(word_timestamps=True)))[0].segments
    words = [word for segment in segments for word in segment.words]
    foxes = [word.start for word in words if "fox" in word.word]
    assert len(foxes) == 2
    assert foxes[1] - foxes[0] == pytest.approx(60, abs=0.6)
    assert not [word for word in words if 10 + seam / RATE < word.start < 69.9]


async def test_without_timestamps_there_is_one_segment_per_chunk(transcriber: WhisperTranscriber):
    segments = (await hear(transcriber, CLIP, options=TranscribeOptions(without_timestamps=True)))[0].segments
    assert len(segments) == 1
    assert segments[0].end == pytest.approx(len(CLIP) / RATE, abs=0.01)
    assert words_of(segments[0].text) == ENGLISH_WORDS


async def test_prompt_and_hotwords_decide_how_a_name_is_spelled(transcriber: WhisperTranscriber, say: Say):
    spoken = say("We flew with Kathryn to the coast.")
    hints = [
        TranscribeOptions(),
        TranscribeOptions(prompt="A letter from Kathryn."),
        TranscribeOptions(hotwords="Kathryn"),
    ]
    heard = [text_of((await hear(transcriber, spoken, options=hint))[0].segments) for hint in hints]
    assert ["Kathryn" in text for text in heard] == [False, True, True]


async def test_a_prompt_longer_than_the_context_keeps_hotwords_and_its_own_end(transcriber: WhisperTranscriber):
    prompt = "Some words. " * 400 + "The end."
    options = TranscribeOptions(prompt=prompt, hotwords="fox and dog " * 400, language="en")
    tokenizer = transcriber._decoder.tokenizer("transcribe", "en")
    tokens = transcriber._decoder.prompt(tokenizer, options)
    assert len(tokens) <= 448 // 2 + len(tokenizer.sot_sequence)
    assert tokenizer.decode(tokens).startswith(" fox and dog")
    assert tokenizer.decode(tokens).endswith("words. The end.")
    assert await hear(transcriber, CLIP, options=options)


async def test_company_changes_no_word(transcriber: WhisperTranscriber, say: Say):
    clips = [CLIP, FOREIGN, np.concatenate((CLIP, HUSH, FOREIGN, HUSH, CLIP))]
    clips += [say(f"Number {number} is read aloud, and then comes {number + 7}.") for number in range(2)]
    options = [TranscribeOptions(), TranscribeOptions(word_timestamps=True), TranscribeOptions(task="translate")]
    requests = [(clip, options[number % 3]) for number, clip in enumerate(clips)]
    alone = [await hear(transcriber, clip, options=option) for clip, option in requests]
    together = await asyncio.gather(*(hear(transcriber, clip, options=option) for clip, option in requests))
    texts = [text_of(transcripts[0].segments) for transcripts in alone]
    assert [text_of(transcripts[0].segments) for transcripts in together] == texts


async def test_requests_share_batches(transcriber: WhisperTranscriber):
    before = transcriber.batcher.batches
    await asyncio.gather(*(hear(transcriber, CLIP) for _ in range(12)))
    assert transcriber.batcher.batches - before < 12


async def test_transcripts_come_in_the_order_of_the_chunks(transcriber: WhisperTranscriber, say: Say):
    numbers = ["one", "two", "three", "four", "five", "six", "seven"]
    chunks = [SpeechChunk(say(f"This is number {name}."), 10.0 * place) for place, name in enumerate(numbers)]
    heard = await hear(transcriber, *chunks, options=TranscribeOptions(language="en"))
    spelled = {str(place): name for place, name in enumerate(numbers, 1)}
    last = [words_of(text_of(transcript.segments)).split()[-1] for transcript in heard]
    assert [spelled.get(word, word) for word in last] == numbers


async def test_a_full_window_of_sentences_is_heard_to_its_end(transcriber: WhisperTranscriber, say: Say):
    """The window ends within a sentence: Whisper leaves it unfinished, and has to go on from where it begins."""
    text = (
        "My brother keeps bees behind the old school. Every spring he paints the hives blue, and in autumn we sell "
        "honey on the market. Last year a storm broke the fence, so we built a wall of stones from the river. It "
        "took three weeks and a borrowed tractor. The neighbours laughed at first, but then they came with bread and "
        "cheese. Now they have bees too, and a wall that is longer than ours. In winter nothing moves there except "
        "the smoke."
    )
    spoken = say(text)
    assert len(spoken) < 30 * RATE
    heard = await hear(
        transcriber, np.concatenate((spoken, CLIP))[: 30 * RATE], options=TranscribeOptions(language="en")
    )
    heard_words = words_of(text_of(heard[0].segments))
    wrong = jiwer.wer(words_of(text), heard_words[: heard_words.index("smoke") + 5])
    assert wrong < 0.08


async def test_noise_is_not_heard_as_a_loop(transcriber: WhisperTranscriber):
    noise = np.random.default_rng(0).normal(0, 0.05, 20 * RATE).astype(np.float32)
    segments = (await hear(transcriber, noise, options=TranscribeOptions(language="en")))[0].segments
    assert all(segment.compression_ratio <= 2.4 for segment in segments)


async def test_repetition_is_tried_again_at_a_higher_temperature(transcriber: WhisperTranscriber, say: Say):
    """Words said over and over look like a loop to Whisper's check: the ladder is climbed, then the best is kept."""
    spoken = np.tile(say("Row, row, row your boat."), 12)[: 28 * RATE]
    options = TranscribeOptions(language="en", temperatures=(0.0, 0.4))
    before = transcriber.batcher.batches
    segments = (await hear(transcriber, spoken, options=options))[0].segments
    assert transcriber.batcher.batches - before >= 2
    assert "your boat" in text_of(segments).lower()


async def test_a_fixed_temperature_is_used(transcriber: WhisperTranscriber):
    segments = (await hear(transcriber, CLIP, options=TranscribeOptions(temperatures=(0.4,))))[0].segments
    assert {segment.temperature for segment in segments} == {0.4}
    assert "fox" in text_of(segments)


async def test_fifty_aborted_requests_leave_nothing_behind(transcriber: WhisperTranscriber):
    await hear(transcriber, CLIP)
    threads = threading.active_count()
    tasks = len(asyncio.all_tasks())

    options = TranscribeOptions(language="en")

    async def listen(pieces: int) -> None:
        async with aclosing(transcriber.transcribe(chunked(*[CLIP] * 5), options)) as transcripts:
            for _ in range(pieces):
                await anext(transcripts)

    leavers = [asyncio.create_task(listen(1)) for _ in range(2)]
    listeners = [asyncio.create_task(listen(5)) for _ in range(48)]
    for never_begun in listeners[:16]:
        never_begun.cancel()
    await asyncio.gather(*leavers)
    for listener in listeners[16:]:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    assert sum(listener.cancelled() for listener in listeners) > 40
    assert transcriber.batcher.lanes == 0
    assert transcriber.batcher.waiting == 0
    assert len(asyncio.all_tasks()) == tasks
    assert threading.active_count() <= threads + 1
    assert words_of(text_of((await hear(transcriber, CLIP))[0].segments)) == ENGLISH_WORDS


async def test_a_short_window_that_fails_its_checks_is_decoded_in_a_full_one(transcriber: WhisperTranscriber):
    request = transcriber._open(TranscribeOptions(language="en"))
    job = whisper.Job.of(request, SpeechChunk(CLIP, 0.0), True)
    assert job.window < whisper.FULL_WINDOW
    assert transcriber._try_again(job)
    assert (job.window, job.temperature) == (whisper.FULL_WINDOW, 0)
    assert transcriber._try_again(job)
    assert job.temperature == 1
    job.request = replace(request, options=TranscribeOptions(temperatures=(0.0,)))
    job.temperature = 0
    assert not transcriber._try_again(job)


async def test_the_memory_it_says_it_takes_is_about_right(transcriber: WhisperTranscriber):
    assert 60e6 < transcriber.memory_bytes < 600e6


@pytest.mark.gpu
async def test_a_gpu_hears_the_same():
    engine = whisper.load(model_folder(WHISPER), EngineArgs(device="cuda"))
    heard = await asyncio.gather(*(hear(engine, CLIP) for _ in range(8)))
    assert {words_of(text_of(transcripts[0].segments)) for transcripts in heard} == {ENGLISH_WORDS}
    await asyncio.to_thread(engine.close)


async def test_a_model_s_own_beam_size_replaces_the_default(transcriber: WhisperTranscriber):
    """Seen in the score, which depends on how many hypotheses were compared."""
    narrow = whisper.load(model_folder(WHISPER), EngineArgs(workers=1, extra={"beam_size": 1}))
    try:
        own = (await hear(narrow, CLIP))[0].segments
    finally:
        narrow.close()
    greedy = (await hear(transcriber, CLIP, options=TranscribeOptions(beam_size=1)))[0].segments
    default = (await hear(transcriber, CLIP))[0].segments
    assert [segment.avg_logprob for segment in own] == [segment.avg_logprob for segment in greedy]
    assert [segment.avg_logprob for segment in own] != [segment.avg_logprob for segment in default]
