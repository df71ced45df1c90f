"""A client that leaves before it is answered has its next requests wait behind those of others."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from speech_server.engines.queue.batching import Batcher
from speech_server.engines.queue.standing import STANDING, caller
from speech_server.routes.streaming import unless_gone

pytestmark = pytest.mark.anyio


async def gone() -> Message:
    return {"type": "http.disconnect"}


async def forever() -> None:
    await asyncio.Event().wait()


async def there() -> Message:
    await forever()
    raise AssertionError


async def test_who_hangs_up_begins_as_if_served_before():
    batcher: Batcher[str, str] = Batcher(lambda batch: None, name="t")
    caller.set("192.0.2.1")
    with pytest.raises(ClientDisconnect):
        await unless_gone(gone, forever())
    caller.set("192.0.2.2")
    assert await unless_gone(there, asyncio.sleep(0, "an answer")) == "an answer"
    with batcher.lane() as honest:
        assert honest.served == 0
    caller.set("192.0.2.1")
    with batcher.lane() as hostile:
        assert hostile.served > 0
    batcher.close()
    STANDING._debts.clear()
