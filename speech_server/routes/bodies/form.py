"""Reads a multipart form while it arrives: a request can be refused before its upload is read, let alone stored."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from speech_server.errors import InvalidRequest, RequestTooLarge, StorageFull
from speech_server.pools import Pool

IN_MEMORY = 1 << 20  # bytes of an upload kept in memory; more goes to the disk
LONGEST_FIELD = 1 << 20
MOST_TEXT = 5 << 20  # bytes of all fields together: four references to voices
MOST_PARTS = 1000
PART_HEADERS = 8
LONGEST_PART_HEADER = 4096
LONGEST_CONTENT_TYPE = 1000
DISK_THREADS = 4
DISK = Pool("upload", threads=DISK_THREADS, waiting=10_000)  # a request has one call at a time here

Check = Callable[[str, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Upload:
    file: BinaryIO  # at its start
    filename: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Form:
    fields: list[tuple[str, str]]
    uploads: dict[str, Upload]


@asynccontextmanager
async def read_form(request: Request, file_fields: frozenset[str], check: Check) -> AsyncIterator[Form]:
    """The whole form; uploads in `file_fields` live until the block ends, others are read away.

    `check(name, value)` sees every field soon after it is complete and may raise to refuse the request there.
    """
    kind, options = parse_options_header(request.headers.get("content-type", "")[:LONGEST_CONTENT_TYPE])
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise InvalidRequest("This route takes multipart/form-data with a boundary, and the audio in the field `file`")
    reader = FormReader(file_fields, check)
    try:
        await reader.read(request, options[b"boundary"])
        yield reader.form
    finally:
        reader.close()


@dataclass
class FormPart:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str = ""
    text: bytearray | None = None
    file: SpooledTemporaryFile[bytes] | None = None
    size: int = 0


class FormReader:
    """Callbacks of the parser on one side, a loop over the request's chunks on the other."""

    def __init__(self, file_fields: frozenset[str], check: Check) -> None:
        self.form = Form([], {})
        self.files: list[SpooledTemporaryFile[bytes]] = []
        self._file_fields = file_fields
        self._check = check
        self._checked = 0  # of the fields
        self._parts = 0
        self._part = FormPart()
        self._header = (bytearray(), bytearray())
        self._complete = False
        self._unwritten: list[tuple[SpooledTemporaryFile[bytes], bytes]] = []
        self._unwritten_bytes = 0
        self._writing: Future[None] | None = None
        self._text = 0

    async def read(self, request: Request, boundary: bytes) -> None:
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._add_content,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
                max_header_count=PART_HEADERS,
                max_header_size=LONGEST_PART_HEADER,
            )
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    parser.write(chunk)
                    await self._check_new()
                    if self._unwritten_bytes > IN_MEMORY:
                        await self._written()
            parser.finalize()
        except FormParserError as error:
            raise InvalidRequest(f"The multipart form is malformed: {error}") from error
        if not self._complete:
            raise InvalidRequest("The multipart form ends before its closing boundary")
        await self._written()
        for file in self.files:
            file.seek(0)

    async def _check_new(self) -> None:
        while self._checked < len(self.form.fields):
            self._checked += 1
            await self._check(*self.form.fields[self._checked - 1])

    async def _written(self) -> None:
        self._writing = DISK.submit(self._write)
        await asyncio.wrap_future(self._writing)

    def close(self) -> None:
        """A write that nobody waits for any more goes on: the files are closed after it."""
        if self._writing is None or self._writing.cancel() or self._writing.done():
            self._close_files()
        else:
            self._writing.add_done_callback(lambda _: self._close_files())

    def _close_files(self) -> None:
        for file in self.files:
            file.close()

    def _write(self) -> None:
        """Blocking. In pieces of about a megabyte, so that a large upload costs few switches of thread."""
        try:
            for file, data in self._unwritten:
                file.write(data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("The server's disk is full: the upload cannot be stored") from error
            raise
        self._unwritten.clear()
        self._unwritten_bytes = 0

    def _begin_part(self) -> None:
        self._part = FormPart()
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidRequest(f"The form has more than {MOST_PARTS} parts")

    def _end_header(self) -> None:
        name, value = self._header
        self._part.headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _begin_content(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        if b"name" not in options:
            raise InvalidRequest("A part of the form has no name in its Content-Disposition header")
        part.name = options[b"name"].decode("utf-8", "replace")
        part.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        if part.name in self._file_fields:
            if part.name in self.form.uploads:
                raise InvalidRequest(f"The form has more than one `{part.name}`", param=part.name)
            part.file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  closed by read_form
            self.files.append(part.file)
        elif b"filename" not in options:
            part.text = bytearray()

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        if part.file is not None:
            self._unwritten.append((part.file, data[start:end]))
            self._unwritten_bytes += end - start
        elif part.text is not None:
            if part.size > LONGEST_FIELD:
                raise RequestTooLarge(f"The field `{part.name}` is larger than {LONGEST_FIELD} bytes", param=part.name)
            self._text += end - start
            if self._text > MOST_TEXT:
                raise RequestTooLarge(f"The form's fields are larger than {MOST_TEXT} bytes together")
            part.text += data[start:end]

    def _end_part(self) -> None:
        part = self._part
        if part.file is not None:
            content_type = part.headers.get(b"content-type", b"").decode("latin-1")
            self.form.uploads[part.name] = Upload(cast(BinaryIO, part.file), part.filename, content_type, part.size)
        elif part.text is not None:
            try:
                value = part.text.decode()
            except UnicodeDecodeError as error:
                raise InvalidRequest(f"The field `{part.name}` is not UTF-8 text", param=part.name) from error
            self.form.fields.append((part.name, value))

    def _end(self) -> None:
        self._complete = True
