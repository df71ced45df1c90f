"""Who speaks, where a conversation is heard in pieces that do not know of each other, and where it is heard whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from statistics import mean

from benchmarks.der import error_rate
from benchmarks.dialogues import Dialogue, dialogue, prepare
from benchmarks.report import Report
from benchmarks.rows.speakers import ENCODER, SEED, heard_by
from benchmarks.rows.tts import model_folder
from endpoint.bulk.people import Speakers, people_of
from speech_server.domain import EVERYBODY, RATE, Clip, Count, Samples, SpeakerTurn
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.silero import engine as silero
from speech_server.engines.wespeaker import engine as wespeaker
from speech_server.hearing.clip import Clipper, Cut, clipped
from speech_server.models.catalog.listing import SILERO
from speech_server.speakers.naming import WhoSpoke

PEOPLE = (2, 3, 4, 6)
TURNS, PIECE = 72, 60.0  # some four minutes in pieces of one: ten times as many cuts as there would be
KINDS = ("whole", "in pieces", "in pieces, their number known")


def run(report: Report) -> None:
    for done, missing in prepare():
        report.progress(f"speaking sentences {done}/{missing}")
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    counts: dict[str, int] = dict.fromkeys(KINDS, 0)
    with ExitStack() as stack:
        encoder = stack.enter_context(closing(wespeaker.load(model_folder(ENCODER), EngineArgs(device="cpu"))))
        detector = stack.enter_context(closing(silero.load(model_folder(SILERO), EngineArgs())))
        for people in PEOPLE:
            report.progress(f"{people} people")
            made = dialogue(people, SEED + people, turns=TURNS)
            whole = heard_by(made.samples, encoder, detector)
            pieces = [(start, heard_by(part, encoder, detector)) for start, part in _cut(made)]
            found = [whole.turns, _joined(pieces, EVERYBODY), _joined(pieces, Count(people, people))]
            for kind, turns in zip(KINDS, found, strict=True):
                rates[kind].append(100 * error_rate(made.turns, turns).whole)
                counts[kind] += len({turn.speaker for turn in turns}) == people
    report.progress("")
    for kind in KINDS:
        each = ", ".join(f"{people}: {rate:.1f}" for people, rate in zip(PEOPLE, rates[kind], strict=True))
        note = f"by people {each}; count right in {counts[kind]} of {len(PEOPLE)}"
        report.add(f"DER, four minutes {kind}", mean(rates[kind]), "%", note=note)


def _cut(made: Dialogue) -> Iterator[tuple[float, Samples]]:
    """Second and sound of each piece, as `transcribe` would cut it."""
    borders, position = [], 0
    for part in clipped(iter([made.samples]), Clipper(Clip(), section=PIECE)):
        if isinstance(part, Cut):
            borders.append(part.position)
        else:
            position += len(part)
    for start, end in zip(borders, [*borders[1:], position], strict=True):
        yield start / RATE, made.samples[start:end]


def _joined(pieces: list[tuple[float, WhoSpoke]], count: Count) -> list[SpeakerTurn]:
    wanted = Speakers(count, frozenset(), voices=False)
    names, _ = people_of([who.people for _, who in pieces], wespeaker.CAMPPLUS.likeness, wanted)
    return [
        SpeakerTurn(turn.start + start, turn.end + start, called[turn.speaker])
        for (start, who), called in zip(pieces, names, strict=True)
        for turn in who.turns
    ]
