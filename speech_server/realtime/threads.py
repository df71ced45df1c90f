"""The threads on which sessions hear: short calls that must not wait behind an engine, nor hold the event loop up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_pool = ThreadPoolExecutor(2, thread_name_prefix="ear")


async def in_ear_thread(step: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_pool, step)
