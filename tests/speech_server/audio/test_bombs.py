"""Small files that would be long work are refused after little of it, and stopped wherever they are."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest

from speech_server.audio import decode
from speech_server.errors import InvalidRequest, RequestTooLarge
from tests.speech_server.audio import bombs
from tests.speech_server.audio.making import make

HOUR = decode.Limits(3600)
ENDLESS = decode.Limits(3600, packets=10**9)


@pytest.mark.parametrize("size", [0, 1])
def test_packets_that_give_no_sound_are_refused(size: int):
    data = bombs.packets(200_000, size=size, per_chunk=200 if size else 1)
    with pytest.raises(RequestTooLarge, match="1000 packets"):
        list(decode.stream(io.BytesIO(data), HOUR))


def test_packets_are_counted_against_the_sound_that_came_out():
    with pytest.raises(RequestTooLarge):
        list(decode.stream(io.BytesIO(make("mp3", seconds=20.0)), decode.Limits(3600, packets=20, ahead=1)))
    list(decode.stream(io.BytesIO(make("mp3", seconds=20.0)), decode.Limits(3600, packets=50, ahead=1)))


def test_bytes_that_are_read_again_and_again_are_refused():
    with pytest.raises(RequestTooLarge, match="reading"):
        list(decode.stream(io.BytesIO(bombs.packets(9_000, apart=100_000)), HOUR))


def test_a_file_may_always_be_read_through():
    data = make("wav", seconds=30.0)
    assert sum(map(len, decode.stream(io.BytesIO(data), decode.Limits(3600, bytes=1)))) == 30 * 16_000


def test_work_without_sound_comes_in_short_steps():
    blocks = decode.stream(io.BytesIO(bombs.packets(200_000)), ENDLESS)
    assert [len(next(blocks)) for _ in range(3)] == [0, 0, 0]
    blocks.close()  # type: ignore[attr-defined]


def test_a_stop_ends_it_in_the_middle():
    stop = threading.Event()
    blocks = decode.stream(io.BytesIO(bombs.packets(200_000)), ENDLESS, stop)
    next(blocks)
    stop.set()
    assert list(blocks) == []


def test_a_stop_ends_a_call_that_reads():
    stop, file = threading.Event(), io.BytesIO(make("mp3", seconds=300.0))

    class Ends(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            if self.reads == 5:
                stop.set()
            return super().read(size)

    source = Ends(file.getvalue())
    assert sum(map(len, decode.stream(source, HOUR, stop))) < 100 * 16_000
    assert source.reads == 5


def test_tags_in_the_midst_of_ogg_are_refused_before_they_are_read():
    with pytest.raises(RequestTooLarge, match="between two packets"):
        list(decode.stream(io.BytesIO(bombs.chained_ogg(20_000)), HOUR))
    assert sum(map(len, decode.stream(io.BytesIO(bombs.chained_ogg(20)), HOUR))) > 4 * 16_000


def test_tags_in_the_midst_of_ogg_are_refused_on_the_way_to_a_clip():
    opus = make("opus", seconds=60.0)
    for start in (3.0, 30.0, 59.0, 90.0):
        with pytest.raises(RequestTooLarge, match="between two packets"):
            list(decode.stream(io.BytesIO(opus + bombs.chained_ogg(20_000)), HOUR, start=start))


@pytest.mark.parametrize(
    "bomb", [bombs.claiming_wav, lambda: bombs.many_tracks(5_000), lambda: bombs.packets(1_000, rate=0)]
)
def test_what_claims_too_much_is_refused(bomb: Callable[[], bytes]):
    with pytest.raises(InvalidRequest):
        list(decode.stream(io.BytesIO(bomb()), HOUR))


def test_empty_packets_cost_nothing():
    assert sum(map(len, decode.stream(io.BytesIO(bombs.empty_ogg_packets(500_000)), HOUR))) < 16_000
