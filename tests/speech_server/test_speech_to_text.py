"""From a file to segments: what is silent stays empty, what is long comes early, and whoever leaves stops the work."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import jiwer
import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.domain import RATE, Clip, Samples, SpeechSpan, VadOptions, Word
from speech_server.engines.interfaces import TranscribeOptions
from speech_server.engines.silero.engine import Detector
from speech_server.engines.whisper.engine import WhisperTranscriber
from speech_server.errors import AudioUnreadable, InvalidRequest, RequestTooLarge
from speech_server.hearing import clip
from speech_server.speech_to_text import (
    LONGEST_PROMPT,
    Transcription,
    bounded,
    detect_speech,
    transcribe,
    transcribe_samples,
)
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS, Say
from tests.speech_server.transcribing import text_of, words_of

pytestmark = pytest.mark.anyio

OPTIONS = TranscribeOptions()
VAD = VadOptions()
LONGEST = 3600.0


def raw(samples: Samples) -> io.BytesIO:
    return io.BytesIO((samples * 32767).astype("<i2").tobytes())


async def all_of(transcription: Transcription) -> str:
    async with aclosing(transcription):
        return text_of([segment async for segment in transcription])


async def test_a_file_is_transcribed(transcriber: WhisperTranscriber, detector: Detector):
    transcription = transcribe(ENGLISH, transcriber, detector, OPTIONS, VAD, max_seconds=LONGEST)
    assert words_of(await all_of(transcription)) == ENGLISH_WORDS
    assert transcription.language == "en"
    assert transcription.language_probability > 0.8
    assert transcription.duration == transcription.done == pytest.approx(5.33, abs=0.01)


async def test_an_open_file_is_transcribed_and_stays_open(transcriber: WhisperTranscriber, detector: Detector):
    with ENGLISH.open("rb") as file:
        assert (
            words_of(await all_of(transcribe(file, transcriber, detector, OPTIONS, VAD, max_seconds=LONGEST)))
            == ENGLISH_WORDS
        )
        assert not file.closed


async def test_raw_pcm_and_samples_give_the_same(transcriber: WhisperTranscriber, detector: Detector):
    samples = np.concatenate(list(decode.stream(ENGLISH, decode.Limits(60))))
    from_pcm = await all_of(
        transcribe(raw(samples), transcriber, detector, OPTIONS, VAD, pcm=True, max_seconds=LONGEST)
    )
    assert words_of(from_pcm) == words_of(await all_of(transcribe_samples([samples], transcriber, OPTIONS)))


@pytest.mark.parametrize("seconds", [1, 40, 600])
@pytest.mark.parametrize("with_detector", [True, False])
async def test_silence_is_empty_at_any_length(
    transcriber: WhisperTranscriber, detector: Detector, seconds: int, with_detector: bool
):
    silence = raw(np.zeros(seconds * RATE, np.float32))
    vad = VAD if with_detector else None
    transcription = transcribe(silence, transcriber, detector, OPTIONS, vad, pcm=True, max_seconds=LONGEST)
    assert await all_of(transcription) == ""
    assert transcription.language is None
    assert transcription.duration == transcription.done == seconds


async def test_a_room_without_a_speaker_is_empty_too(transcriber: WhisperTranscriber, detector: Detector):
    hum = np.random.default_rng(1).normal(0, 0.003, 40 * RATE).astype(np.float32)
    assert await all_of(transcribe_samples([hum], transcriber, OPTIONS, detector, VAD)) == ""


STORY = (
    "My brother keeps bees behind the old school. Every spring he paints the hives blue, and in autumn we sell honey. "
    "Last year a storm broke the fence, so we built a wall of stones from the river. It took three weeks.",
    "The train to the coast leaves at seven. Bring a coat, because the wind on the beach is cold even in June. "
    "We will eat fish at the harbour and walk to the lighthouse before the sun goes down behind the hills.",
    "Nobody knew who had painted the door. It was green on Monday and red on Tuesday, and on Wednesday it was gone. "
    "The baker said that he had heard music at night, but the baker often heard music.",
    "To make the soup you need two onions, a handful of rice and some patience. Fry the onions until they are soft. "
    "Add water, salt and the rice, and do not stir it more than once.",
    "In the museum there is a clock with no hands. A child asked the guard what time it was, and he answered that "
    "it was exactly as late as yesterday. Everyone laughed except the director.",
    "Our neighbours sold their car and bought a boat. Now it stands in the garden, waiting for a flood, while they "
    "take the bus to work and dream about islands with palm trees and quiet mornings.",
)


async def test_minutes_of_speech_come_in_order_and_the_first_words_early(
    transcriber: WhisperTranscriber, detector: Detector, say: Say
):
    pause = np.zeros(RATE, np.float32)
    samples = np.concatenate([part for text in STORY for part in (say(text), pause)])
    transcription = transcribe(raw(samples), transcriber, detector, OPTIONS, VAD, pcm=True, max_seconds=LONGEST)
    done = []
    segments = []
    async with aclosing(transcription):
        async for segment in transcription:
            segments.append(segment)
            done.append(transcription.done)
    assert done[0] < 0.5 * transcription.duration, "the first words came when half of the work was done"
    assert done == sorted(done)
    starts = [segment.start for segment in segments]
    assert starts == sorted(starts)
    assert segments[-1].end == pytest.approx(len(samples) / RATE - 1, abs=1.5)
    assert jiwer.wer(words_of(" ".join(STORY)), words_of(text_of(segments))) < 0.08


@pytest.mark.parametrize(("data", "failure"), [(b"", AudioUnreadable), (b"nothing to hear" * 99, AudioUnreadable)])
async def test_what_is_no_audio_is_refused(
    transcriber: WhisperTranscriber, detector: Detector, data: bytes, failure: type[InvalidRequest]
):
    with pytest.raises(failure):
        await all_of(transcribe(io.BytesIO(data), transcriber, detector, OPTIONS, VAD, max_seconds=LONGEST))
    with pytest.raises(failure):
        await detect_speech(io.BytesIO(data), detector, VAD, max_seconds=LONGEST)


async def test_a_recording_over_the_limit_is_refused(transcriber: WhisperTranscriber, detector: Detector):
    with pytest.raises(RequestTooLarge):
        await all_of(transcribe(ENGLISH, transcriber, detector, OPTIONS, VAD, max_seconds=2))


def test_of_a_long_prompt_the_end_is_kept_and_of_hotwords_the_beginning():
    options = bounded(TranscribeOptions(prompt="a" * 10_000 + "end", hotwords="first" + "b" * 10_000))
    assert options.prompt is not None
    assert options.hotwords is not None
    assert (len(options.prompt), options.prompt[-4:]) == (LONGEST_PROMPT, "aend")
    assert (len(options.hotwords), options.hotwords[:6]) == (LONGEST_PROMPT, "firstb")
    short = TranscribeOptions(prompt="a", hotwords="b")
    assert bounded(short) is short


async def test_an_unknown_language_is_refused(transcriber: WhisperTranscriber, detector: Detector):
    with pytest.raises(InvalidRequest):
        await all_of(
            transcribe(ENGLISH, transcriber, detector, TranscribeOptions(language="xx"), VAD, max_seconds=LONGEST)
        )


class Counting(io.RawIOBase):
    """Endless silence with a click now and then; counts how much was read."""

    def __init__(self) -> None:
        self.read_bytes = 0
        self.begun = threading.Event()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.read_bytes += size
        self.begun.set()
        return bytes(size)


async def test_closing_stops_reading(transcriber: WhisperTranscriber, detector: Detector):
    source = Counting()
    transcription = transcribe(source, transcriber, detector, OPTIONS, VAD, pcm=True, max_seconds=LONGEST)  # type: ignore[arg-type]
    reading = asyncio.create_task(anext(transcription))
    await asyncio.to_thread(source.begun.wait, 10)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await transcription.aclose()
    read = source.read_bytes
    await detect_speech(ENGLISH, detector, VAD, max_seconds=LONGEST)  # time enough for more reading
    assert source.read_bytes == read
    assert transcriber.batcher.lanes == 0


async def test_a_transcription_nobody_iterates_leaves_no_open_file(
    transcriber: WhisperTranscriber, detector: Detector, tmp_path: Path
):
    before = open_files(tmp_path)
    copy = tmp_path / "clip.opus"
    copy.write_bytes(ENGLISH.read_bytes())
    await transcribe(copy, transcriber, detector, OPTIONS, VAD, max_seconds=LONGEST).aclose()
    assert open_files(tmp_path) == before


async def test_fifty_aborted_transcriptions_leave_nothing_open(
    transcriber: WhisperTranscriber, detector: Detector, tmp_path: Path
):
    copy = tmp_path / "clip.opus"
    copy.write_bytes(ENGLISH.read_bytes())
    await all_of(transcribe(copy, transcriber, detector, OPTIONS, VAD, max_seconds=LONGEST))
    running = [
        asyncio.create_task(all_of(transcribe(copy, transcriber, detector, OPTIONS, VAD, max_seconds=LONGEST)))
        for _ in range(50)
    ]
    async with asyncio.timeout(20):
        while transcriber.batcher.lanes < 10:  # noqa: ASYNC110 (worker threads are looked at)
            await asyncio.sleep(0.001)
    threads = threading.active_count()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert any(task.cancelled() for task in running)
    assert transcriber.batcher.lanes == 0
    async with asyncio.timeout(10):
        while open_files(tmp_path):  # noqa: ASYNC110 (a packet that is being read is read to its end)
            await asyncio.sleep(0.01)
    assert threading.active_count() <= threads


def open_files(folder: Path) -> list[str]:
    links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return [target for link in links if (target := str(link.resolve())).startswith(str(folder))]


async def test_speech_is_found_where_it_is(detector: Detector, say: Say):
    spoken = say("Here is a voice.")
    quiet = np.zeros(3 * RATE, np.float32)
    samples = np.concatenate((quiet, spoken, quiet, spoken))
    spans = await detect_speech(raw(samples), detector, VadOptions(speech_pad_ms=0), pcm=True, max_seconds=LONGEST)
    expected = [3 * RATE, 6 * RATE + len(spoken)]
    assert [span.start for span in spans] == pytest.approx(expected, abs=RATE // 3)
    assert all(span.end - span.start == pytest.approx(len(spoken), abs=RATE // 2) for span in spans)


async def test_detection_is_the_library_s_whatever_the_length(detector: Detector, say: Say):
    import faster_whisper.vad

    parts: Iterator[Samples] = (say(f"Part {number}.") for number in range(6))
    samples = np.concatenate([part for spoken in parts for part in (spoken, np.zeros(RATE * 5, np.float32))])
    samples = np.concatenate((samples, samples))
    samples = samples[: len(samples) // 512 * 512 + 100]
    quantized = (samples * 32767).astype("<i2").astype(np.float32) / 32768
    options = VadOptions(threshold=0.75, min_silence_duration_ms=1000, speech_pad_ms=0)
    theirs = faster_whisper.vad.VadOptions(threshold=0.75, min_silence_duration_ms=1000, speech_pad_ms=0)
    expected = faster_whisper.vad.get_speech_timestamps(quantized.copy(), theirs)
    found = await detect_speech(raw(samples), detector, options, pcm=True, max_seconds=LONGEST)
    assert found == [SpeechSpan(span["start"], span["end"]) for span in expected]


async def test_nothing_blocks_the_loop(transcriber: WhisperTranscriber, detector: Detector):
    """While a file is decoded and transcribed, the loop's own callbacks go on."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    await all_of(transcribe(ENGLISH, transcriber, detector, OPTIONS, VAD, max_seconds=LONGEST))
    ticking.cancel()
    assert ticks > 20
    assert any(thread.name.startswith("decode_") for thread in threading.enumerate())


async def test_a_long_recording_is_heard_alike_in_one_piece_and_in_parts(
    transcriber: WhisperTranscriber, detector: Detector, say: Say, monkeypatch: pytest.MonkeyPatch
):
    """Word for word and time for time: no section knows of the others."""
    monkeypatch.setattr(clip, "SECTION", 20.0)
    monkeypatch.setattr(clip, "REACH", 4.0)
    pause = np.zeros(RATE // 2, np.float32)
    samples = raw(np.concatenate([part for text in STORY[:4] for part in (say(text), pause)]))
    options = TranscribeOptions(language="en", word_timestamps=True)

    async def words_in(part: Clip) -> list[Word]:
        samples.seek(0)
        heard = transcribe(samples, transcriber, detector, options, VAD, pcm=True, max_seconds=LONGEST, clip=part)
        async with aclosing(heard):
            return [word async for segment in heard for word in segment.words]

    whole = await words_in(Clip())
    assert whole[-1].end > 40
    parts = [await words_in(Clip(first, last, 4.0)) for first, last in ((0.0, 20.0), (20.0, 40.0), (40.0, None))]
    together = [word for part in parts for word in part]
    assert [word.word for word in together] == [word.word for word in whole]
    assert [word.start for word in together] == pytest.approx([word.start for word in whole], abs=0.05)
