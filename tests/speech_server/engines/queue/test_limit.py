"""Where memory ran out, batches are smaller; after a while they may be larger again."""

from __future__ import annotations

from speech_server.engines.queue.limit import BatchLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_half_of_what_was_too_many_and_no_more_than_before():
    limit = BatchLimit(32, Clock())
    assert limit.now == 32
    assert [limit.too_many(32), limit.too_many(32), limit.too_many(16), limit.too_many(5)] == [16, 16, 8, 2]
    assert [limit.too_many(2), limit.too_many(1), limit.now] == [1, 1, 1]


def test_every_ten_minutes_without_trouble_twice_as_many():
    clock = Clock()
    limit = BatchLimit(12, clock)
    limit.too_many(5)
    seen = []
    for minutes in (0, 9, 10, 20, 30, 10_000_000):
        clock.now = 60.0 * minutes
        seen.append(limit.now)
    assert seen == [2, 2, 4, 8, 12, 12]


def test_trouble_begins_the_time_anew():
    clock = Clock()
    limit = BatchLimit(16, clock)
    limit.too_many(16)
    clock.now = 600.0
    limit.too_many(16)
    assert limit.now == 8
    clock.now = 1199.0
    assert limit.now == 8
