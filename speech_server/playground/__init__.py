"""The page on which a person uses the server: `/` and its parts, read once and served from memory; no build step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from speech_server.settings import Settings

FOLDER = Path(__file__).parent / "page"
# Written down here: what the machine's own table says of .js differs, and a browser runs no module of another type.
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Everything is the server's own, and an answer's text is never markup. `blob:` is what was recorded or spoken.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Asked again each time and answered with 304: an updated server is never met by yesterday's page.
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class Asset:
    body: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, path: Path) -> Asset:
        body = path.read_bytes()
        return cls(body, TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')

    def answer(self, request: Request) -> Response:
        headers = {**HEADERS, "etag": self.etag}
        known = (tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(","))
        if self.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(self.body, media_type=self.media_type, headers=headers)


ASSETS = {path.name: Asset.of(path) for path in FOLDER.iterdir() if path.suffix in TYPES}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def playground(request: Request) -> Response:
    return ASSETS["index.html"].answer(request)


@router.get("/page/server.json")
async def about(request: Request) -> dict[str, Any]:
    """What the page must know before it may ask anything: public, like the page itself."""
    settings: Settings = request.app.state.speech.settings
    return {
        "key_needed": bool(settings.api_key),
        "language_model": bool(settings.chat_completion_base_url),
        "manages_models": settings.manages_models,
    }


@router.get("/page/{name}")
async def part(name: str, request: Request) -> Response:
    if name not in ASSETS:
        raise HTTPException(404)
    return ASSETS[name].answer(request)


@router.get("/favicon.ico")
async def favicon() -> Response:
    return Response(status_code=204)
