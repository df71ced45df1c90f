"""Everything the newest openai client can send is accepted, refused, or documented as ignored: nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from openai.types.realtime.audio_transcription_param import AudioTranscriptionParam

from speech_server.models.catalog.aliases import openai_family
from tests.openai_surface import BARE, NOT_THERE, PAGE, RULES, SURFACES, methods, outcomes, page, verdict
from tests.openai_types import samples


def literals(kind: Any) -> Iterator[Any]:
    for inner in get_args(kind):
        yield from [inner] if get_origin(kind) is Literal else literals(inner)


BECOMES = {"accepted": {"taken"}, "refused": {"refused"}, "ignored": {"taken", "dropped"}}


@pytest.mark.parametrize("method", SURFACES)
def test_every_parameter_becomes_what_the_documents_say(method: str):
    found = {name: became for name, became in outcomes().items() if name.startswith(f"{method}: ")}
    assert found
    unexpected = {name: became for name, became in found.items() if not became <= BECOMES[verdict(name)]}
    assert unexpected == {}, "new or changed: accept it, refuse it, or list it in RULES with a reason"


def test_every_rule_is_about_something_that_the_client_can_send():
    assert [rule.shown for rule in RULES if not any(re.fullmatch(rule.pattern, name) for name in outcomes())] == []


def test_every_method_is_served_or_known_not_to_be_there():
    unknown = [
        method
        for method in methods()
        if method not in {*SURFACES, *BARE} and not any(re.fullmatch(pattern, method) for pattern in NOT_THERE)
    ]
    assert unknown == [], "new in the client: serve it, or list it in NOT_THERE with a reason"


def test_every_model_that_hears_or_speaks_is_known_by_its_name():
    names = {
        sample.value["model"]
        for method in ("audio.transcriptions.create", "audio.translations.create", "audio.speech.create")
        for kind, _ in SURFACES[method]
        for sample in samples(kind)
        if sample.path == ".model"
    } | set(literals(get_type_hints(AudioTranscriptionParam)["model"]))
    assert len(names) > 10
    assert {name for name in names if name != "text" and openai_family(name) is None} == set()


def test_the_page_has_the_counts_and_reasons_of_this_client():
    text = PAGE.read_text()
    assert page(text) == text, "run python -m tests.openai_surface"
