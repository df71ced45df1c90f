"""The engines of one process take turns on its cores: who has received least goes next."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

from speech_server.engines.queue.turnstile import Turnstile

LIMIT = 20.0


def test_no_more_steps_run_than_there_are_places():
    turnstile, lock = Turnstile(2), threading.Lock()
    inside = most = 0

    def step() -> None:
        nonlocal inside, most
        with turnstile.place(0.0):
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.001)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        assert not wait([pool.submit(step) for _ in range(40)], LIMIT).not_done
    assert most == 2


def test_who_has_received_least_goes_first():
    turnstile = Turnstile(1)
    order: list[float] = []
    begun = threading.Semaphore(0)

    def step(served: float) -> None:
        begun.release()
        with turnstile.place(served):
            order.append(served)

    with ThreadPoolExecutor(3) as pool:
        with turnstile.place(0.0):
            steps = [pool.submit(step, served) for served in (9000.0, 50.0, 1000.0)]
            for _ in steps:
                assert begun.acquire(timeout=LIMIT)
            while len(turnstile._line) < 3:
                threading.Event().wait(0.001)
        assert not wait(steps, LIMIT).not_done
    assert order == [50.0, 1000.0, 9000.0]


def test_a_step_that_fails_leaves_its_place():
    turnstile = Turnstile(1)
    for _ in range(2):
        try:
            with turnstile.place(0.0):
                raise ValueError
        except ValueError:
            pass
    with turnstile.place(0.0):
        pass


def test_who_need_not_wait_keeps_the_next_waiting():
    turnstile = Turnstile(1)
    entered = threading.Event()

    def step() -> None:
        with turnstile.place(0.0):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with turnstile.place(0.0), turnstile.extra_place():
            waiting = pool.submit(step)
            while not turnstile._line:
                threading.Event().wait(0.001)
        assert not wait([waiting], LIMIT).not_done
        entered.clear()
        with turnstile.extra_place():
            waiting = pool.submit(step)
            while not turnstile._line:
                threading.Event().wait(0.001)
            assert not entered.is_set()
        assert not wait([waiting], LIMIT).not_done
