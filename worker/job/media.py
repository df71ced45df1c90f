"""The files a job names -> open files: fetched, decoded or found on the volume, with size, time and address limits.

What is fetched goes to files that have no name (O_TMPFILE), so nothing can be left behind, whatever happens.
"""

from __future__ import annotations

import asyncio
import binascii
import io
import mimetypes
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import pybase64

from worker.errors import InvalidJob, MediaUnavailable, StorageFull
from worker.job.download import Download
from worker.job.lending import Lender, Loan
from worker.job.parse import MediaSource
from worker.job.parts import LocalParts, Parts, fetched_parts
from worker.scratch import close, keep, scratch_file
from worker.settings import Settings

_BLOCK = 1 << 20
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.IGNORECASE)
# The standard table lacks these, or has other names for them, depending on the system.
_SUFFIXES = {
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/webm": ".webm",
    "audio/flac": ".flac",
    "audio/aac": ".aac",
    "audio/pcm": ".pcm",
}
_MAX_NAME = 100  # characters


@dataclass(frozen=True, slots=True)
class MediaFile:
    """An open file at its beginning, as a form part. Of a loan, only its address is sent."""

    field: str
    name: str
    content_type: str
    file: IO[bytes]
    size: int  # bytes
    loan: Loan | None = None


@asynccontextmanager
async def open_media(
    sources: tuple[MediaSource, ...], settings: Settings, lender: Lender | None = None
) -> AsyncIterator[list[MediaFile]]:
    """All the files of a job, closed on exit. With a lender, those behind URLs and on the volume are lent: read as far
    as the server asks. Raises InvalidJob, MediaUnavailable, StorageFull."""
    async with AsyncExitStack() as stack:
        files = []
        for source in sources:
            if lender and source.kind != "base64" and not _is_data(source):
                parts = await stack.enter_async_context(_parts_of(source, settings))
                name, content_type = _name_and_type(source)
                loan = await stack.enter_async_context(lender.lend(parts, content_type))
                files.append(MediaFile(source.field, name, loan.as_type, io.BytesIO(), parts.size, loan))
            else:
                file = stack.enter_context(await _open(source, settings))
                size = os.fstat(file.fileno()).st_size
                files.append(MediaFile(source.field, *_name_and_type(source), file, size))
        yield files


@asynccontextmanager
async def _parts_of(source: MediaSource, settings: Settings) -> AsyncIterator[Parts]:
    if source.kind == "path":
        with await _open(source, settings) as file:
            yield LocalParts(file)
    else:
        download = Download(source.value, source.where, settings)
        async with fetched_parts(download, partial(_written, settings)) as parts:
            yield parts


async def _open(source: MediaSource, settings: Settings) -> IO[bytes]:
    if source.kind == "path":
        return await asyncio.to_thread(_open_on_volume, source, Path(settings.volume))
    if source.kind == "url" and not _is_data(source):
        return await _fetch(source, settings)
    # Small ones are done at once: a thread costs more than the decoding.
    if len(source.value) < _BLOCK:
        return _decode(source)
    return await asyncio.to_thread(_decode, source)


async def _fetch(source: MediaSource, settings: Settings) -> IO[bytes]:
    file = scratch_file()
    try:
        await Download(source.value, source.where, settings).to(partial(_written, settings, file))
        file.seek(0)
    except BaseException:
        close(file)
        raise
    return file


async def _written(settings: Settings, file: IO[bytes], block: bytes) -> None:
    await asyncio.to_thread(_write, file, block, settings.min_free_disk_mb << 20)


def _write(file: IO[bytes], block: bytes, keep_free: int) -> None:
    """Looks at the disk with every block: other jobs fill it up too."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free - len(block) < keep_free:
        raise StorageFull(f"the worker's disk is nearly full ({free >> 20} MB left): give the endpoint more disk")
    keep(file, block)


def _decode(source: MediaSource) -> IO[bytes]:
    data = _decode_text(source)
    if not data:
        raise InvalidJob(f"{source.where}: holds no bytes")
    file = scratch_file()
    try:
        keep(file, data)
    except BaseException:
        close(file)
        raise
    file.seek(0)
    return file


def _decode_text(source: MediaSource) -> bytes:
    text = source.value
    if text[:5].lower() == "data:":
        if not (head := _DATA_URI.match(text)):
            raise InvalidJob(f"{source.where}: not a data URI like data:audio/wav;base64,...")
        text = text[head.end() :]
        if not head[3]:
            return unquote_to_bytes(text)
        text = unquote(text)
    text = text.strip()
    try:
        # Lines of 76 characters (RFC 2045) are the one deviation that tools produce by themselves.
        compact = text if "\n" not in text else text.replace("\r", "").replace("\n", "")
        decoded: bytes = pybase64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidJob(f"{source.where}: is not base64 (standard alphabet, no other characters)") from None
    return decoded


def _open_on_volume(source: MediaSource, volume: Path) -> IO[bytes]:
    """Says the same of everything outside, whether it exists or not; inside it says what is wrong."""
    outside = InvalidJob(
        f"{source.where}: must be a file under {volume}, not {source.value[:100]!r}; "
        "send other files as file_url or file_base64"
    )
    if "\0" in source.value:
        raise outside
    try:
        top, root = Path(os.path.abspath(volume)), Path(os.path.realpath(volume))  # noqa: PTH100
        # Without .. first: behind a link outside, it would tell where that leads.
        named = Path(os.path.normpath(top / source.value))
        # As far as it exists: what is missing is judged by where it would be.
        real = Path(os.path.realpath(named))
        if not (named.is_relative_to(top) or named.is_relative_to(root)) or not real.is_relative_to(root):
            raise outside
        # Non-blocking: a FIFO would wait for a writer. No follow: a link put here since must not be followed.
        file = os.fdopen(os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except (OSError, ValueError, RuntimeError) as error:
        why = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "not a path"
        raise MediaUnavailable(f"{source.where}: {source.value[:100]!r} cannot be opened: {why}") from None
    opened = Path(f"/proc/self/fd/{file.fileno()}")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or (opened.exists() and opened.resolve() != real):
        file.close()
        raise outside
    return file


def _is_data(source: MediaSource) -> bool:
    return source.value[:5].lower() == "data:"


def _name_and_type(source: MediaSource) -> tuple[str, str]:
    name = safe_name(source.name or _name_in(source))
    declared = _DATA_URI.match(source.value) if source.kind != "path" else None
    content_type = (declared and declared[1]) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return name, content_type


def _name_in(source: MediaSource) -> str:
    if source.kind == "base64" or _is_data(source):
        kind = _DATA_URI.match(source.value)
        return "file" + (suffix_of(kind[1]) if kind and kind[1] else "")
    path = source.value if source.kind == "path" else unquote(urlsplit(source.value).path, errors="replace")
    return PurePosixPath(path).name


def suffix_of(content_type: str) -> str:
    """audio/wav -> .wav; empty where there is none."""
    return _SUFFIXES.get(content_type.lower()) or mimetypes.guess_extension(content_type) or ""


def safe_name(name: str) -> str:
    """A file name for a form part: the last part of whatever path it was, printable, not too long, never empty."""
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(c if c.isprintable() and c not in '"%;' and not "\ud800" <= c <= "\udfff" else "_" for c in last)
    clean = clean.strip(" .")
    stem, dot, suffix = clean.rpartition(".")
    if len(clean) > _MAX_NAME:
        clean = (stem[: _MAX_NAME - 1 - len(suffix)] + dot + suffix) if dot and len(suffix) < 10 else clean[:_MAX_NAME]
    return clean or "file"
