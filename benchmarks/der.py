"""Diarization error rate, without a collar and with overlapped speech counted (NIST's md-eval, -c 0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from speech_server.domain import SpeakerTurn

_STEP = 0.01  # seconds


@dataclass(frozen=True)
class ErrorRate:
    """Shares of the speech there is: not found, found where there is none, given to somebody else."""

    missed: float
    false_alarm: float
    confused: float
    names: dict[str, str]  # who each found speaker is

    @property
    def whole(self) -> float:
        return self.missed + self.false_alarm + self.confused


def error_rate(truth: Sequence[SpeakerTurn], found: Sequence[SpeakerTurn]) -> ErrorRate:
    length = max((turn.end for turn in (*truth, *found)), default=0.0)
    people, said = _grid(truth, length)
    speakers, heard = _grid(found, length)
    together = said.astype(np.int64) @ heard.T.astype(np.int64)
    rows, columns = linear_sum_assignment(-together)
    right = int(together[rows, columns].sum())
    true, guessed = said.sum(axis=0), heard.sum(axis=0)
    speech = int(true.sum())
    names = {speakers[column]: people[row] for row, column in zip(rows, columns, strict=True)}
    return ErrorRate(
        missed=np.maximum(true - guessed, 0).sum() / speech,
        false_alarm=np.maximum(guessed - true, 0).sum() / speech,
        confused=(np.minimum(true, guessed).sum() - right) / speech,
        names=names,
    )


def _grid(turns: Sequence[SpeakerTurn], length: float) -> tuple[list[str], NDArray[np.bool_]]:
    """(people, cells): who speaks in each hundredth of a second."""
    people = sorted({turn.speaker for turn in turns})
    grid = np.zeros((len(people), round(length / _STEP) + 1), bool)
    for turn in turns:
        grid[people.index(turn.speaker), round(turn.start / _STEP) : round(turn.end / _STEP)] = True
    return people, grid
