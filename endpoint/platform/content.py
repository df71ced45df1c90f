"""A job with files in it, as base64 that is made while it is sent: no file is ever whole in memory."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO

from endpoint.platform.http import Content

HERE = f"file-{uuid.uuid4().hex}"  # what a job says where the base64 of a file belongs; no caller can know it
_BLOCK = 3 << 18  # bytes; a multiple of three, so that the base64 of blocks joins


def content_of(job: dict[str, Any], files: Sequence[BinaryIO]) -> Content:
    """The body of /run: in it, in order, each file in the place of a HERE."""
    parts = json.dumps(job).encode().split(HERE.encode())
    size = sum(map(len, parts)) + sum(-(-file.seek(0, os.SEEK_END) // 3) * 4 for file in files)

    async def blocks() -> AsyncIterator[bytes]:
        yield parts[0]
        for file, following in zip(files, parts[1:], strict=True):
            file.seek(0)
            while block := file.read(_BLOCK):
                yield base64.b64encode(block)
            yield following

    return Content(size, blocks)
