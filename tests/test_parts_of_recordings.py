"""A clip of a recording that stays where it is: the samples are those of the whole, the bytes those of its part.

The two sides are those of a job: the worker lends, the server's decoder reads; between them is HTTP.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from speech_server.audio import decode
from speech_server.audio.lent.file import Lent
from speech_server.audio.vetting import vet
from speech_server.domain import Clip, Samples
from speech_server.hearing.clip import Clipper, Cut, clipped
from tests.ranged_server import Ranged, served
from tests.speech_server.audio.making import sweep
from worker.job.lending import Lender
from worker.job.media import open_media
from worker.job.parse import MediaSource
from worker.settings import Settings

SECONDS, LIMITS = 160.0, decode.Limits(3600)
CLIP = Clip(100.0, 112.0, zone=2.0)
KEY = "a-key"

# container, its options, codec, rate, the codec's options
VARIABLE = {"compression_level": "7", "abr": "1", "b": "128k"}
KINDS: dict[str, tuple[str, dict[str, str], str, int, dict[str, str]]] = {
    "wav": ("wav", {}, "pcm_s16le", 16_000, {}),
    "flac": ("flac", {}, "flac", 44_100, {}),
    "m4a, its index last": ("ipod", {}, "aac", 44_100, {"b": "160k"}),
    "m4a, its index first": ("ipod", {"movflags": "faststart"}, "aac", 44_100, {"b": "160k"}),
    "ogg opus": ("ogg", {}, "libopus", 48_000, {"b": "160k", "vbr": "off"}),
    "webm opus": ("webm", {}, "libopus", 48_000, {"b": "160k", "vbr": "off"}),
    "mp3, constant": ("mp3", {}, "libmp3lame", 44_100, {"b": "128k"}),
    "mp3, variable": ("mp3", {}, "libmp3lame", 44_100, VARIABLE),
    "mp3, variable without a table": ("mp3", {"write_xing": "0"}, "libmp3lame", 44_100, VARIABLE),
}
# Only who has read all before knows the time of what follows.
READ_FROM_THE_BEGINNING = {kind for kind in KINDS if kind.startswith(("webm", "mp3"))}
# AAC fills noise in anew each time it is decoded.
ALIKE = {"m4a, its index last": 0.995, "m4a, its index first": 0.995}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("recordings")

    @cache
    def make(kind: str) -> Path:
        container, options, codec, rate, codec_options = KINDS[kind]
        path = folder / kind
        with av.open(str(path), "w", format=container, options=options) as output:
            track = output.add_stream(codec, rate=rate, options=codec_options)
            assert isinstance(track, av.AudioStream)
            track.layout = "mono"
            frame = av.AudioFrame.from_ndarray(sweep(SECONDS, rate).reshape(1, -1), "s16", "mono")
            frame.sample_rate = rate
            output.mux(track.encode(frame))
            output.mux(track.encode(None))
        return path

    return make


@contextmanager
def lent(source: MediaSource, settings: Settings) -> Iterator[Lent]:
    """As the server has it; what lends it runs on a loop of its own, as the worker does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = AsyncExitStack()

    def ran(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    async def begin() -> str:
        lender = Lender(KEY)
        stack.push_async_callback(lender.close)
        (file,) = await stack.enter_async_context(open_media((source,), settings, lender))
        return file.content_type

    try:
        file = Lent(ran(begin()), KEY)
        try:
            yield file
        finally:
            file.end()
    finally:
        ran(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def heard(source: Any) -> Samples:
    """What the server hears of it."""
    blocks = decode.stream(source, LIMITS, start=CLIP.needed_from)
    parts = clipped(blocks, Clipper(CLIP, round(CLIP.needed_from * 16_000)))
    return np.concatenate([part for part in parts if not isinstance(part, Cut)])


@cache
def of_the_whole(path: Path) -> Samples:
    parts = clipped(decode.stream(path, LIMITS), Clipper(CLIP))
    return np.concatenate([part for part in parts if not isinstance(part, Cut)])


def assert_alike(kind: str, samples: Samples, expected: Samples) -> None:
    assert len(samples) == len(expected)
    if kind in ALIKE:
        assert np.corrcoef(samples, expected)[0, 1] > ALIKE[kind]
    else:
        np.testing.assert_array_equal(samples, expected)


trusting = partial(Settings, allow_private_urls=True)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_a_url_is_that_of_the_whole_and_fetches_its_part(made: Any, kind: str, ranges: bool):
    path = made(kind)
    with served(Ranged(path.read_bytes(), ranges=ranges)) as server:
        source = MediaSource("url", f"{server.url}/{path.name.replace(' ', '_')}", "file", None, "input.file_url")
        with lent(source, trusting()) as file:
            asyncio.run(vet(file))
            samples = heard(file)
    assert_alike(kind, samples, of_the_whole(path))
    assert server.sent <= len(server.data)
    if not ranges:
        assert len(server.asked) == 1
    elif kind not in READ_FROM_THE_BEGINNING:  # a few blocks, which are much of this short file
        assert server.sent < 0.75 * len(server.data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_a_file_on_the_volume_is_that_of_the_whole(made: Any, kind: str):
    path = made(kind)
    with lent(
        MediaSource("path", path.name, "file", None, "input.file_path"), Settings(volume=str(path.parent))
    ) as file:
        asyncio.run(vet(file))
        samples = heard(file)
    assert_alike(kind, samples, of_the_whole(path))
