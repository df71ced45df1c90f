"""Parses JSON under limits of our own: the same on every Python, and large bodies beside the event loop."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from speech_server.errors import RequestTooLarge, SpeechError
from speech_server.pools import Pool

MOST_LEVELS = 64
MOST_VALUES = 200_000  # a value is a few bytes of a body, and a hundred in memory
VALUE_MARKS = b",[{"  # there is one of them for each value; those inside texts count too
INTEGERS = range(-(1 << 63), 1 << 64)
BLOCK = 1 << 18
SMALL = 64_000  # bytes; a change of threads takes longer than parsing them

POOL = Pool("json", threads=2, waiting=1000)


class JsonRoute(APIRoute):
    """For a router whose routes take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_json(request: Request) -> Response:
            return await answer(JsonRequest(request.scope, request.receive))

        return answer_json


class JsonRequest(Request):
    async def json(self) -> Any:
        """Raises JSONDecodeError and HTTPException: FastAPI makes a 400 without a reason of all else."""
        body = await self.body()
        try:
            return parse_json(body) if len(body) <= SMALL else await POOL.run(parse_json, body)
        except SpeechError as error:
            raise HTTPException(error.status, error.message) from error


def parse_json(body: bytes) -> Any:
    """Raises JSONDecodeError, RequestTooLarge."""
    marks = 0
    for start in range(0, len(body), BLOCK):  # another thread may run between two
        marks += sum(body.count(mark, start, start + BLOCK) for mark in VALUE_MARKS)
        if marks > MOST_VALUES:
            raise RequestTooLarge(f"The JSON body has more than {MOST_VALUES} values")
    try:
        # pydantic's parser: it copies a text of 20 MB in 5 ms where json and orjson take 20 to 70, and holds the GIL.
        value = from_json(body, allow_inf_nan=False)
        check(value)
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from None
    return value


def check(value: Any) -> None:
    """Raises ValueError for what those who handle the value later cannot: they go deep by recursion, and write JSON."""
    level: list[Any] = [[value]]
    for _ in range(MOST_LEVELS + 2):
        level = [inner for outer in level for inner in inside(outer)]
        if not level:
            return
    raise ValueError(f"nested more than {MOST_LEVELS} levels deep")


def inside(value: list[Any] | dict[str, Any]) -> list[Any]:
    """What has to be looked at again."""
    found = []
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, list | dict):
            found.append(inner)
        elif isinstance(inner, float) and not math.isfinite(inner):
            raise ValueError("a number is out of range")
        elif isinstance(inner, int) and inner not in INTEGERS:
            raise ValueError("an integer has more than 64 bits")
    return found
