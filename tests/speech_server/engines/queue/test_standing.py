"""A caller that hangs up is behind the others for a while, and never for long."""

from __future__ import annotations

from contextvars import copy_context

import pytest

from speech_server.engines.queue import standing
from speech_server.engines.queue.standing import Standing, caller


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def debts(clock: Clock) -> Standing:
    return Standing(clock)


def of(debts: Standing, who: str, *, hangs_up: int = 0) -> float:
    def ask() -> float:
        caller.set(who)
        for _ in range(hangs_up):
            debts.hang_up()
        return debts.debt()

    return copy_context().run(ask)


def test_only_who_hung_up_is_behind(debts: Standing):
    assert of(debts, "10.0.0.1", hangs_up=2) > of(debts, "10.0.0.2", hangs_up=1) > of(debts, "10.0.0.3") == 0


def test_it_is_forgotten(debts: Standing, clock: Clock):
    before = of(debts, "10.0.0.1", hangs_up=1)
    clock.now += 10
    assert of(debts, "10.0.0.1") == pytest.approx(before / 2)
    clock.now += 1000
    assert of(debts, "10.0.0.1") < 1e-9


def test_it_has_a_limit(debts: Standing):
    assert of(debts, "10.0.0.1", hangs_up=10_000) == standing._MOST


def test_it_remembers_a_bounded_number_of_callers(debts: Standing):
    for number in range(3 * standing._CALLERS):
        of(debts, f"10.0.{number // 256}.{number % 256}", hangs_up=1)
    assert len(debts._debts) == standing._CALLERS
    assert of(debts, "10.0.0.0") == 0
