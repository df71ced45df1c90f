"""A worker for the platform's own tests: the unmodified SDK with a handler that does what its input says."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import runpod
from runpod.serverless.modules import rp_http


async def handle(job: dict[str, Any]) -> Any:
    order = job["input"]
    if not isinstance(order, dict):
        return order
    for piece in order.get("pieces", []):
        await _post(rp_http.stream_result, {"output": piece}, job)
        await asyncio.sleep(order.get("pause", 0))
    for update in order.get("progress", []):
        await _post(rp_http.send_result, {"status": "IN_PROGRESS", "output": update}, job)
    try:
        await asyncio.sleep(order.get("sleep", 0))
    except asyncio.CancelledError:
        if "cancelled_mark" in order:
            Path(order["cancelled_mark"]).write_text(job["id"])  # noqa: ASYNC240 - it is one word
        raise
    if "exit" in order:
        os._exit(order["exit"])
    if "raise" in order:
        raise ValueError(order["raise"])
    if "size" in order:
        return "x" * order["size"]
    return order.get("return", {"echo": order, "keys": sorted(job)})


async def _post(call: Any, payload: dict[str, Any], job: dict[str, Any]) -> None:
    from runpod.http_client import AsyncClientSession

    async with AsyncClientSession() as session:
        await call(session, payload, job)


async def generate(job: dict[str, Any]) -> Any:
    for piece in job["input"].get("pieces", job["input"].get("openai_input", {}).get("pieces", ["a", "b"])):
        yield piece
        await asyncio.sleep(0)


if __name__ == "__main__":
    generator = "--generator" in sys.argv
    runpod.serverless.start(
        {
            "handler": generate if generator else handle,
            "return_aggregate_stream": True,
            "concurrency_modifier": lambda _: int(os.environ.get("ECHO_CONCURRENCY", "8")),
        }
    )
