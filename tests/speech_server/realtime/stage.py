"""A session on a stage: time, what is heard and what the engines answer come from the test; every event is checked
against the openai package's own models."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, get_args

import numpy as np
import pydantic

from speech_server.domain import FRAME, RATE
from speech_server.realtime.protocol.config import SessionConfig
from speech_server.realtime.protocol.events import ProtocolError, parse_client_event
from speech_server.realtime.protocol.outputs import (
    Generate,
    Hush,
    JudgePause,
    Play,
    Pronounce,
    StopWork,
    Transcribe,
    Translate,
    Work,
    Written,
)
from speech_server.realtime.state.listening import Heard
from speech_server.realtime.state.session import Session

FRAME_MS = FRAME * 1000 / RATE


@cache
def server_events(kind: str) -> dict[str, type[pydantic.BaseModel]]:
    """`kind`: of a session, or `beta`."""
    if kind == "translation":
        from openai.types.realtime.realtime_translation_server_event import RealtimeTranslationServerEvent

        union = get_args(RealtimeTranslationServerEvent)[0]
    elif kind == "beta":
        from openai.types.beta.realtime.realtime_server_event import RealtimeServerEvent as BetaEvent

        union = get_args(BetaEvent)[0]
    else:
        from openai.types.realtime.realtime_server_event import RealtimeServerEvent

        union = get_args(RealtimeServerEvent)[0]
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(union)}


def check_event(event: dict[str, Any], *, beta: bool = False, kind: str = "realtime") -> dict[str, Any]:
    if event["type"] == "transcription_session.updated":
        return event  # the package's model wants a secret that only OpenAI's REST call gives out
    # The beta model of a session knows OpenAI's own models and voices only.
    hides = "session" in event and kind != "translation"
    shown = event | {"session": {**event["session"], "model": None}} if hides else event
    checked = server_events("beta" if beta else kind)[event["type"]].model_validate(shown, strict=not beta)
    assert not checked.model_extra, f"{event['type']} has unknown fields {checked.model_extra}"
    return event


class Stage:
    def __init__(self, *, beta: bool = False, plays: bool = False, longest_turn: float = 300, **update: Any) -> None:
        self.now = 1_000_000.0
        self.beta = beta
        self.samples = 0
        self.session = Session(
            SessionConfig(model="llm").updated(update),
            lambda: self.now,
            beta=beta,
            plays=plays,
            longest_turn=longest_turn,
        )
        self.working: dict[int, Transcribe | Translate] = {}
        self.pronouncing: list[Pronounce] = []
        self.generating: list[Generate] = []
        self.played: list[Play | Hush] = []
        self.asked: list[JudgePause] = []  # of pauses, and neither answered nor taken back

    def events(self) -> list[dict[str, Any]]:
        """Since the last call. Takes note of the work that was asked for, too."""
        for work in self.work():
            if isinstance(work, StopWork) and isinstance(work.work, int):
                del self.working[work.work]
            elif isinstance(work, StopWork):
                self.asked = [asked for asked in self.asked if asked.pause != work.work]
            elif isinstance(work, Pronounce):
                self.pronouncing.append(work)
            elif isinstance(work, Transcribe | Translate):
                self.working[work.job] = work
            elif isinstance(work, JudgePause):
                self.asked.append(work)
            elif isinstance(work, Generate):
                self.generating.append(work)
            elif isinstance(work, Play | Hush):
                self.played.append(work)
        events = self.session.take_events()
        self.beta = self.beta or any(event["type"].startswith("transcription_session") for event in events)
        return [check_event(event, beta=self.beta, kind=self.session.config.type) for event in events]

    def work(self) -> list[Work]:
        return self.session.take_work()

    def names(self) -> list[str]:
        return [event["type"] for event in self.events()]

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """A client event; the events that answer it."""
        self.obey(kind, **fields)
        return self.events()

    def obey(self, kind: str, **fields: Any) -> None:
        try:
            self.session.receive(parse_client_event(json.dumps({"type": kind, **fields})))
        except ProtocolError as error:
            self.session.refuse(error)

    def hear(self, ms: float, probability: float, *, step_ms: float = FRAME_MS) -> list[dict[str, Any]]:
        """`ms` of audio in which every frame has this probability; the clock runs with it."""
        events = []
        until = self.samples + int(ms * RATE / 1000)
        while self.samples < until:
            step = min(int(step_ms * RATE / 1000), until - self.samples)
            frames = (self.samples + step) // FRAME - self.samples // FRAME
            self.samples += step
            self.now += step / RATE
            # The value of each sample is its frame's probability: a test can see which samples were cut out.
            self.session.hear(Heard(np.full(step, probability, np.float32), (probability,) * frames))
            self.session.tick()
            events += self.events()
        return events

    def wait(self, ms: float) -> list[dict[str, Any]]:
        """Time passes, and no audio comes."""
        self.now += ms / 1000
        self.session.tick()
        return self.events()

    def say(self, ms: float) -> list[dict[str, Any]]:
        return self.hear(ms, 0.95)

    def be_silent(self, ms: float) -> list[dict[str, Any]]:
        return self.hear(ms, 0.02)

    def finals(self) -> list[Any]:
        return [work for work in self.working.values() if work.final]

    def guesses(self) -> list[Any]:
        return [work for work in self.working.values() if not work.final]

    def transcribe(self, text: str, *, final: bool = True, cost: float = 0.0, **more: Any) -> list[dict[str, Any]]:
        """The engine answers the oldest job of that kind."""
        work = next(work for work in self.working.values() if work.final == final)
        del self.working[work.job]
        self.now += cost
        self.session.transcribed(work.job, Written(text, len(work.samples) / RATE, **more))
        return self.events()

    def judge(self, *, finished: bool) -> list[dict[str, Any]]:
        """The turn model answers the one question."""
        (work,) = self.asked
        self.asked.clear()
        self.session.pause_judged(work.pause, finished)
        return self.events()

    def turn(self, text: str) -> list[dict[str, Any]]:
        """A whole turn: a second of speech, silence, the transcript."""
        events = [*self.say(1000), *self.be_silent(800)]
        return [*events, *self.transcribe(text)]


def named(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one event of that name."""
    found = [event for event in events if event["type"] == kind]
    assert len(found) == 1, f"{len(found)} of {kind} in {[event['type'] for event in events]}"
    return found[0]
