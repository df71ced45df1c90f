"""Transcription against faster-whisper called the usual way: throughput, latency, words, each lever's own effect."""

from __future__ import annotations

import os
from statistics import median

from benchmarks.clips import Clip, clips, five_seconds, minutes, whole
from benchmarks.report import Report, percentile
from benchmarks.stt_process import EngineProcess
from benchmarks.words import error_rate, plain

REPEATS = 5
LIBRARY = "faster-whisper, default threads, int8, in a loop"
CORES = len(os.sched_getaffinity(0))
# The levers, each taken away alone.
LEVERS: dict[str, dict[str, object]] = {
    "malloc settings": {"keep_memory": False},
    "one worker per core (instead of all threads in one)": {"workers": 1, "threads": CORES},
    "decoding in batches": {"max_batch": 1},
    "short windows": {"short_windows": False},
}


def run(report: Report) -> None:
    with EngineProcess("library") as library, EngineProcess("ours") as ours:
        _compare(report, library, ours)
        _words(report, ours)
        _beside_a_long_file(report, ours)
        _first_words(report, ours)
        _concurrency(report, ours)
    _load(report)
    _levers(report)


def _compare(report: Report, library: EngineProcess, ours: EngineProcess) -> None:
    """Throughput of eight at once and time of one file, in turn, with the words of both."""
    many, one = clips(), whole()
    library.transcribe(many[:1])
    ours.transcribe(many[:1])
    times = report.interleave(
        REPEATS,
        library_many=lambda: library.transcribe(many),
        ours_many=lambda: ours.transcribe(many, at_once=8),
        library_one=lambda: library.transcribe([one]),
        ours_one=lambda: ours.transcribe([one]),
    )
    middle = {name: median(seconds) for name, seconds in times.items()}
    seconds = sum(clip.seconds for clip in many)
    report.add(
        "throughput, 8 requests at once, clips of 12-24 s",
        middle["library_many"] / middle["ours_many"],
        against=LIBRARY,
        at_least=4.0,
        note=f"{seconds / middle['ours_many']:.0f} and {seconds / middle['library_many']:.0f} x real time",
    )
    report.add("a 44 s file alone", middle["ours_one"] / middle["library_one"], against=LIBRARY, at_most=0.6)
    for name, files in (("8 clips", many), ("the 44 s file", [one])):
        said = [clip.text for clip in files]
        theirs = 100 * error_rate(said, library.transcribe(files).texts)
        mine = 100 * error_rate(said, ours.transcribe(files, at_once=8).texts)
        note = f"{mine:.2f} % and {theirs:.2f} % of words wrong"
        report.add(
            f"word error rate, {name}, difference", mine - theirs, "points", against=LIBRARY, at_most=0.1, note=note
        )


def _words(report: Report, ours: EngineProcess) -> None:
    many = clips()
    alone = ours.transcribe(many).texts
    together = ours.transcribe(many * 4, at_once=32).texts
    equal = sum(plain(one) == plain(other) for one, other in zip(alone * 4, together, strict=True))
    report.add("replies equal to their own alone, 32 at once", 100 * equal / len(together), "%", at_least=99)


def _beside_a_long_file(report: Report, ours: EngineProcess) -> None:
    short = five_seconds()
    alone = median(ours.transcribe([short]).seconds for _ in range(15))
    beside = ours.probe(short, minutes(10))
    value = percentile(beside, 95) / alone
    note = f"p50 {median(beside) / alone:.2f}, {len(beside)} requests"
    report.add("p95 of a 5 s clip beside a 10 min file", value, against="its p50 alone", at_most=2.5, note=note)


def _first_words(report: Report, ours: EngineProcess) -> None:
    for name, clip, early, at_most in (("2 min", minutes(2), False, 0.35), ("44 s", whole(), True, 0.4)):
        heard = [ours.transcribe([clip], early=early) for _ in range(5)]
        share = median(one.first / one.seconds for one in heard)
        wrong = 100 * error_rate([clip.text], heard[0].texts)
        note = f"{wrong:.2f} % of words wrong" + (", asked for as a stream" if early else "")
        report.add(f"first segment of a {name} file", share, against="its whole time", at_most=at_most, note=note)


def _concurrency(report: Report, ours: EngineProcess) -> None:
    many: list[Clip] = clips() * 2
    seconds = sum(clip.seconds for clip in many)
    for at_once in (1, 2, 4, 8, 16):
        heard = ours.transcribe(many, at_once=at_once)
        report.series.setdefault("times real time", []).append((at_once, seconds / heard.seconds))
        report.series.setdefault("seconds per clip, p50", []).append((at_once, median(heard.each)))
        report.series.setdefault("seconds per clip, p95", []).append((at_once, percentile(heard.each, 95)))


def _load(report: Report) -> None:
    theirs, mine = [], []
    for _ in range(REPEATS):
        with EngineProcess("library") as library, EngineProcess("ours") as ours:
            theirs.append(library.load_seconds)
            mine.append(ours.load_seconds)
    against = "faster-whisper, float16 to int8"
    report.add("model load from the int8 cache", median(mine) / median(theirs), against=against, at_most=0.3)


def _levers(report: Report) -> None:
    many = clips()
    for name, without in LEVERS.items():
        with EngineProcess("ours") as everything, EngineProcess("ours", without) as less:
            everything.transcribe(many[:1])
            less.transcribe(many[:1])
            times = report.interleave(
                3,
                everything=lambda: everything.transcribe(many, at_once=8),
                less=lambda: less.transcribe(many, at_once=8),
            )
            heard = less.transcribe(many, at_once=8)
        wrong = 100 * error_rate([clip.text for clip in many], heard.texts)
        gain = median(times["less"]) / median(times["everything"])
        report.add(f"what it gives: {name}", gain, against="8 at once without it", note=f"without: {wrong:.2f} % wrong")
