"""GET /: the page on which a person tries the server. One file, nothing from elsewhere, no build step."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

PAGE = Path(__file__).with_name("index.html")
# The page loads nothing from anywhere else; an answer's text is never markup.
POLICY = "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; media-src blob:"

router = APIRouter()


@router.get("/", include_in_schema=False)
async def playground() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html", headers={"content-security-policy": POLICY})


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    return Response(status_code=204)
