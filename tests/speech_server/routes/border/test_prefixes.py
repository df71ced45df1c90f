"""Four prefixes lead to one table of routes."""

from __future__ import annotations

import pytest

from speech_server.routes.border.prefixes import rewrite


@pytest.mark.parametrize(
    ("path", "routed"),
    [
        ("/v1/models", "/v1/models"),
        ("/v3/audio/speech", "/v1/audio/speech"),
        ("/openai/v1/audio/transcriptions", "/v1/audio/transcriptions"),
        ("/openai/v1/transcriptions", "/v1/audio/transcriptions"),
        ("/openai/v1/translations", "/v1/audio/translations"),
        ("/api/v1/audio/transcriptions", "/v1/audio/transcriptions"),
        ("/v1/models/", "/v1/models"),
        ("/v1/models/openai/v1/x", "/v1/models/openai/v1/x"),
        ("/api/ps", "/api/ps"),
        ("/api/ps/Systran/faster-whisper-base", "/api/ps/Systran/faster-whisper-base"),
        ("/v3", "/v3"),
        ("/v33/models", "/v33/models"),
        ("/", "/"),
        ("//", "/"),
    ],
)
def test_paths_are_rewritten_once(path: str, routed: str):
    assert rewrite(path) == routed
