"""A job as it arrives -> JobInput: every accepted shape is listed here.

One HTTP request to the local server (all keys optional but `path`; an unknown key is an error that names it):

    {"method": "POST",                       GET; POST when there is a body or a file
     "path": "/v1/audio/transcriptions",     on the local server; may carry ?a=query
     "query": {...} | "query_params": {...},
     "headers": {"name": "value"},
     "body": {...},                          JSON; form fields beside a file
     "file_url": "https://..." | "data:...", or
     "file_base64": "<base64>" | "data:...", or
     "file_path": "/runpod-volume/...",      with
     "file_name": "talk.mp3", "file_field": "file",
     "files": [{"field": "...", "url" | "base64" | "path": "...", "name": "..."}],
     "stream": true,                         pieces on /stream while the job runs
     "timeout": 30,                          seconds
     "s3Config": {...}}                      as beside "input" in the job

The platform's OpenAI route (a GET has no openai_input; `file` is a URL, a data URI, base64, or an object like those
in `files`, and makes the request a form):

    {"openai_route": "/v1/audio/speech", "openai_input": {...}, "headers", "stream", "timeout", "s3Config"}

A job of worker-faster_whisper (legacy.py):

    {"audio": "https://..." | "audio_base64": "...", "model": "base", "transcription": "srt", ...}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import parse_qsl

from outgoing.errors import UrlRefused
from outgoing.url import parse_base
from worker.errors import InvalidJob
from worker.job.address import Pairs, check_headers, check_method, check_path, check_query, json_kind
from worker.job.legacy import PLACES, is_legacy, translate_legacy

MAX_DEPTH = 64  # levels of nesting in a body
MAX_FILES = 16
_LONGEST = 1e15  # seconds; what is above is a slip, and may be too large for a float
_SHARED_KEYS = frozenset(("headers", "stream", "timeout", "s3Config"))
_OPENAI_KEYS = _SHARED_KEYS | {"openai_route", "openai_input"}
_FILE_KEYS = frozenset(("file_url", "file_base64", "file_path", "file_name", "file_field", "files"))
_REQUEST_KEYS = _SHARED_KEYS | _FILE_KEYS | {"method", "path", "query", "query_params", "body"}
_SOURCES: tuple[Literal["url", "base64", "path"], ...] = ("url", "base64", "path")
_OF_A_PART = ("clip_start", "clip_end")  # fields of a request, beside its file
_REALTIME_PATHS = frozenset(
    f"{prefix}/{path}"
    for prefix in ("/v1", "/v3", "/openai/v1", "/api/v1")
    for path in ("realtime", "realtime/translations")
)


@dataclass(frozen=True, slots=True)
class MediaSource:
    """A file that a job names: `value` is a URL, base64 text or a path. `where` is its place in the job."""

    kind: Literal["url", "base64", "path"]
    value: str
    field: str
    name: str | None
    where: str


@dataclass(frozen=True, slots=True)
class Bucket:
    endpoint_url: str  # from parse_base
    name: str
    access_key_id: str
    secret_access_key: str
    where: str  # who named it, for messages
    trusted: bool = False  # set by whoever runs the worker, not by a job

    def __repr__(self) -> str:
        return f"Bucket({self.endpoint_url}, {self.name})"


@dataclass(frozen=True, slots=True)
class JobInput:
    method: str
    path: str  # percent-encoded, begins with one /
    query: Pairs = ()
    headers: Pairs = ()  # names in lower case
    body: Mapping[str, Any] | None = None
    files: tuple[MediaSource, ...] = ()
    stream: bool = False
    timeout: float | None = None  # seconds
    bucket: Bucket | None = None

    def time_limit(self, at_most: float) -> float:
        """Seconds it may take, whatever it wishes: the one place that tells."""
        return min(at_most, self.timeout or at_most)

    @property
    def is_of_a_part(self) -> bool:
        """Whether it says that the server need not read all of its file."""
        return any((self.body or {}).get(name) is not None for name in _OF_A_PART)

    @property
    def is_realtime(self) -> bool:
        return self.path.rstrip("/") in _REALTIME_PATHS


def parse_job(job: Mapping[str, Any]) -> JobInput:
    raw = job.get("input")
    if not isinstance(raw, dict):
        raise InvalidJob(f'input: must be an object like {{"path": "/v1/models"}}, not {json_kind(raw)}')
    if was_legacy := is_legacy(raw):
        raw = translate_legacy(raw, _SHARED_KEYS)
    is_openai = "openai_route" in raw or "openai_input" in raw
    known = _OPENAI_KEYS if is_openai else _REQUEST_KEYS
    if unknown := [key for key in raw if key not in known]:
        raise InvalidJob(f"input.{unknown[0][:60]}: not a known key; known are {', '.join(sorted(known))}")
    request = _parse_openai(raw) if is_openai else _parse_request(raw)
    if was_legacy:
        request = replace(request, files=tuple(replace(file, where=PLACES[file.where]) for file in request.files))
    config = raw.get("s3Config") or job.get("s3Config")
    body = request.body
    stream = _boolean(raw, "stream") or bool(body and body.get("stream") is True)
    if stream and body is not None and "stream" not in body:
        body = {**body, "stream": True}  # the server must stream too, or there are no pieces to pass on
    return replace(
        request,
        body=body,
        stream=stream,
        headers=check_headers(_object(raw, "headers"), "input.headers"),
        timeout=_seconds(raw, "timeout"),
        bucket=_bucket(config) if config else None,
    )


def _parse_request(raw: Mapping[str, Any]) -> JobInput:
    if not (path := _text(raw, "path")):
        raise InvalidJob("input.path: required, like /v1/audio/transcriptions")
    if raw.get("query") and raw.get("query_params"):
        raise InvalidJob("input.query_params: the same as query; give one of them")
    files = _files(raw)
    body = _object(raw, "body") if raw.get("body") is not None else None
    check_plain(body, "input.body")
    given = _text(raw, "method")
    method = check_method(given, "input.method") if given else ("POST" if body or files else "GET")
    if method in ("GET", "HEAD", "OPTIONS"):
        if body or files:
            raise InvalidJob(f"input.method: {method} takes no body and no file; use POST, or query for parameters")
        body = None
    query_key = "query" if raw.get("query") else "query_params"
    query = check_query(_object(raw, query_key), f"input.{query_key}")
    return _request(method, path, "input.path", query, body, files)


def _parse_openai(raw: Mapping[str, Any]) -> JobInput:
    if not (path := _text(raw, "openai_route")):
        raise InvalidJob("input.openai_route: required, like /v1/audio/speech")
    body = dict(_object(raw, "openai_input"))
    file = body.pop("file", None)
    check_plain(body, "input.openai_input")
    files = () if file is None else (_openai_file(file, "input.openai_input.file"),)
    method = "POST" if body or files else "GET"
    return _request(method, path, "input.openai_route", (), body or None, files)


def _request(
    method: str, path: str, where: str, query: Pairs, body: Mapping[str, Any] | None, files: tuple[MediaSource, ...]
) -> JobInput:
    path, in_path = check_path(path, where)
    return JobInput(method, path, (*parse_qsl(in_path, keep_blank_values=True), *query), body=body, files=files)


def _files(raw: Mapping[str, Any]) -> tuple[MediaSource, ...]:
    found = [kind for kind in _SOURCES if raw.get(f"file_{kind}") is not None]
    if len(found) > 1:
        raise InvalidJob(f"input.file_{found[1]}: there is file_{found[0]} already; use files for several")
    if not found and (stray := [key for key in ("file_name", "file_field") if raw.get(key) is not None]):
        raise InvalidJob(f"input.{stray[0]}: there is no file_url, file_base64 or file_path it could belong to")
    files = [_source(raw, kind, f"file_{kind}", "input", "file_field", "file_name") for kind in found]
    several = raw.get("files")
    if several is not None and not isinstance(several, list):
        raise InvalidJob(f"input.files: must be a list, not {json_kind(several)}")
    files += [_file_object(item, f"input.files[{i}]") for i, item in enumerate(several or ())]
    if len(files) > MAX_FILES:
        raise InvalidJob(f"input.files: {len(files)} files, at most {MAX_FILES} are taken")
    return tuple(files)


def _file_object(item: object, where: str) -> MediaSource:
    if not isinstance(item, dict):
        raise InvalidJob(f"{where}: must be an object with url, base64 or path, not {json_kind(item)}")
    if unknown := [key for key in item if key not in (*_SOURCES, "field", "name")]:
        raise InvalidJob(f"{where}.{unknown[0][:60]}: not a known key; known are field, url, base64, path, name")
    found = [kind for kind in _SOURCES if item.get(kind) is not None]
    if len(found) != 1:
        raise InvalidJob(f"{where}: needs exactly one of url, base64 and path")
    return _source(item, found[0], found[0], where, "field", "name")


def _openai_file(file: object, where: str) -> MediaSource:
    if isinstance(file, str):
        kind: Literal["url", "base64"] = "url" if file[:8].lower().startswith(("http://", "https://")) else "base64"
        return _source({kind: file}, kind, kind, where, "field", "name")
    return _file_object(file, where)


def _source(
    raw: Mapping[str, Any], kind: Literal["url", "base64", "path"], key: str, where: str, field_key: str, name_key: str
) -> MediaSource:
    if not (value := _text(raw, key, where)):
        raise InvalidJob(f"{where}.{key}: is empty")
    field = _text(raw, field_key, where) or "file"
    if len(field) > 100 or not field.isprintable() or '"' in field:
        raise InvalidJob(f"{where}.{field_key}: {field[:60]!r} is not the name of a form field")
    return MediaSource(kind, value, field, _text(raw, name_key, where), f"{where}.{key}")


def _bucket(config: object) -> Bucket:
    if not isinstance(config, dict):
        raise InvalidJob(f"s3Config: must be an object, not {json_kind(config)}")
    keys = ("endpointUrl", "bucketName", "accessId", "accessSecret")
    values = [_text(config, key, "s3Config") for key in keys]
    if missing := [key for key, value in zip(keys, values, strict=True) if not value]:
        raise InvalidJob(f"s3Config.{missing[0]}: required")
    endpoint, name, key_id, secret = map(str, values)
    try:
        endpoint = parse_base(endpoint)
    except UrlRefused as error:
        raise InvalidJob(f"s3Config.endpointUrl: {error.message}") from None
    return Bucket(endpoint, name, key_id, secret, "s3Config")


# --- values of one type ---


def _text(raw: Mapping[str, Any], key: str, where: str = "input") -> str | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidJob(f"{where}.{key}: must be text, not {json_kind(value)}")
    return value


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidJob(f"input.{key}: must be an object, not {json_kind(value)}")
    return value


def _boolean(raw: Mapping[str, Any], key: str) -> bool:
    value = raw.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidJob(f"input.{key}: must be true or false, not {json_kind(value)}")
    return value is True


def _seconds(raw: Mapping[str, Any], key: str) -> float | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST:
        raise InvalidJob(f"input.{key}: must be a number of seconds above 0, and not above {_LONGEST:g}")
    return float(value)


def check_plain(value: object, where: str, depth: int = 0) -> None:
    """Raises InvalidJob naming the first place that cannot be sent as JSON in UTF-8, or is nested too deeply."""
    if depth > MAX_DEPTH:
        raise InvalidJob(f"{where[:200]}: nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, where)
            check_plain(item, f"{where}.{key[:60]}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidJob(f"{where}: holds half of a surrogate pair, which is no character") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidJob(f"{where}: {value} is not JSON")
