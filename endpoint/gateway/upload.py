"""How a request travels: as base64 inside its job, its sound as Opus where that is too large, else over a store."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from endpoint.gateway.incoming import Call, File
from endpoint.gateway.options import Options
from endpoint.gateway.replies import Problem
from endpoint.gateway.smaller import smaller
from endpoint.gateway.storage import Place, Store
from endpoint.platform.http import HERE, Content, content_of

log = logging.getLogger("endpoint.gateway")

RUN_LIMIT, RUNSYNC_LIMIT = 10_000_000, 20_000_000  # bytes of JSON that the platform takes
_ENVELOPE = 100_000


@dataclass(frozen=True, slots=True)
class Packed:
    """A job, what it is made of while it is sent (`close` it then), and what has to be removed when it has ended."""

    content: Content
    files: tuple[BinaryIO, ...]
    left: tuple[Place, ...] = ()

    def close(self) -> None:
        for file in self.files:
            file.close()


async def pack(call: Call, options: Options, store: Store | None) -> Packed:
    """Raises Problem, Unreachable."""
    made = [file.content for file in call.files]
    limit = (RUN_LIMIT if call.streams else RUNSYNC_LIMIT) - _ENVELOPE
    try:
        content = _content(call, options.timeout, [])
        if options.opus and call.hears and content.size > limit:
            call = replace(call, files=tuple([await _as_opus(file, made, options.timeout) for file in call.files]))
            content = _content(call, options.timeout, [])
        if content.size <= limit:
            return Packed(content, tuple(made))
        if store is None or not call.files:
            raise Problem(
                413,
                f"the upload is {content.size / 1e6:.1f} MB as a job and the platform takes {limit / 1e6:.1f} MB: send "
                "it compressed (opus, mp3), in parts, give the gateway a network volume or a bucket (--volume, "
                "--bucket), or put it where the worker can fetch it and send a job with file_url",
            )
        log.info("an upload of %.1f MB goes over %s", sum(file.size for file in call.files) / 1e6, store.name)
        left = [await store.put(file.content, file.name) for file in call.files]
        return Packed(_content(call, options.timeout, left), tuple(made), tuple(left))
    except BaseException:
        for file in made:
            file.close()
        raise


async def _as_opus(file: File, made: list[BinaryIO], seconds: float) -> File:
    """The file itself where it is no recording, or no smaller so."""
    opus = await smaller(file.content, file.name, seconds) if file.field == "file" else None
    if opus is None:
        return file
    made.append(opus)
    size = opus.seek(0, os.SEEK_END)
    if size >= file.size:
        return file
    log.info("%s: %.1f MB as Opus instead of %.1f MB", file.name, size / 1e6, file.size / 1e6)
    return replace(file, name=f"{file.name.rpartition('.')[0] or file.name}.opus", content=opus, size=size)


def _content(call: Call, timeout: float, left: list[Place]) -> Content:
    job: dict[str, Any] = {"method": call.method, "path": call.path}
    if call.body is not None:
        job["body"] = call.body
    inside = () if left else call.files
    files = [{"field": file.field, "name": file.name, "base64": HERE} for file in inside]
    files += [
        {"field": file.field, "name": file.name, place.kind: place.value}
        for file, place in zip(call.files, left, strict=False)
    ]
    rest = {"query": call.query, "headers": call.headers, "stream": call.streams, "files": files}
    job |= {name: value for name, value in rest.items() if value}
    seconds = {"executionTimeout": round(timeout * 1000)}
    return content_of({"input": job, "policy": seconds}, [file.content for file in inside])
