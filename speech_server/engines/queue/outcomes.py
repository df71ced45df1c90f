"""How a step ended, and how those who wait for its works are told."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from speech_server.engines.queue.fair_queue import Work

T = TypeVar("T")
R = TypeVar("R")


class Outcome:
    """Takes whatever its block raises: the thread goes on, and `error` is for those who wait."""

    error: BaseException | None = None

    def __enter__(self) -> Outcome:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self.error = error
        return True


def fail(work: Work[T, R], error: Exception) -> None:
    with suppress(InvalidStateError):  # it was cancelled meanwhile
        work.future.set_exception(error)


def end_spans(batch: Sequence[Work[T, R]], error: BaseException | None) -> None:
    """The traces of those whose turn ends with `batch`; what was put back or set aside has ended its own."""
    for work in batch:
        if work.turn is batch:
            work.span.note({"speech.batch.size": len(batch)})
            if error is not None:
                work.span.fail(type(error).__name__)
            work.rest()


def told(error: BaseException | None) -> Exception:
    """As a coroutine can be told: StopIteration cannot be raised into one, SystemExit would end its event loop."""
    if error is None:
        return RuntimeError("the engine left this work undone")
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    reason = RuntimeError(f"the engine ended with {error!r}")
    reason.__cause__ = error
    return reason
