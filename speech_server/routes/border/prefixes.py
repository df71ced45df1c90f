"""One table of routes under four prefixes: paths are rewritten to /v1 before they are routed.

/v3 is OpenVINO Model Server's prefix, /openai/v1 KubeAI's, /api/v1 that of a Hugging Face endpoint.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIXES = ("/v3/", "/openai/v1/", "/api/v1/")
ONE_MODEL = "/api/v1/"  # a Hugging Face endpoint serves one model, and its clients do not name it
ONLY_WAV = "/v3/"  # OpenVINO Model Server speaks nothing else, and its clients write what comes into a .wav
# KubeAI's document leaves the /audio out.
SHORT_FORMS = {"/v1/transcriptions": "/v1/audio/transcriptions", "/v1/translations": "/v1/audio/translations"}


def rewrite(path: str) -> str:
    for prefix in PREFIXES:
        if path.startswith(prefix):
            path = "/v1/" + path.removeprefix(prefix)
            break
    if len(path) > 1:
        path = path.rstrip("/") or "/"
    return SHORT_FORMS.get(path, path)


class Prefixes:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and (path := rewrite(scope["path"])) != scope["path"]:
            state = scope.setdefault("state", {})
            state["one_model"] = scope["path"].startswith(ONE_MODEL)
            state["only_wav"] = scope["path"].startswith(ONLY_WAV)
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self.app(scope, receive, send)
