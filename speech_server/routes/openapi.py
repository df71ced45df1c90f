"""The OpenAPI document, completed when somebody asks for it: forms, errors, content types, keys."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from speech_server.routes.bodies.audio_form import LISTS
from speech_server.routes.bodies.transcription_form import TranscriptionForm
from speech_server.routes.vad import VadForm
from speech_server.routes.voices import DiarizationForm, EmbeddingForm
from speech_server.text_to_speech import CONTENT_TYPES

FORMS: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "/v1/audio/transcriptions": (
        TranscriptionForm,
        {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": ["word"]},
    ),
    "/v1/audio/translations": (TranscriptionForm, {"model": "whisper-1", "response_format": "text"}),
    "/v1/audio/speech/timestamps": (VadForm, {"threshold": 0.75}),
    "/v1/audio/diarization": (DiarizationForm, {"max_speakers": 4}),
    "/v1/audio/speech/embedding": (EmbeddingForm, {}),
}
TEXT = {"schema": {"type": "string"}}
TRANSCRIPT = {
    "description": "The transcript in the format asked for; events when `stream` is true.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
            "example": {"text": "The quick brown fox.", "usage": {"type": "duration", "seconds": 2}},
        },
        **dict.fromkeys(("text/plain", "application/x-subrip", "text/vtt", "text/event-stream"), TEXT),
    },
}
SOUND = {
    "description": "Audio in the format asked for; events where `stream_format` is sse.",
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in sorted({*CONTENT_TYPES.values(), "text/event-stream"})
    },
}
STRING, NULLABLE = {"type": "string"}, {"type": ["string", "null"]}
OF_ERROR = {"message": STRING, "type": STRING, "param": NULLABLE, "code": NULLABLE}
ERROR = {
    "type": "object",
    "required": ["error", "detail"],
    "properties": {
        "error": {"type": "object", "required": list(OF_ERROR), "properties": OF_ERROR},
        "detail": {"description": "The message; for 422 the list of faults.", "type": ["string", "array"]},
    },
}
PREFIXES = "Every /v1 route also answers under /v3, /openai/v1 and /api/v1."


def document(app: FastAPI) -> dict[str, Any]:
    """Built once; replaces FastAPI's own `app.openapi`."""
    if app.openapi_schema is None:
        spec = get_openapi(
            title=app.title, version=app.version, description=f"{app.description}\n\n{PREFIXES}", routes=app.routes
        )
        parts = spec.setdefault("components", {})
        parts.setdefault("schemas", {})["Error"] = ERROR
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "API_KEY, if set"}}
        spec["security"] = [{}, {"key": []}]
        for path, operations in spec["paths"].items():
            for operation in operations.values():
                complete(path, operation, parts["schemas"])
        app.openapi_schema = spec
    return app.openapi_schema


def complete(path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    refusal = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    responses = operation["responses"]
    responses.pop("422", None)
    responses["4XX"] = {"description": "Refused: the request, or the model, cannot do this", **refusal}
    responses["5XX"] = {"description": "The server failed", **refusal}
    if path in FORMS:
        form, example = FORMS[path]
        content = {"schema": form_schema(form, schemas), "example": example}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": content}}
    if path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        responses["200"] = TRANSCRIPT
    elif path == "/v1/audio/speech":
        responses["200"] = SOUND


def form_schema(form: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    schema = form.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    fields = {f"{name}[]" if name in LISTS else name: field for name, field in schema["properties"].items()}
    file = {"type": "string", "format": "binary", "description": "Audio, or a video with sound."}
    return {**schema, "properties": {"file": file, **fields}, "required": ["file", *schema.get("required", [])]}
