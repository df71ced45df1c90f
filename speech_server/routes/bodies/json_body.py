"""Parses JSON under limits of our own: the same on every Python, and large bodies beside the event loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from speech_server.errors import RequestTooLarge, SpeechError
from speech_server.pools import Pool
from speech_server.text.json_values import check

MOST_VALUES = 200_000  # a value is a few bytes of a body, and a hundred in memory
VALUE_MARKS = b",[{"  # there is one of them for each value; those inside texts count too
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
