"""Who speaks: conversations of Kokoro's voices, whose truth is known, and a person who reads alone."""

from __future__ import annotations

import asyncio
import io
import re
import time
import tracemalloc
import wave
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from difflib import SequenceMatcher
from statistics import mean

import numpy as np

from benchmarks import clips
from benchmarks.der import ErrorRate, error_rate
from benchmarks.dialogues import Dialogue, dialogue, prepare
from benchmarks.report import Report
from benchmarks.rows.tts import WHISPER, model_folder
from speech_server.domain import RATE, Samples, Segment, VadOptions
from speech_server.engines.interfaces import EngineArgs, TranscribeOptions, Transcriber, VoiceDetector, VoiceEncoder
from speech_server.engines.silero import engine as silero
from speech_server.engines.wespeaker import engine as wespeaker
from speech_server.engines.whisper import engine as whisper
from speech_server.hearing.speakers.attribution import attributed
from speech_server.models.catalog.listing import SILERO
from speech_server.speakers.naming import WhoSpoke
from speech_server.speakers.voices import ExpectedSpeakers, PhraseVoices
from speech_server.speakers.who_speaks import VoiceEngines, who_speaks
from speech_server.speech_to_text import transcribe

ENCODER = "campplus"
PEOPLE = (1, 2, 3, 4, 6)
EACH = 4
SEED = 20_261_127  # not one of those with which the thresholds were chosen
KINDS = {
    "no overlap": (0.06, {}),
    "every fifth sentence begins in the one before": (0.10, {"overlap": 0.2}),
    "no overlap, white noise 20 dB below": (0.06, {"snr": 20.0}),
}


def run(report: Report) -> None:
    for done, missing in prepare():
        report.progress(f"speaking sentences {done}/{missing}")
    with ExitStack() as stack:
        encoder = stack.enter_context(closing(wespeaker.load(model_folder(ENCODER), EngineArgs(device="cpu"))))
        detector = stack.enter_context(closing(silero.load(model_folder(SILERO), EngineArgs())))
        _dialogues(report, encoder, detector)
        _reader(report, encoder, detector)
        _hour(report, encoder, detector)
        transcriber = stack.enter_context(closing(whisper.load(model_folder(WHISPER), EngineArgs(device="cpu"))))
        _words(report, transcriber, encoder, detector)
        _cost(report, transcriber, encoder, detector)


def _dialogues(report: Report, encoder: VoiceEncoder, detector: VoiceDetector) -> None:
    right: list[bool] = []
    for kind, (at_most, options) in KINDS.items():
        rates: dict[int, list[ErrorRate]] = {people: [] for people in PEOPLE}
        before = len(right)
        for people, made in _all(**options):
            report.progress(f"{kind}, {people} people")
            who = heard_by(made.samples, encoder, detector)
            right.append(len(who.people) == people)
            rates[people].append(error_rate(made.turns, who.turns))
        report.progress("")
        each = ", ".join(f"{people}: {100 * mean(one.whole for one in some):.1f}" for people, some in rates.items())
        every = [one for some in rates.values() for one in some]
        parts = [100 * mean(getattr(one, part) for one in every) for part in ("missed", "false_alarm", "confused")]
        note = f"missed {parts[0]:.1f}, false alarm {parts[1]:.1f}, confused {parts[2]:.1f}; by people {each}; "
        note += f"count right in {sum(right[before:])} of {len(every)}"
        value = 100 * mean(one.whole for one in every)
        report.add(f"DER, {kind}", value, "%", at_most=100 * at_most, note=note)
    report.add("speaker count right, all of them", 100 * mean(right), "%", at_least=95, note=f"{len(right)} dialogues")
    recording = np.concatenate([made.samples for _, made in _all()])
    started = time.perf_counter()
    heard_by(recording, encoder, detector)
    times = len(recording) / RATE / (time.perf_counter() - started)
    note = f"{len(recording) / RATE / 60:.0f} min in one file, decoded, its speech found, on all cores"
    report.add("times real time", times, against="the sound", at_least=100, note=note)


def _all(*, overlap: float = 0.0, snr: float | None = None) -> Iterator[tuple[int, Dialogue]]:
    for people in PEOPLE:
        for number in range(EACH):
            yield people, dialogue(people, SEED + 100 * people + number, overlap=overlap, snr=snr)


def _reader(report: Report, encoder: VoiceEncoder, detector: VoiceDetector) -> None:
    with clips.whole().path.open("rb") as file:
        who, _ = asyncio.run(who_speaks(file, VoiceEngines(encoder, detector), ExpectedSpeakers(), max_seconds=60))
    report.add("people in 44 s of one person reading", len(who.people), "people", at_most=1)


def _hour(report: Report, encoder: VoiceEncoder, detector: VoiceDetector) -> None:
    """What an hour takes of Python's memory: decoded sound, windows, embeddings, clusters."""
    some = [dialogue(4, SEED + number) for number in range(4)]
    samples = np.concatenate([each.samples for each in some])
    samples = np.tile(samples, -(-3600 * RATE // len(samples)))[: 3600 * RATE]
    recording = _as_file(samples)
    tracemalloc.start()
    started = time.perf_counter()
    who = asyncio.run(_hear(recording, encoder, detector))
    took = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    note = f"{len(who.people)} people found in a row of four dialogues of four; {3600 / took:.0f} x real time, traced"
    report.add("memory that an hour takes at most", peak / 1e6, "MB", at_most=300, note=note)


def _words(report: Report, transcriber: Transcriber, encoder: VoiceEncoder, detector: VoiceDetector) -> None:
    wrong = heard = 0
    for people in PEOPLE:
        report.progress(f"words of {people} people")
        made = dialogue(people, SEED + 100 * people)
        segments, who = _transcribed(_as_file(made.samples), transcriber, detector, encoder)
        assert who
        names = error_rate(made.turns, who.turns).names
        said = [(word, each.turn.speaker) for each in made.said for word in _plain(each.text)]
        told = [
            (plain, names.get(word.speaker or "", ""))
            for segment in attributed(segments, who.turns)
            for word in segment.words
            for plain in _plain(word.word)
        ]
        matcher = SequenceMatcher(None, [word for word, _ in said], [word for word, _ in told], autojunk=False)
        for first, second, size in matcher.get_matching_blocks():
            pairs = zip(said[first : first + size], told[second : second + size], strict=True)
            matches = [a[1] == b[1] for a, b in pairs]
            heard, wrong = heard + len(matches), wrong + matches.count(False)
    report.progress("")
    report.add("words given to the wrong person", 100 * wrong / heard, "%", at_most=2, note=f"{wrong} of {heard}")


def _plain(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _cost(report: Report, transcriber: Transcriber, encoder: VoiceEncoder, detector: VoiceDetector) -> None:
    recording = _as_file(np.concatenate([dialogue(3, SEED + number).samples for number in range(2)]))
    runs = {
        "text": lambda: _transcribed(recording, transcriber, detector, words=False, timed=False),
        "segments": lambda: _transcribed(recording, transcriber, detector, words=False),
        "words": lambda: _transcribed(recording, transcriber, detector),
        "speakers": lambda: _transcribed(recording, transcriber, detector, encoder),
    }
    seconds = {name: mean(taken) for name, taken in report.interleave(3, **runs).items()}
    for name in ("segments", "words", "text"):
        at_most = 1.25 if name == "segments" else None
        report.add("a transcript with speakers", seconds["speakers"] / seconds[name], against=name, at_most=at_most)


def heard_by(samples: Samples, encoder: VoiceEncoder, detector: VoiceDetector) -> WhoSpoke:
    return asyncio.run(_hear(_as_file(samples), encoder, detector))


async def _hear(recording: io.BytesIO, encoder: VoiceEncoder, detector: VoiceDetector) -> WhoSpoke:
    who, _ = await who_speaks(recording, VoiceEngines(encoder, detector), ExpectedSpeakers(), max_seconds=7200)
    return who


def _transcribed(
    recording: io.BytesIO,
    transcriber: Transcriber,
    detector: VoiceDetector,
    encoder: VoiceEncoder | None = None,
    *,
    words: bool = True,
    timed: bool = True,
) -> tuple[Sequence[Segment], WhoSpoke | None]:
    async def hear() -> tuple[Sequence[Segment], WhoSpoke | None]:
        recording.seek(0)
        options = TranscribeOptions(word_timestamps=words, without_timestamps=not timed)
        voices = PhraseVoices(encoder, ExpectedSpeakers()) if encoder else None
        heard = transcribe(
            recording, transcriber, detector, options, VadOptions(), max_seconds=7200, voices=voices
        )  # fmt: skip
        async with aclosing(heard), AsyncExitStack() as stack:
            if voices:
                stack.push_async_callback(voices.aclose)
            return [segment async for segment in heard], await heard.who_spoke()

    return asyncio.run(hear())


def _as_file(samples: Samples) -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    file.seek(0)
    return file
