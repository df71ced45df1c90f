"""The people of a session: who has spoken is known again, turn after turn. Pure; bounded, however many come and go."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from speech_server.domain import Embeddings, Person
from speech_server.hearing.speakers.names import letter_of
from speech_server.realtime.protocol.outputs import Met, WhoSaid

MOST_PEOPLE = 100  # voices of some kilobyte that a session remembers; whoever comes after them is the most alike
_SHORT = 5.0  # seconds of a voice, up to which it may be further from what it was before
_SLACK = 1.2  # so much further, found with CAM++: one person's turns of a second lie up to 0.55 apart
_LEAST = 1.5  # seconds; less is nobody new


class People:
    def __init__(self) -> None:
        self.latest = letter_of(0)  # who has spoken last, as far as anybody knows
        self._apart = 0.0
        self._voices: list[Embeddings] = []  # the sum of what was heard of each
        self._seconds: list[float] = []

    @property
    def met(self) -> Met:
        each = enumerate(zip(self._voices, self._seconds, strict=True))
        people = tuple(Person(letter_of(number), seconds, voice / seconds) for number, (voice, seconds) in each)
        return Met(people, self._apart)

    def named(self, spoken: WhoSaid) -> Mapping[str, str]:
        """For each of the people of a piece, by the name they have in it, the letter they have in the session."""
        if spoken.apart != self._apart:  # another encoder's
            self._apart, self._voices, self._seconds = spoken.apart, [], []
        names = {}
        for person in spoken.people:
            number = self._number(person, is_new=person.name not in spoken.met)
            if person.voice.any():  # else they were known by little that said nothing new of their voice
                self._voices[number] = self._voices[number] + person.voice * person.seconds
                self._seconds[number] += person.seconds
            self.latest = names[person.name] = letter_of(number)
        return names

    def _number(self, person: Person, *, is_new: bool) -> int:
        if not is_new:
            return next(number for number in range(len(self._voices)) if letter_of(number) == person.name)
        if self._voices:
            known = np.stack(self._voices)
            alike = (known @ person.voice) / (np.linalg.norm(known, axis=1) * np.linalg.norm(person.voice))
            nearest = int(alike.argmax())
            limit = self._apart * (_SLACK if person.seconds < _SHORT else 1.0)
            is_known = 1 - alike[nearest] < limit or person.seconds < _LEAST
            if is_known or len(self._voices) == MOST_PEOPLE:
                return nearest
        self._voices.append(np.zeros_like(person.voice))
        self._seconds.append(0.0)
        return len(self._voices) - 1
