"""GET /api/progress/{request_id}: how far a transcription in work is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from speech_server.errors import NotFound, RequestIdNotUnique
from speech_server.routes.state import SpeechDep

router = APIRouter(tags=["speech to text"])


@router.get("/api/progress/{request_id}")
async def get_progress(request_id: str, speech: SpeechDep) -> dict[str, Any]:
    """Seconds of audio finished, and all there are (null while unknown), of the request sent with this X-Request-ID."""
    found = speech.running.find(request_id)
    if not found:
        raise NotFound(f"No transcription with request id '{request_id}' is running")
    if len(found) > 1:
        raise RequestIdNotUnique(f"{len(found)} transcriptions run under request id '{request_id}': send another each")
    return {"seconds_done": round(found[0].done, 2), "seconds": found[0].duration}
