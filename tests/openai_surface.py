"""What the installed openai client can send, and what becomes of it here: found out by sending it to our own parsers.

python -m tests.openai_surface        rewrites the tables of docs/openai.md

A parameter is refused when our parser raises, and dropped when what it makes of the request is the same without it.
What is dropped, or taken and without effect, must be listed in RULES, with a reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, Union, get_args

import openai
from openai._resource import SyncAPIResource
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.audio.transcription_create_params import TranscriptionCreateParams
from openai.types.audio.translation_create_params import TranslationCreateParams
from openai.types.beta.realtime.session_create_params import SessionCreateParams
from openai.types.beta.realtime.transcription_session_create_params import TranscriptionSessionCreateParams
from openai.types.chat.chat_completion_assistant_message_param import Audio as AnswerParam
from openai.types.chat.chat_completion_audio_param import ChatCompletionAudioParam
from openai.types.chat.chat_completion_content_part_input_audio_param import ChatCompletionContentPartInputAudioParam
from openai.types.realtime.call_create_params import CallCreateParams
from openai.types.realtime.client_secret_create_params import ClientSecretCreateParams
from openai.types.realtime.realtime_client_event_param import RealtimeClientEventParam
from openai.types.realtime.realtime_connect_params import RealtimeConnectParams
from openai.types.realtime.realtime_translation_client_event_param import RealtimeTranslationClientEventParam
from openai.types.realtime.response_create_event_with_references_param import ResponseCreateEventWithReferencesParam
from openai.types.realtime.translations.client_secret_create_params import (
    ClientSecretCreateParams as TranslationSecretCreateParams,
)
from pydantic import ValidationError
from typing_extensions import TypedDict

from speech_server.chat.request import ChatRequest
from speech_server.errors import InvalidRequest
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.dialect import ga_patch
from speech_server.realtime.protocol.events import ProtocolError, parse_client_event
from speech_server.routes.bodies.audio_form import AUDIO, collect
from speech_server.routes.bodies.transcription_form import TranscriptionForm
from speech_server.routes.realtime.client_secrets import (
    BetaSecretRequest,
    SecretRequest,
    session_with,
    translation_with,
)
from speech_server.routes.realtime.sessions import RealtimeQuery
from speech_server.routes.speech import SpeechRequest
from tests.conftest import ROOT
from tests.openai_types import MISSING, Sample, samples

PAGE = ROOT / "docs" / "openai.md"
BEGIN, END = "<!-- written by python -m tests.openai_surface -->", "<!-- end -->"
Verdict = Literal["accepted", "refused", "ignored"]


@dataclass(frozen=True)
class Rule:
    """Parameters, by a pattern of their whole paths, that are not simply accepted."""

    shown: str
    pattern: str
    verdict: Verdict
    reason: str


RULES = (
    Rule("MCP tools, their approvals and calls", r".*\[mcp.*", "refused",
         "no server of tools is called: use functions"),
    Rule("`prompt` of a session or response",
         r".*(session\[realtime\]|calls\.create: session|response)\.prompt\..*", "refused",
         "a prompt that OpenAI keeps is not known here: send its text as `instructions`"),
    Rule("`call_id`", r"realtime\.connect: call_id", "refused",
         "nobody joins a call: its events pass over its own data channel"),
    Rule("`instructions` of speech", r"audio\.speech.*: instructions", "ignored",
         "no voice here has a style to change"),
    Rule("`noise_reduction`", r".*noise_reduction.*", "ignored",
         "there is no filter: Whisper and the voice detector hear what the microphone gives"),
    Rule("`delay` of a transcription", r".*transcription\.delay", "ignored",
         "a word is sent when two guesses agree on it; there is nothing to choose"),
    Rule("`truncation`", r".*\.truncation.*", "ignored",
         "always as `auto`: the oldest of more than 256 items, or a million characters, are forgotten"),
    Rule("`tracing`", r".*\btracing.*", "ignored", "nothing is traced"),
    Rule("`object` and `status` of items", r".*(item|input)\[\w+(/\w+)?\]\.(object|status)", "ignored",
         "an item from a client is always complete"),
    Rule("`audio` of an assistant's message", r".*\[message/assistant\]\.content\.audio", "ignored",
         "the language model reads its `transcript`"),
    Rule("`format` of `input_audio` in a chat", r"chat.*input_audio\.format", "ignored",
         "found out from the sound itself"),
    Rule("`prompt_cache_breakpoint` of `input_audio`", r"chat.*prompt_cache_breakpoint.*", "ignored",
         "the part becomes text before the language model sees it"),
    Rule("`modalities` of a transcription session", r".*transcription_sessions.*: modalities", "ignored",
         "it gives no responses"),
)  # fmt: skip
# Served, and without parameters.
BARE = {"beta.realtime.connect", "realtime.calls.hangup"}
# What else the client can call, and why it is not there.
NOT_THERE = {
    r"audio\.(voices|voice_consents)\..*": "voices are installed as models, not made from recordings",
    r"realtime\.calls\.(accept|refer|reject)": "no SIP: there is nothing to accept, pass on or reject",
}


# --- what our parsers make of a request ---


def form(fields: dict[str, Any]) -> object:
    """As the client writes a multipart form."""
    sent: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            sent += [(f"{name}[{key}]", str(inner)) for key, inner in value.items()]
        elif isinstance(value, list):
            sent += [(f"{name}[]", str(inner)) for inner in value]
        elif name not in AUDIO:
            sent.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    return TranscriptionForm(**collect(sent)).model_dump(exclude_unset=True), AUDIO & fields.keys()


def speech(body: dict[str, Any]) -> object:
    return SpeechRequest(**body).model_dump(exclude_unset=True)


def chat(body: dict[str, Any]) -> object:
    parts = body.get("messages", [{"role": "user", "content": "Hi"}])
    return ChatRequest(**{"model": "some-llm", **body, "messages": parts}).model_dump(exclude_unset=True)


def session(patch: Mapping[str, Any]) -> object:
    session_with(patch)  # as an update, which is how it is used
    ga = ga_patch(patch)
    turns = ga.get("audio", {}).get("input", {}).get("turn_detection")
    if turns:
        ga["audio"]["input"]["turn_detection"] = {"type": "server_vad", **turns}
    return SessionConfig.model_validate(ga).model_dump(exclude_unset=True)


def translation(patch: Mapping[str, Any]) -> object:
    translation_with(patch)
    return SessionConfig.model_validate({"type": "translation", **patch}).model_dump(exclude_unset=True)


def translation_secret(body: dict[str, Any]) -> object:
    return SecretRequest(**body).model_dump(exclude_unset=True), translation(body.get("session", {}))


def translation_event(body: dict[str, Any]) -> object:
    parsed = parse_client_event(json.dumps(body)).model_dump(exclude_unset=True)
    return parsed, translation(body.get("session", {}))


def call(body: dict[str, Any]) -> object:
    return body.get("sdp"), session(body.get("session", {}))


def secret(body: dict[str, Any]) -> object:
    return SecretRequest(**body).model_dump(exclude_unset=True), session(body.get("session", {}))


def beta(kind: str, body: dict[str, Any]) -> object:
    request = BetaSecretRequest(**body)
    return request.model_dump(exclude_unset=True), session({**(request.model_extra or {}), "type": kind})


def event(body: dict[str, Any]) -> object:
    parsed = parse_client_event(json.dumps(body)).model_dump(exclude_unset=True)
    return parsed, session(body.get("session", {}))


def query(parameters: dict[str, Any]) -> object:
    return RealtimeQuery(**parameters).model_dump(exclude_unset=True)


class ChatParams(TypedDict, total=False):
    """The audio of a chat completion; all else goes to the language model as it is."""

    audio: ChatCompletionAudioParam
    modalities: list[Literal["text", "audio"]]


class TranslationQuery(TypedDict):
    """What `connect` takes, for which the client has no type."""

    model: str


class Heard(TypedDict):
    messages: list[ChatCompletionContentPartInputAudioParam]


class Said(TypedDict):
    messages: list[AnswerParam]


SURFACES: dict[str, list[tuple[Any, Callable[[dict[str, Any]], object]]]] = {
    "audio.transcriptions.create": [(kind, form) for kind in get_args(TranscriptionCreateParams)],
    "audio.translations.create": [(TranslationCreateParams, form)],
    "audio.speech.create": [(SpeechCreateParams, speech)],
    "chat.completions.create": [(ChatParams, chat), (Heard, chat), (Said, chat)],
    "realtime.connect": [
        (RealtimeConnectParams, query),
        (Union[ResponseCreateEventWithReferencesParam, *get_args(RealtimeClientEventParam)], event),
    ],
    "realtime.calls.create": [(CallCreateParams, call)],
    "realtime.client_secrets.create": [(ClientSecretCreateParams, secret)],
    "realtime.translations.connect": [
        (TranslationQuery, query),
        (RealtimeTranslationClientEventParam, translation_event),
    ],
    "realtime.translations.client_secrets.create": [(TranslationSecretCreateParams, translation_secret)],
    "beta.realtime.sessions.create": [(SessionCreateParams, partial(beta, "realtime"))],
    "beta.realtime.transcription_sessions.create": [(TranscriptionSessionCreateParams, partial(beta, "transcription"))],
}


def outcome(sample: Sample, parse: Callable[[dict[str, Any]], object]) -> Literal["refused", "dropped", "taken"]:
    try:
        whole = parse(sample.value)
    except (ValidationError, InvalidRequest, ProtocolError):
        return "refused"
    try:
        return "dropped" if sample.without is not MISSING and parse(sample.without) == whole else "taken"
    except (ValidationError, InvalidRequest, ProtocolError):
        return "taken"  # it is required here too


@cache
def outcomes() -> Mapping[str, set[str]]:
    """Path of each parameter, with its method -> what became of the requests that used it."""
    found: dict[str, set[str]] = {}
    for method, kinds in SURFACES.items():
        for kind, parse in kinds:
            for sample in samples(kind):
                found.setdefault(f"{method}: {sample.path.lstrip('.')}", set()).add(outcome(sample, parse))
    return found


def verdict(parameter: str) -> Verdict:
    rule = next((rule for rule in RULES if re.fullmatch(rule.pattern, parameter)), None)
    return rule.verdict if rule else "accepted"


def methods() -> Iterator[str]:
    """Everything that the client can do with sound."""
    with openai.OpenAI(api_key="none") as client:
        for place, resource in (("audio", client.audio), ("realtime", client.realtime)):
            yield from _methods(resource, place)
        yield from _methods(client.beta.realtime, "beta.realtime")


def _methods(resource: object, place: str) -> Iterator[str]:
    for name in dir(type(resource)):
        if name.startswith(("_", "with_")):
            continue
        inner = getattr(resource, name)
        if isinstance(inner, SyncAPIResource):
            yield from _methods(inner, f"{place}.{name}")
        elif callable(inner):
            yield f"{place}.{name}"


def tables() -> str:
    """What stands in docs/openai.md between the marks."""
    counts = Counter((parameter.partition(":")[0], verdict(parameter)) for parameter in outcomes())
    kinds: tuple[Verdict, ...] = ("accepted", "refused", "ignored")
    lines = [
        f"With `openai` {openai.__version__}:",
        "",
        "| method | accepted | refused | ignored |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{method}` | {' | '.join(str(counts[method, kind]) for kind in kinds)} |" for method in SURFACES]
    totals = " | ".join(str(sum(counts[method, kind] for method in SURFACES)) for kind in kinds)
    lines += [f"| all | {totals} |", "", "| refused or ignored | | because |", "|---|---|---|"]
    lines += [f"| {rule.shown} | {rule.verdict} | {rule.reason} |" for rule in RULES]
    lines += ["", "| not there | because |", "|---|---|"]
    for pattern, reason in NOT_THERE.items():
        missing = ", ".join(f"`{method}`" for method in sorted(methods()) if re.fullmatch(pattern, method))
        lines.append(f"| {missing} | {reason} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with the tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
