"""A caller's request, read: its fields, its file on disk, and what tells it from others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from endpoint.gateway.replies import Problem

PREFIXES = ("/v1/", "/v3/", "/openai/v1/", "/api/")
# What the server may want to know; the rest is between the caller and this gateway.
_HEADERS = ("accept", "accept-language", "x-request-id")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """An upload, on disk once it is large."""

    field: str
    name: str
    content: BinaryIO
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    query: dict[str, Any]
    headers: dict[str, str]
    body: dict[str, Any] | None
    files: tuple[File, ...] = ()

    @property
    def model(self) -> str | None:
        named = (self.body or {}).get("model")
        return named if isinstance(named, str) else None

    @property
    def hears(self) -> bool:
        """Whether its file is a recording of which only the words are wanted."""
        return self.path.endswith(("/audio/transcriptions", "/audio/translations"))

    @property
    def streams(self) -> bool:
        """Whether its answer is wanted while it is made."""
        if self.path.endswith("/audio/speech"):
            return True
        return str((self.body or {}).get("stream", "")).lower() == "true"

    def fingerprint(self, caller: str, headers: Mapping[str, str]) -> str:
        """The same for requests that ask for the same on behalf of the same caller."""
        said = json.dumps([self.method, self.path, self.query, self.body], sort_keys=True, default=str)
        key = headers.get("idempotency-key")
        digest = hashlib.sha256(caller.encode())
        for part in (b"key", key.encode()) if key else (said.encode(), *(file.digest for file in self.files)):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def close(self) -> None:
        for file in self.files:
            file.content.close()


async def read(request: Request, most_bytes: float) -> Call:
    """Raises Problem."""
    if int(request.headers.get("content-length", 0)) > most_bytes:
        raise too_large(most_bytes)
    request = Request(request.scope, _bounded(request.receive, most_bytes))
    path = request.url.path
    query = {name: values if len(values := request.query_params.getlist(name)) > 1 else values[0]
             for name in request.query_params}  # fmt: skip
    headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request, path, query, headers)
    return Call(request.method, path, query, headers, _object(await request.body()))


def _bounded(receive: Receive, most_bytes: float) -> Receive:
    """However long the header said the body is."""
    seen = 0

    async def count() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most_bytes:
            raise too_large(most_bytes)
        return message

    return count


def _object(raw: bytes) -> dict[str, Any] | None:
    if not raw.strip():
        return None
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Problem(422, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise Problem(422, "the body must be a JSON object")
    return body


async def _read_form(request: Request, path: str, query: dict[str, Any], headers: dict[str, str]) -> Call:
    try:
        form = await request.form(max_files=4, max_fields=200)
    except HTTPException as error:
        raise Problem(400, str(error.detail)) from None
    body: dict[str, Any] = {}
    files = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.append(await _file(name, value))
        elif name.endswith("[]"):
            body.setdefault(name.removesuffix("[]"), []).append(value)
        elif name in body:
            body[name] = [*(body[name] if isinstance(body[name], list) else [body[name]]), value]
        else:
            body[name] = value
    return Call(request.method, path, query, headers, body, tuple(files))


async def _file(name: str, upload: UploadFile) -> File:
    digest, size = hashlib.sha256(), 0
    while block := await upload.read(_BLOCK):
        digest.update(block)
        size += len(block)
    await upload.seek(0)
    return File(name, upload.filename or "upload", upload.file, size, digest.digest())


def too_large(most_bytes: float) -> Problem:
    return Problem(413, f"the upload is larger than {most_bytes / 1e6:g} MB (--max-upload-mb)")
