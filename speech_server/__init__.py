"""An OpenAI-compatible speech server: transcription, translation, speech, voice activity, realtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speech_server.run import run_server

__all__ = ["run_server"]


def __getattr__(name: str) -> Any:
    if name == "run_server":  # only those who start a server from Python pay for its imports
        from speech_server.run import run_server

        return run_server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
