"""Requests that use one parameter each, made from the openai client's own types."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

MISSING: Any = object()
_SOUND = base64.b64encode(bytes(4800)).decode()
_VOICE = f"data:audio/wav;base64,{_SOUND}"

# What a parameter of that name takes that others of its type do not.
VALUES: dict[str, Any] = {
    "audio": _SOUND,
    "conversation": "none",
    "data": _SOUND,
    "idle_timeout_ms": 5000,
    "image_url": "data:image/png;base64,AAAA",
    "include": "item.input_audio_transcription.logprobs",
    "known_speaker_references": _VOICE,
    "language": "en",
    "languages": "en",
    "seconds": 60,
    "strength": 0.5,
    "threshold": 0.6,
}
# What must stand beside a parameter for it to mean something.
BESIDE: dict[str, dict[str, Any]] = {
    "eagerness": {"type": "semantic_vad"},
    "known_speaker_names": {"known_speaker_references": [_VOICE], "response_format": "diarized_json"},
    "known_speaker_references": {"known_speaker_names": ["Ann"], "response_format": "diarized_json"},
}
NAMED = ("RealtimeFunctionToolParam", "Tool")  # a function needs a name, which the client's types do not say
SCALARS: dict[Any, Any] = {str: "text", int: 300, float: 1.0, bool: False}


@dataclass(frozen=True)
class Sample:
    """A value in which the parameter at `path` is used, and the same `without` it; MISSING: nothing is left."""

    path: str
    value: Any
    without: Any = MISSING


def samples(kind: Any, name: str = "") -> Iterator[Sample]:
    """At least one for every parameter in a type, and one for every value of a literal."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        yield from _of_fields(kind)
    elif origin is Literal:
        yield from (Sample("", value) for value in inner)
    elif origin in (Annotated, Required, NotRequired):
        yield from samples(inner[0], name)
    elif kind in SCALARS:
        yield Sample("", VALUES.get(name, SCALARS[kind]))
    elif origin is dict or not inner:
        yield Sample("", {})
    elif origin is not Union:
        for sample in samples(inner[0], name):
            left = sample.without
            yield Sample(sample.path, [sample.value], left if left is MISSING else [left])
    else:
        yield from _of_arms([arm for arm in inner if arm is not type(None)], name)


def _of_arms(arms: list[Any], name: str) -> Iterator[Sample]:
    """Of a union. Several objects are told apart by what they say they are."""
    objects = [arm for arm in arms if is_typeddict(arm)]
    for arm in arms:
        tag = f"[{_tag(arm)}]" if arm in objects and len(objects) > 1 else ""
        yield from (Sample(tag + sample.path, sample.value, sample.without) for sample in samples(arm, name))


def _of_fields(kind: Any) -> Iterator[Sample]:
    needed = _least(kind)
    for name, inner in get_type_hints(kind, include_extras=True).items():
        rest = {key: value for key, value in {**needed, **BESIDE.get(name, {})}.items() if key != name}
        for sample in samples(inner, name):
            without = rest if sample.without is MISSING else {**rest, name: sample.without}
            yield Sample(f".{name}{sample.path}", {**rest, name: sample.value}, without)


def _least(kind: Any, name: str = "") -> Any:
    """The smallest value of a type: of an object, what it must have, and what it says it is."""
    inner = get_args(kind)
    if is_typeddict(kind):
        fields = get_type_hints(kind, include_extras=True)
        required = {key: _least(fields[key], key) for key in fields if _is_needed(kind, key, fields[key])}
        return required | ({"name": "clock"} if kind.__name__ in NAMED else {})
    if get_origin(kind) in (Annotated, Required, NotRequired):
        return _least(inner[0], name)
    if get_origin(kind) is Union and any(map(is_typeddict, inner)):
        return _least(inner[0], name)
    if inner and get_origin(kind) not in (Literal, Union, dict):
        return [_least(inner[0], name)]
    return next(samples(kind, name)).value


def _is_needed(kind: Any, name: str, inner: Any) -> bool:
    """The class itself does not know all that is required where its annotations were text."""
    says = name == "type" and get_origin(inner) in (Literal, Required)
    return says or name in kind.__required_keys__ or get_origin(inner) is Required


def _tag(kind: Any) -> str:
    hints = get_type_hints(kind)
    said = [get_args(hints[name])[0] for name in ("type", "role") if get_origin(hints.get(name)) is Literal]
    return "/".join(said) or kind.__name__
