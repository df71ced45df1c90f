"""Who speaks in the pieces of a recording -> who speaks in it: their voices are clustered once, where all have come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from endpoint.errors import Refused
from speech_server.domain import Count, Likeness, Person
from speech_server.hearing.speakers.names import lettered

if TYPE_CHECKING:  # numpy takes 0.2 s to import, and few recordings' speakers are asked for
    from speech_server.hearing.speakers.clusters import Groups, Labels

COUNTS = ("num_speakers", "min_speakers", "max_speakers")
_KNOWN = ("known_speaker_names", "known_speaker_references")
_TRUE, _FALSE = {"1", "on", "t", "true", "y", "yes"}, {"", "0", "f", "false", "n", "no", "none", "off"}
_SUBTITLES = ("srt", "vtt")


@dataclass(frozen=True, slots=True)
class Speakers:
    """What is wanted of them: how many there are, whose `names` are known, whether `voices` are part of the answer."""

    count: Count
    names: frozenset[str]
    voices: bool


def speakers_in(fields: dict[str, Any], shape: str) -> Speakers | None:
    """Of a request's fields; None where nobody wants to know who speaks. Raises ValueError."""
    if not (_flag(fields, "diarize") or shape == "diarized_json"):
        return None
    count = Count.asked(*(_number(fields.get(name)) for name in COUNTS))
    return Speakers(count, frozenset(_names(fields.get(_KNOWN[0]))), _flag(fields, "speaker_embeddings"))


def piece_fields(fields: dict[str, Any], shape: str, *, is_alone: bool) -> dict[str, Any]:
    """What a piece is asked. How many speak in it nobody knows, unless it is the whole recording."""
    left_out = () if is_alone else COUNTS
    asked = {name: value for name, value in fields.items() if name not in left_out}
    asked |= {"diarize": True, "speaker_embeddings": True}
    if shape in _SUBTITLES:
        asked.setdefault("timestamp_granularities", ["segment", "word"])
    return asked


def without_speakers(fields: dict[str, Any]) -> dict[str, Any]:
    named = {*COUNTS, *_KNOWN, "diarize", "speaker_embeddings"}
    return {name: value for name, value in fields.items() if name not in named}


def named(bodies: Sequence[dict[str, Any]], speakers: Speakers) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The verbose_json of pieces with the speakers of the recording, and its `speakers` and `speaker_encoder`.

    Raises KeyError, TypeError and ValueError where they are no such answers; Refused.
    """
    from speech_server.transcript.formats import voices

    encoder = _encoder_of(bodies)
    pieces = [[_person(entry) for entry in body["speakers"]] for body in bodies]
    likeness = Likeness(**{name: value for name, value in encoder.items() if name != "model"})
    names, people = people_of(pieces, likeness, speakers)
    try:
        speakers.count.check(len(people))
    except ValueError as error:
        raise Refused(str(error), 400) from None
    told = voices(people, encoder["model"], likeness) if speakers.voices else {}
    return [_renamed(body, own) for body, own in zip(bodies, names, strict=True)], told


def people_of(
    pieces: Sequence[Sequence[Person]], likeness: Likeness, speakers: Speakers
) -> tuple[list[dict[str, str]], list[Person]]:
    """What each piece's people are called in the recording, and the people of the recording.

    Who is known by a reference is the same person in every piece. The others are whom their voices are most alike to.
    """
    import numpy as np

    from speech_server.hearing.speakers.clusters import Groups, people

    heard = [person for piece in pieces for person in piece]
    if len(pieces) == 1 or not heard:
        return [{person.name: person.name for person in piece} for piece in pieces], heard
    groups = Groups(
        np.stack([person.voice * np.float32(person.seconds) for person in heard]),
        np.array([person.seconds for person in heard], np.float32),
    )
    own = _known_together(heard, speakers.names)
    labels = people(groups.together(own), likeness, speakers.count)[own]
    called = _lettered(labels, _known_names(heard, groups, labels, speakers.names), speakers.names)
    order = list(dict.fromkeys(called))
    found = groups.together(np.array([order.index(name) for name in called]))
    whole = [Person(name, float(found.seconds[at]), found.means[at]) for at, name in enumerate(order)]
    each = iter(called)
    return [{person.name: next(each) for person in piece} for piece in pieces], whole


def _known_together(heard: Sequence[Person], names: frozenset[str]) -> Labels:
    """A label for each, shared by what was heard of somebody who is known."""
    import numpy as np

    keys: list[object] = [person.name if person.name in names else number for number, person in enumerate(heard)]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([order[key] for key in keys])


def _known_names(heard: Sequence[Person], groups: Groups, labels: Labels, names: frozenset[str]) -> list[str | None]:
    """Their own of those who are known, and of who is with one of them; with several, the one most alike."""
    known = [number for number, person in enumerate(heard) if person.name in names]
    likeness = groups.centroids @ groups.centroids[known].T
    found: list[str | None] = []
    for number, person in enumerate(heard):
        with_it = {at: heard[other].name for at, other in enumerate(known) if labels[other] == labels[number]}
        nearest = max(with_it, key=likeness[number].item, default=None)
        found.append(person.name if person.name in names else None if nearest is None else with_it[nearest])
    return found


def _lettered(labels: Labels, names: Sequence[str | None], known: frozenset[str]) -> list[str]:
    """One letter for all that have a label and no name, as they first speak."""
    unnamed = list(dict.fromkeys(int(label) for label, name in zip(labels, names, strict=True) if name is None))
    letters = dict(zip(unnamed, lettered([None] * len(unnamed), known), strict=True))
    return [letters[int(label)] if name is None else name for label, name in zip(labels, names, strict=True)]


def _encoder_of(bodies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    try:
        encoders: list[dict[str, Any]] = [body["speaker_encoder"] for body in bodies]
    except KeyError:
        raise Refused("an answer says nothing of voices: the server that gave it is older than this command") from None
    if other := next((each for each in encoders if each != encoders[0]), None):
        raise Refused(
            f"its pieces were heard with two voice encoders, {encoders[0]['model']} and {other['model']}, whose voices "
            "cannot be compared: give all workers the same image and DEFAULT_SPEAKER_MODEL, and send it again"
        )
    return encoders[0]


def _person(entry: dict[str, Any]) -> Person:
    import numpy as np

    voice = np.array(entry["embedding"], np.float32)
    if not (entry["seconds"] > 0 and np.isfinite(voice).all() and voice.any()):
        raise ValueError(f"an answer's speaker {entry['speaker']} has no voice")
    return Person(entry["speaker"], entry["seconds"], voice)


def _renamed(body: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    def of(entries: Sequence[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        if entries is None:
            return None
        return [{**entry, "speaker": names[entry["speaker"]]} if "speaker" in entry else entry for entry in entries]

    return {**body, "segments": of(body["segments"]), "words": of(body["words"])}


def _flag(fields: dict[str, Any], name: str) -> bool:
    said = str(fields.get(name, "")).strip().lower()
    if said not in _TRUE | _FALSE:
        raise ValueError(f"{name} is {said!r}: it wants true or false")
    return said in _TRUE


def _number(value: object) -> int | None:
    return None if value is None or value == "" else int(str(value))


def _names(value: object) -> list[str]:
    """As the API reads them: several fields, or one with commas."""
    said = value if isinstance(value, list) else [value or ""]
    return [name.strip() for text in said for name in str(text).split(",") if name.strip()]
