"""The gateway as an ASGI app: who may come in, what is answered here, and what becomes a job."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive
from starlette.websockets import WebSocket

from endpoint.errors import EndpointError
from endpoint.gateway.incoming import PREFIXES, Call, read
from endpoint.gateway.once import Once
from endpoint.gateway.options import Options
from endpoint.gateway.pieces import Pieces
from endpoint.gateway.realtime import REFUSED, hold
from endpoint.gateway.replies import Problem, problem_of, streamed, whole
from endpoint.gateway.storage import store_of
from endpoint.gateway.upload import Packed, pack
from endpoint.gateway.work import Work
from endpoint.platform.http import open_client
from endpoint.platform.jobs import Jobs
from endpoint.where import Where
from outgoing.lookups import LookUp, system_look_up

log = logging.getLogger("endpoint.gateway")

T = TypeVar("T")

ROOTS = ("/v1", "/v3", "/openai/v1", "/api/v1")
LISTS = frozenset(f"{root}/models" for root in ROOTS)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# What the list of models says before a worker was asked: names that every worker knows.
KNOWN = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
TIDY_SECONDS = 10.0  # for what has to be removed before the gateway ends
CLIENT_CLOSED = 499  # as nginx logs it
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Gateway:
    def __init__(self, options: Options, environ: Mapping[str, str], look_up: LookUp = system_look_up) -> None:
        self._options = options
        self._once = Once()
        self._store = store_of(options, environ)
        self._http = open_client(look_up=look_up)
        self._pieces = Pieces(options)
        self._models: dict[Where, list[dict[str, Any]]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._once.close()
            await self._pieces.close()
            if self._asking:
                await asyncio.wait(self._asking, timeout=TIDY_SECONDS)
            await self._http.aclose()

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Nobody waits for it but the end of the gateway."""
        task = asyncio.create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    # --- who ---

    def admit(self, connection: HTTPConnection) -> str | None:
        """The caller's own Runpod key, where it has to have one. Raises Problem."""
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else connection.headers.get("x-api-key", "")
        if expected := self._options.api_key:
            if not hmac.compare_digest(given.encode(), expected.encode()):
                raise Problem(401, "the key is missing or wrong: this gateway wants its GATEWAY_API_KEY")
            return None
        if not self._options.holds_key:
            return given or None
        # Nobody has to prove anything here, so a web page must not be able to ask in its visitor's name.
        host = urlsplit(f"//{connection.headers.get('host', '')}").hostname
        origin = connection.headers.get("origin")
        if host not in LOCAL_HOSTS or (origin and urlsplit(origin).hostname not in LOCAL_HOSTS):
            raise Problem(403, "web pages of other origins may not use this gateway: set GATEWAY_API_KEY")
        return None

    def jobs_of(self, where: Where, key: str | None) -> Jobs:
        return Jobs(replace(where, api_key=key or where.api_key), self._http)

    async def session(self, socket: WebSocket) -> None:
        try:
            key = self.admit(socket)
        except Problem as problem:
            await socket.close(REFUSED, problem.message[:120])
            return
        await hold(socket, self.jobs_of(self._options.endpoint_of(socket.query_params.get("model")), key))

    # --- answered here ---

    async def root(self, request: Request) -> Response:
        return PlainTextResponse(f"An OpenAI speech API; jobs go to {self._options.where.url}. Base URL: /v1\n")

    async def health(self, request: Request) -> Response:
        try:
            seen = await self.jobs_of(self._options.where, self.admit(request)).health()
        except (Problem, EndpointError) as error:
            return problem_of(error).response()
        return JSONResponse({"status": "ok", **{name: seen.get(name) for name in ("jobs", "workers")}})

    def models(self, key: str | None) -> Response:
        """Wakes no worker, unless that is wanted."""
        if self._options.warm:
            for where in self._options.endpoints:
                self._ask_for_models(where, key)
        found: dict[str, dict[str, Any]] = {
            name: {"id": name, "object": "model", "created": 0, "owned_by": "openai"} for name in KNOWN
        }
        for models in self._models.values():
            found.update({str(model.get("id")): model for model in models})
        return JSONResponse({"object": "list", "data": list(found.values())})

    def _ask_for_models(self, where: Where, key: str | None) -> None:
        """Once, while a worker is awake."""
        if where not in self._models:
            self._models[where] = []
            self._aside(self._fetch_models(where, key))

    async def _fetch_models(self, where: Where, key: str | None) -> None:
        jobs = self.jobs_of(where, key)
        try:
            async with (
                asyncio.timeout(self._options.timeout),
                jobs.sent({"input": {"path": "/v1/models"}}, streams=False) as following,
            ):
                async for seen in following:
                    output = getattr(seen, "output", None)
                    if isinstance(output, dict) and isinstance(output.get("data"), list):
                        self._models[where] = [model for model in output["data"] if isinstance(model, dict)]
        except (EndpointError, TimeoutError) as error:
            log.info("the list of models could not be asked for: %s", error)

    # --- jobs ---

    async def relay(self, request: Request) -> Response:
        began = time.monotonic()
        if not request.url.path.startswith(PREFIXES):
            return Problem(
                404, f"there is no {request.url.path} here: the API is below /v1", code="http_404"
            ).response()
        try:
            key = self.admit(request)
            if request.method == "GET" and request.url.path in LISTS:
                return self.models(key)
            call = await read(request, self._options.max_upload_mb * 1e6)
            response = await self._answer(request, call, key)
        except (Problem, EndpointError) as error:
            response = problem_of(error).response()
        except ClientDisconnect:
            log.info("%s %s left after %.2f s", request.method, request.url.path, time.monotonic() - began)
            return Response(status_code=CLIENT_CLOSED)  # which nobody reads
        times = " ".join(f"{name} {response.headers.get(f'x-{name}-seconds', '-')}" for name in ("queue", "worker"))
        if self._options.price and (ran := response.headers.get("x-worker-seconds")):
            times += f", {float(ran) * self._options.price / 3600:.6f} $"
        log.info(
            "%s %s %s in %.2f s, %s", request.method, request.url.path, response.status_code,
            time.monotonic() - began, times,
        )  # fmt: skip
        return response

    def _tidying(self, packed: Packed) -> Callable[[], None]:
        """What is done when the job has ended."""

        def tidy() -> None:
            packed.close()
            if self._store:
                for place in packed.left:
                    self._aside(self._store.remove(place))

        return tidy

    async def _answer(self, request: Request, call: Call, key: str | None) -> Response:
        where = self._options.endpoint_of(call.model)
        mark = call.fingerprint(f"{where.url} {key}", request.headers)
        work = self._once.find(mark, request.headers)
        if work is None:
            if self._once.at_work + self._pieces.at_work >= self._options.max_calls:
                call.close()
                raise Problem(429, f"{self._options.max_calls} requests are at work (--max-calls): try again later")
            async with self._pieces.of(call) as recording:
                if recording is not None:
                    call.close()
                    jobs = self.jobs_of(where, key)
                    return await unless_gone(request.receive, self._pieces.answer(call, recording, jobs))
            packed = await pack(call, self._options, self._store)
            jobs, seconds = self.jobs_of(where, key), self._options.timeout
            work = Work(jobs, packed.content, streams=call.streams, seconds=seconds, ended=self._tidying(packed))
            self._once.remember(mark, work)
        else:
            call.close()
        with work.watched():
            response = await unless_gone(request.receive, (streamed if call.streams else whole)(work))
        self._ask_for_models(where, key)
        return Watched(response, work)


class Watched(Response):
    """An answer that keeps its job going as long as it is being sent."""

    def __init__(self, response: Response, work: Work) -> None:
        self._response = response
        self._work = work
        self.status_code = response.status_code
        self.raw_headers = response.raw_headers
        self.background = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._work.watched():
            try:
                await self._response(scope, receive, send)
            except (Problem, EndpointError) as error:  # the connection ends here: half an answer is no whole one
                log.warning("an answer broke off: %s", error)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the caller hangs up. The request's body has been read."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def create_app(options: Options, environ: Mapping[str, str], look_up: LookUp = system_look_up) -> Starlette:
    gateway = Gateway(options, environ, look_up)
    return Starlette(
        lifespan=gateway.lifespan,
        routes=[
            Route("/", gateway.root, methods=["GET"]),
            Route("/health", gateway.health, methods=["GET"]),
            *(WebSocketRoute(f"{prefix}/realtime", gateway.session) for prefix in ROOTS),
            Route("/{path:path}", gateway.relay, methods=METHODS),
        ],
    )
