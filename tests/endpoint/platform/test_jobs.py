"""The client of the jobs API: nothing that was sent is left running unknown, and nothing is lost on a bad network."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from endpoint.errors import PlatformRefused, Unreachable
from endpoint.platform.jobs import Jobs, Piece, open_jobs
from endpoint.where import find

pytestmark = pytest.mark.anyio

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOST = object()  # an answer that does not arrive


@asynccontextmanager
async def platform(**answers: Answer) -> AsyncIterator[Jobs]:
    """A platform that answers each call in its own way; `cancel` is the name for /cancel/ID."""
    app = web.Application()
    app.add_routes([web.route("*", f"/v2/x/{name}{{rest:.*}}", answer) for name, answer in answers.items()])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with open_jobs(find(f"http://127.0.0.1:{runner.addresses[0][1]}/v2/x", {})) as jobs:
            yield jobs
    finally:
        await runner.cleanup()


def says(*answers: Any) -> Answer:
    """One answer after the other, the last for good: JSON, a status, or LOST."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        said = left.pop(0) if len(left) > 1 else left[0]
        if said is LOST:
            assert request.transport
            request.transport.abort()
        if isinstance(said, int):
            return web.json_response({}, status=said)
        return web.json_response(said if said is not LOST else {})

    return answer


def pieces(*outputs: Any, status: str = "IN_PROGRESS") -> dict[str, Any]:
    return {"status": status, "stream": [{"output": output} for output in outputs]}


def completed(output: Any) -> dict[str, Any]:
    return {"id": "j1", "status": "COMPLETED", "output": output}


async def streamed(jobs: Jobs) -> list[Any]:
    return [seen.output async for seen in jobs.follow("j1", streams=True, pauses=(0, 0)) if isinstance(seen, Piece)]


async def test_a_job_whose_id_was_still_on_its_way_is_cancelled_with_the_wait():
    asked, answer, cancelled = asyncio.Event(), asyncio.Event(), []

    async def run(_: web.Request) -> web.Response:
        asked.set()
        await answer.wait()
        return web.json_response({"id": "j1", "status": "IN_QUEUE"})

    async def cancel(request: web.Request) -> web.Response:
        cancelled.append(request.match_info["rest"])
        return web.json_response({"id": "j1", "status": "CANCELLED"})

    async with platform(run=run, cancel=cancel) as jobs:
        waiting = asyncio.create_task(jobs.run({"input": {}}))
        await asked.wait()
        waiting.cancel()
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert cancelled == ["/j1"]


@pytest.mark.parametrize("trouble", [LOST, 500, 503, 429])
async def test_a_question_that_was_not_answered_is_asked_again(trouble: Any):
    async with platform(status=says(trouble, trouble, completed("words"))) as jobs:
        assert (await jobs.status("j1")).output == "words"


async def test_what_can_never_be_answered_is_asked_once():
    async with platform(status=says(404, completed("words"))) as jobs:
        with pytest.raises(PlatformRefused):
            await jobs.status("j1")


def sound(text: str) -> dict[str, Any]:
    return {"content_type": "audio/wav", "audio_content": base64.b64encode(text.encode()).decode()}


DELTA, DONE = {"type": "transcript.text.delta"}, {"type": "transcript.text.done"}


@pytest.mark.parametrize("trouble", [LOST, 502])
@pytest.mark.parametrize(
    ("first", "whole", "rest"),
    [
        ("a", ["a", "b", "c"], ["b", "c"]),
        (sound("ab"), sound("abcde"), [sound("cde")]),
        ({"text": "ab"}, {"text": "abcde", "content_type": "text/vtt"}, [{"text": "cde"}]),
        (DELTA | {"delta": "ab"}, {"text": "abcde"}, [DELTA | {"delta": "cde"}, DONE | {"text": "abcde"}]),
    ],
)
async def test_pieces_that_were_lost_on_the_way_come_with_the_end(trouble: Any, first: Any, whole: Any, rest: Any):
    stream = says(pieces(first), trouble, pieces("lost", status="COMPLETED"), pieces(status="COMPLETED"))
    async with platform(stream=stream, status=says(completed(whole))) as jobs:
        assert await streamed(jobs) == [first, *rest]


async def test_a_platform_that_is_busy_has_lost_nothing():
    stream = says(pieces("a"), 429, pieces("b"), pieces(status="COMPLETED"))
    async with platform(stream=stream, status=says(completed("no list"))) as jobs:
        assert await streamed(jobs) == ["a", "b"]


async def test_what_is_lost_for_good_is_no_end():
    async with platform(stream=says(pieces("a"), LOST), status=says(completed("no list"))) as jobs:
        with pytest.raises(Unreachable, match="lost on the way"):
            await streamed(jobs)


async def test_sound_of_two_workers_is_no_answer():
    """The first was lost in the middle; the platform gave the job to another, which began it anew."""
    stream = says(pieces(sound("ab"), sound("abcde")), pieces(status="COMPLETED"))
    async with platform(stream=stream, status=says(completed(sound("abcde")))) as jobs:
        with pytest.raises(Unreachable, match="began it anew"):
            await streamed(jobs)
