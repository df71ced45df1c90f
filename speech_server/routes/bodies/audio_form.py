"""What the routes that take an audio file have in common: the upload, and fields checked by a pydantic model."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from speech_server.audio.lent.file import is_lent
from speech_server.decoding import borrowed, warm_up
from speech_server.errors import AudioUnreadable
from speech_server.models.catalog.info import Task
from speech_server.routes.bodies.form import Check, Form, Upload, read_form
from speech_server.routes.state import Speech, SpeechDep

AUDIO = frozenset({"file"})
RAW = ("audio/pcm", "audio/raw")  # s16le, mono, 16 kHz
MOST_BRACKETS = 20  # of JSON in a field: one list or one object is all there is to say
NO_MODEL = ": name a model, one of GET /v1/models say; a server with WHISPER__MODEL needs none"
LISTS = (
    "timestamp_granularities", "include", "keywords", "languages", "known_speaker_names", "known_speaker_references",
)  # fmt: skip

Fields = TypeVar("Fields", bound=BaseModel)


@dataclass(frozen=True)
class Sent(Generic[Fields]):
    """One checked request: its fields, and its audio until it has been answered."""

    form: Fields
    upload: Upload
    request_id: str


def sent_as(kind: type[Fields], task: Task) -> Callable[[Request, Speech], AsyncIterator[Sent[Fields]]]:
    """A dependency that reads such a form, for a model that can do `task`."""

    async def read(request: Request, speech: SpeechDep) -> AsyncIterator[Sent[Fields]]:
        warm_up()
        async with read_form(request, AUDIO, model_check(speech, task)) as form:
            yield Sent(parse_form(kind, form), require_audio(form), request.state.request_id)

    return read


def model_check(speech: Speech, task: Task) -> Check:
    """Refuses a model that cannot do `task` as soon as its field is read, whatever is still to be uploaded."""

    async def check(name: str, value: str) -> None:
        if name == "model" and value.strip():
            await speech.loader.require(value.strip(), task)

    return check


def parse_form(kind: type[Fields], form: Form, defaults: Mapping[str, Any] = MappingProxyType({})) -> Fields:
    """The fields, all faults at once, as FastAPI would report them."""
    faults: list[dict[str, Any]] = []
    if "file" not in form.uploads:
        faults.append({"type": "missing", "loc": ("body", "file"), "msg": "Field required"})
    try:
        fields = kind(**{**defaults, **collect(form.fields)})
    except ValidationError as error:
        faults += [faulty(fault["loc"], fault) for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from error
    if faults:
        raise RequestValidationError(faults)
    return fields


def faulty(place: tuple[int | str, ...], fault: Mapping[str, Any]) -> dict[str, Any]:
    advice = NO_MODEL if place == ("model",) and fault["type"] == "missing" else ""
    return {**fault, "loc": ("body", *place), "msg": fault["msg"] + advice}


def collect(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """One value per name, the last one sent; `name[]` makes a list, `name[key]` an object; empty is not sent."""
    values: dict[str, Any] = {}
    for sent, value in fields:
        found = re.fullmatch(r"(\w+)(?:\[(\w*)\])?", sent)
        if not found or not value.strip():
            continue
        name, key = found.groups()
        if name in LISTS:
            values.setdefault(name, []).append(value)
        elif key:
            inner = values.get(name)
            values[name] = {**(inner if isinstance(inner, dict) else {}), key: value}
        else:
            values[name] = value
    return values


def require_audio(form: Form) -> Upload:
    upload = form.uploads["file"]
    if upload.size == 0:
        raise AudioUnreadable("The uploaded file is empty: send the audio in the field `file`", param="file")
    return upload


@asynccontextmanager
async def audio_of(form: Form, speech: Speech) -> AsyncIterator[Upload]:
    """The audio, also where it is lent by whoever started this server."""
    upload = form.uploads["file"]
    if not is_lent(upload.content_type):
        yield require_audio(form)
        return
    file = await borrowed(upload.content_type, speech.settings.lender_key)
    try:
        yield Upload(file, upload.filename, file.content_type, file.size)
    finally:
        file.end()


def is_pcm(upload: Upload) -> bool:
    return upload.content_type.partition(";")[0].strip().lower() in RAW


def from_json(value: object) -> object:
    """Fields of a form are text: a list or an object in one may be JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        if value.count("[") + value.count("{") > MOST_BRACKETS:
            raise ValueError(f"not what this field takes: it has more than {MOST_BRACKETS} brackets")
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}") from error
    return value


def as_list(value: object) -> object:
    if isinstance(value, list):
        return [item for text in value for item in as_items(text)]
    return as_items(value)


def as_items(value: object) -> list[Any]:
    value = from_json(value)
    if isinstance(value, list):
        return value
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else [value]
