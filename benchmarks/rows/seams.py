"""Hours of speech in one piece and in pieces of ten minutes, through one worker: the words, their times, the seams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jiwer

from benchmarks.recordings import Recording, recording
from benchmarks.report import Report
from benchmarks.server import served
from benchmarks.words import plain
from speech_server.audio.budget import Limits
from speech_server.audio.decode import stream
from speech_server.domain import RATE, Clip
from speech_server.hearing.clip import Clipper, Cut, clipped
from tests.conftest import ROOT
from tests.local_runpod.local_platform import LocalPlatform

MODEL = "Systran/faster-whisper-base"
NEAR = 0.05  # seconds that two times of a word may lie apart
AROUND = 20.0  # seconds on both sides of a seam that are looked at closely
LONGEST = 3 * 3600  # seconds that one of the runs may take
ENV = {"RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true", "RUNPOD_LOG_LEVEL": "ERROR", "WORKER_JOB_TIMEOUT": str(LONGEST)}


@dataclass(frozen=True)
class Word:
    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Answer:
    words: list[Word]
    duration: float

    def keep(self, path: Path) -> None:
        """For whoever wants to look."""
        path.write_text(json.dumps([asdict(word) for word in self.words]))


def run(report: Report, hours: float) -> None:
    made = recording(hours)
    with (
        tempfile.TemporaryDirectory() as folder,
        served(made.path.parent) as served_bytes,
        LocalPlatform([sys.executable, "-u", "handler.py"], env=ENV, ready_seconds=300, api_key="any") as platform,
    ):
        url = f"{served_bytes.url}/{made.path.name}"
        answers = {}
        for name in ("whole", "pieces", "whole again"):
            report.progress(name)
            began, before = time.perf_counter(), served_bytes.count
            answers[name] = _in_pieces(platform, url, Path(folder)) if name == "pieces" else _whole(platform, url)
            answers[name].keep(made.path.with_name(f"{made.path.stem} {name}.json"))
            minutes = (time.perf_counter() - began) / 60
            times = (served_bytes.count - before) / made.path.stat().st_size
            report.add(f"{name}: bytes fetched", times, "x file", note=f"{minutes:.1f} minutes")
    report.progress("")
    _compare(report, made, answers["whole"], answers["pieces"], "in pieces")
    _compare(report, made, answers["whole"], answers["whole again"], "the same request again")
    _seams(report, made, answers["whole"], answers["pieces"])


def _whole(platform: LocalPlatform, url: str) -> Answer:
    body = {
        "model": MODEL,
        "language": "en",
        "response_format": "verbose_json",
        "timestamp_granularities": ["word", "segment"],
    }
    job = {"path": "/v1/audio/transcriptions", "file_url": url, "body": body}
    done = platform.wait(platform.run(job, policy={"executionTimeout": LONGEST * 1000}), LONGEST)
    return _answer(done["output"])


def _in_pieces(platform: LocalPlatform, url: str, out: Path) -> Answer:
    command = [sys.executable, "-m", "endpoint", "transcribe", url, "--at", platform.base, "--workers", "1"]
    options = ["--model", MODEL, "--language", "en", "--format", "verbose_json", "--words", "--out", str(out)]
    env = {**os.environ, "RUNPOD_API_KEY": "any"}
    subprocess.run([*command, *options, "--timeout", str(LONGEST)], cwd=ROOT, env=env, capture_output=True, check=True)
    (path,) = out.glob("*.json")
    return _answer(json.loads(path.read_text()))


def _answer(body: dict[str, Any]) -> Answer:
    words = [
        Word(text, word["start"], word["end"])
        for word in body["words"]
        if (text := plain(word["word"]).replace(" ", ""))
    ]
    return Answer(words, body["duration"])


def _compare(report: Report, made: Recording, one: Answer, other: Answer, name: str) -> None:
    wrong = [_wrong(made.text, answer) for answer in (one, other)]
    note = f"{wrong[0]:.2f} % and {wrong[1]:.2f} % of {len(plain(made.text).split())}"
    report.add(f"words wrong, {name}", abs(wrong[1] - wrong[0]), "points", against="whole", at_most=0.1, note=note)
    pairs = _pairs(one.words, other.words)
    report.add(
        f"words that are not the same, {name}",
        100 * (1 - len(pairs) / max(len(one.words), len(other.words))),
        "%",
        against="whole",
    )
    apart = sorted(max(abs(a.start - b.start), abs(a.end - b.end)) for a, b in pairs)
    far = len(apart) - bisect(apart, NEAR + 1e-6)
    exact = bisect(apart, 1e-6)
    note = (
        f"{far} of {len(apart)}; {exact} are equal to the millisecond, "
        f"99.9 % within {1000 * apart[int(0.999 * len(apart))]:.0f} ms, the farthest {1000 * apart[-1]:.0f} ms"
    )
    report.add(
        f"times more than {1000 * NEAR:.0f} ms apart, {name}", 100 * far / len(apart), "%", against="whole", note=note
    )


def _wrong(said: str, answer: Answer) -> float:
    return 100 * float(jiwer.wer(plain(said), " ".join(word.text for word in answer.words)))


def _pairs(one: Sequence[Word], other: Sequence[Word]) -> list[tuple[Word, Word]]:
    """Those heard alike."""
    aligned = jiwer.process_words(" ".join(word.text for word in one), " ".join(word.text for word in other))
    return [
        (one[each.ref_start_idx + at], other[each.hyp_start_idx + at])
        for each in aligned.alignments[0]
        if each.type == "equal"
        for at in range(each.ref_end_idx - each.ref_start_idx)
    ]


def _seams(report: Report, made: Recording, whole: Answer, pieces: Answer) -> None:
    report.add("seconds heard, in pieces", abs(pieces.duration - whole.duration), "s", against="whole", at_most=0.001)
    cuts = cuts_of(made)
    across = sum(word.start < cut < word.end for cut in cuts for word in pieces.words)
    backwards = sum(b.start < a.end - 1e-6 for a, b in zip(pieces.words, pieces.words[1:], strict=False))
    report.add(f"words across one of {len(cuts)} seams", across, "", at_most=0)
    report.add("words that begin before the one before has ended", backwards, "", note="in pieces")
    different = 0
    for cut in cuts:
        near = [[w for w in answer.words if abs(w.start - cut) < AROUND] for answer in (whole, pieces)]
        different += [w.text for w in near[0]] != [w.text for w in near[1]]
    report.add(f"seams with another word within {AROUND:g} s", different, "", against="whole", note=f"of {len(cuts)}")
    tail = made.seconds - pieces.words[-1].end
    report.add("the last word ends before the recording does", tail, "s", note=f"{pieces.words[-1].text!r}")


def cuts_of(made: Recording) -> list[float]:
    """Where the recording is cut, but for its beginning."""
    blocks = stream(made.path, Limits(2 * made.seconds), rate=RATE)
    found = [part.position / RATE for part in clipped(blocks, Clipper(Clip())) if isinstance(part, Cut)]
    return found[1:]
