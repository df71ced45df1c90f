"""The platform as an ASGI app: routes, errors, and trouble around them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.routing import Mount
from starlette.types import ASGIApp

from local_runpod.api.admin import AdminApi
from local_runpod.api.client import ClientApi
from local_runpod.api.openai import OpenAiApi
from local_runpod.api.trouble import Troubled
from local_runpod.api.wire import caller_gone, refuse
from local_runpod.api.worker import WorkerApi
from local_runpod.control import Control
from local_runpod.errors import Refused
from local_runpod.processes import Pool


def create_app(control: Control, pool: Pool | None = None) -> ASGIApp:
    v2 = [*ClientApi(control).routes(), *OpenAiApi(control).routes(), *WorkerApi(control).routes()]
    app = Starlette(
        routes=[Mount(f"/v2/{control.settings.endpoint}", routes=v2), *AdminApi(control, pool).routes()],
        exception_handlers={Refused: refuse, ClientDisconnect: caller_gone},
    )
    return Troubled(app, control.trouble)
