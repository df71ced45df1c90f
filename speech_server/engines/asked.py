"""What is asked of an engine, checked: the languages of transcribers, the languages and speeds of voices."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from speech_server.errors import InvalidRequest

SPEEDS = (0.25, 4.0)  # OpenAI's


def check_heard(language: str | None, known: Collection[str]) -> None:
    """A transcriber hears the languages it knows; None is one that it finds out."""
    if language is not None and language not in known:
        raise InvalidRequest(
            f"the model does not know the language '{language}': use one of {', '.join(sorted(known))}",
            param="language",
        )


def unknown_voice(name: str, there_are: Iterable[str], default: str) -> InvalidRequest:
    """`default`: what OpenAI's names mean."""
    return InvalidRequest(
        f"voice '{name[:100]}' is not known: this model has {', '.join(islice(there_are, 200))}"
        f" (OpenAI's names, as alloy, mean its {default} voice)",
        param="voice",
        code="unknown_voice",
    )


def check_spoken(language: str | None, own: str) -> None:
    """A voice reads its own language, of any country."""
    if language and _family(language) != _family(own):
        raise InvalidRequest(
            f"language '{language[:40]}' is not this voice's: it speaks {_family(own)}", param="language"
        )


def _family(language: str) -> str:
    """en of en-US, en_GB and en"""
    return language.strip().lower().replace("_", "-").partition("-")[0]


def split_speed(speed: float, own: tuple[float, float]) -> tuple[float, float]:
    """(the speed a model speaks at, how much its sound is sped up after that). Raises InvalidRequest.

    What is stretched was spoken at the voice's own pace, not at the limit of what the model does: it is understood
    better, its length is exactly as asked, and it is no more work than any other speech.
    """
    low, high = SPEEDS
    if not low <= speed <= high:
        raise InvalidRequest(f"speed {speed:g} is outside what a voice can do: {low:g} to {high:g}", param="speed")
    slowest, fastest = own
    return (speed, 1.0) if slowest <= speed <= fastest else (1.0, speed)
