"""The fields that say who is expected to speak, and what is made of them."""

from __future__ import annotations

import io
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from speech_server.decoding import from_base64
from speech_server.domain import (
    LONGEST_REFERENCE,
    MOST_KNOWN,
    MOST_SPEAKERS,
    REFERENCE_SLACK,
    SHORTEST_REFERENCE,
    Count,
)
from speech_server.engines.interfaces import VoiceDetector, VoiceEncoder
from speech_server.errors import InvalidRequest, RequestTooLarge
from speech_server.routes.bodies.audio_form import as_list
from speech_server.speakers.naming import KnownVoice
from speech_server.speakers.voice_print import embedding_of
from speech_server.speakers.voices import ExpectedSpeakers

_NAMES, _REFERENCES = "known_speaker_names", "known_speaker_references"
_LEAST_SPEECH = 1.0  # seconds in a reference
_LONGEST = LONGEST_REFERENCE + REFERENCE_SLACK
# Cosine distance of two references below which both are one person's: CAM++ has 0.11 to 0.18 for one, 0.29 for two
# who are alike.
_SAME = 0.15

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\r\n\t]+$")]
People = Annotated[int | None, Field(ge=1, le=MOST_SPEAKERS)]


def as_references(value: object) -> object:
    """A data URL has commas of its own."""
    return value if isinstance(value, list) else [value]


class SpeakerFields(BaseModel, frozen=True):
    num_speakers: People = Field(None, description="How many people speak, where that is known.")
    min_speakers: People = Field(None, description="At least so many people speak.")
    max_speakers: People = Field(None, description="At most so many people speak.")
    known_speaker_names: Annotated[list[Name], BeforeValidator(as_list)] = Field(
        [], max_length=MOST_KNOWN, description="Send as known_speaker_names[]: whose voices the references are."
    )
    known_speaker_references: Annotated[list[str], BeforeValidator(as_references)] = Field(
        [],
        max_length=MOST_KNOWN,
        description="Send as known_speaker_references[]: for each name a data URL with 2 to 10 s of that voice.",
    )

    @model_validator(mode="after")
    def checked_speakers(self) -> Self:
        names, references = self.known_speaker_names, self.known_speaker_references
        if len(names) != len(references):
            raise ValueError(f"{len(names)} {_NAMES} and {len(references)} {_REFERENCES}: give one for each")
        if len(set(names)) < len(names):
            raise ValueError(f"{_NAMES}: each person has a name of their own")
        _ = self.count
        return self

    @property
    def count(self) -> Count:
        return Count.asked(self.num_speakers, self.min_speakers, self.max_speakers)

    @property
    def says_who(self) -> bool:
        return bool(self.known_speaker_names or self.num_speakers or self.min_speakers or self.max_speakers)


async def expected_speakers(fields: SpeakerFields, encoder: VoiceEncoder, detector: VoiceDetector) -> ExpectedSpeakers:
    """Raises InvalidRequest for references that are no voice, or one person's voice twice."""
    known: list[KnownVoice] = []
    for number, (name, text) in enumerate(
        zip(fields.known_speaker_names, fields.known_speaker_references, strict=True)
    ):
        where = f"{_REFERENCES}[{number}]"
        try:
            voice, spoken, seconds = await embedding_of(
                io.BytesIO(await from_base64(text, where)),
                encoder,
                detector,
                max_seconds=_LONGEST,
            )
        except RequestTooLarge:
            raise InvalidRequest(f"{where}: longer than {LONGEST_REFERENCE:g} s: send 2 to 10 s", param=where) from None
        except InvalidRequest as error:
            error.param = where  # the decoder knows it only as a file
            raise
        if seconds < SHORTEST_REFERENCE - REFERENCE_SLACK:
            raise InvalidRequest(f"{where}: {seconds:.1f} s long: send {SHORTEST_REFERENCE:g} to 10 s", param=where)
        if spoken < _LEAST_SPEECH:
            raise InvalidRequest(f"{where}: has {spoken:.1f} s of speech: send 2 to 10 s of {name}", param=where)
        for other in known:
            if 1 - float(other.voice @ voice) < _SAME * encoder.likeness.scale:
                raise InvalidRequest(f"{where}: the voice of {name} is that of {other.name}", param=where)
        known.append(KnownVoice(name, voice))
    return ExpectedSpeakers(fields.count, tuple(known))
