"""GET /api/progress/{request_id}: how far a transcription in work is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from speech_server.errors import NotFound
from speech_server.routes.state import SpeechDep

router = APIRouter(tags=["speech to text"])


@router.get("/api/progress/{request_id}")
async def get_progress(request_id: str, speech: SpeechDep) -> dict[str, Any]:
    """Seconds of audio finished, and all there are (null while unknown), of the request sent with this X-Request-ID."""
    transcription = speech.running.get(request_id)
    if transcription is None:
        raise NotFound(f"No transcription with request id '{request_id}' is running")
    return {"seconds_done": round(transcription.done, 2), "seconds": transcription.duration}
