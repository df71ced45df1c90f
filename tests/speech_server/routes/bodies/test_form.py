"""The form reader gives the same form however the bytes arrive, and stops as soon as it may."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from speech_server.errors import InvalidRequest, ModelNotFound, RequestTooLarge
from speech_server.routes.bodies import form
from speech_server.routes.bodies.form import IN_MEMORY, LONGEST_FIELD, MOST_TEXT, Form, read_form
from tests.local_runpod.local_platform import eventually

BOUNDARY = b"boundary"


def part(name: str, content: bytes, extra: str = "") -> bytes:
    headers = f'\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return b"--" + BOUNDARY + headers.encode() + content + b"\r\n"


def file_part(content: bytes, name: str = "file") -> bytes:
    return part(name, content, '; filename="a.wav"\r\nContent-Type: audio/wav')


END = b"--" + BOUNDARY + b"--\r\n"


class Sender:
    """A request whose body arrives in the given pieces; `taken` counts those asked for."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.taken = 0

    async def receive(self) -> Message:
        self.taken += 1
        more = self.taken < len(self.pieces)
        return {"type": "http.request", "body": self.pieces[self.taken - 1], "more_body": more}

    @property
    def request(self) -> Request:
        headers = [(b"content-type", b"multipart/form-data; boundary=" + BOUNDARY)]
        return Request({"type": "http", "method": "POST", "headers": headers}, self.receive)


async def accept(name: str, value: str) -> None: ...


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)] or [b""]


async def read(body: bytes, size: int = 65536) -> tuple[list[tuple[str, str]], dict[str, bytes]]:
    async with read_form(Sender(cut(body, size)).request, frozenset({"file"}), accept) as form:
        return form.fields, {name: upload.file.read() for name, upload in form.uploads.items()}


@pytest.mark.anyio
@settings(max_examples=60, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=300), st.sampled_from([b"\r\n--boundar", b"\r\n\r\n--", b"--boundary"])),
    text=st.text(max_size=40),
    size=st.integers(1, 70),
)
async def test_the_form_does_not_depend_on_how_it_arrives(content: bytes, text: str, size: int):
    if b"\r\n--boundary" in b"\r\n" + content:
        content = b""
    body = part("prompt", text.encode()) + file_part(content) + part("model", b"whisper-1") + END
    assert await read(body, size) == ([("prompt", text), ("model", "whisper-1")], {"file": content})


@pytest.mark.anyio
async def test_a_large_upload_goes_to_the_disk_and_comes_back_whole():
    content = bytes(range(256)) * (IN_MEMORY // 64)
    fields, files = await read(file_part(content) + END)
    assert (fields, files) == ([], {"file": content})


@pytest.mark.anyio
async def test_a_refused_field_leaves_the_rest_of_the_body_unread():
    sender = Sender([part("model", b"nope"), *cut(file_part(bytes(10 * IN_MEMORY)) + END, 65536)])

    async def refuse(name: str, value: str) -> None:
        raise ModelNotFound(value)

    with pytest.raises(ModelNotFound, match="nope"):
        async with read_form(sender.request, frozenset({"file"}), refuse):
            pytest.fail("the form was accepted")
    assert sender.taken <= 2


@pytest.mark.anyio
async def test_uploads_are_closed_when_the_block_is_left_by_an_error():
    kept: list[Form] = []

    async def fail_with_a_form() -> None:
        async with read_form(Sender([file_part(b"x") + END]).request, frozenset({"file"}), accept) as form:
            kept.append(form)
            raise KeyError

    with pytest.raises(KeyError):
        await fail_with_a_form()
    assert kept[0].uploads["file"].file.closed


@pytest.mark.anyio
async def test_a_file_the_route_does_not_want_is_read_away():
    fields, files = await read(file_part(b"x", "other") + part("model", b"m") + END)
    assert (fields, files) == ([("model", "m")], {})


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a form",
        b"--" + BOUNDARY,
        part("model", b"x"),
        file_part(b"x"),
        b"--" + BOUNDARY + b"\r\n\r\nno headers\r\n" + END,
        b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data\r\n\r\nno name\r\n" + END,
        part("model", b"\xff\xfe") + END,
        file_part(b"a") + file_part(b"b") + END,
        b"".join(part(str(number), b"") for number in range(1001)) + END,
    ],
)
async def test_a_broken_form_is_an_invalid_request(body: bytes):
    with pytest.raises(InvalidRequest):
        await read(body)


@pytest.mark.anyio
async def test_a_field_of_megabytes_is_too_large():
    with pytest.raises(RequestTooLarge, match="prompt"):
        await read(part("prompt", bytes(LONGEST_FIELD + 1)) + END)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [b"", b"application/json", b"multipart/form-data", b"text/plain; boundary=x"])
async def test_another_content_type_is_refused(kind: bytes):
    request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]})
    with pytest.raises(InvalidRequest, match="multipart"):
        async with read_form(request, frozenset({"file"}), accept):
            pytest.fail("the form was accepted")


HUGE_HEADER = b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data; name=" + b"a" * 1_000_000
ATTACKS = {
    "100,000 parts": part("a", b"") * 100_000 + END,
    "headers of a megabyte": HUGE_HEADER + b"\r\n\r\n" + END,
    "a header without end": HUGE_HEADER,
    "a header name without end": b"--" + BOUNDARY + b"\r\n" + b"a" * 1_000_000,
    "a thousand headers": b"--" + BOUNDARY + b"\r\n" + b"a: b\r\n" * 1000 + b"\r\n" + END,
}


@pytest.mark.anyio
@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_endless_form_is_refused_early(attack: str):
    sender = Sender(cut(ATTACKS[attack], 4096))
    with pytest.raises(InvalidRequest):
        async with read_form(sender.request, frozenset({"file"}), accept):
            pytest.fail("the form was accepted")
    assert sender.taken <= 30, "bytes of it were taken that nobody needs"


@pytest.mark.anyio
async def test_fields_are_too_large_together():
    body = b"".join(part(str(number), bytes(LONGEST_FIELD - 1)) for number in range(20)) + END
    sender = Sender(cut(body, 65536))
    with pytest.raises(RequestTooLarge, match="fields"):
        async with read_form(sender.request, frozenset({"file"}), accept):
            pytest.fail("the form was accepted")
    assert sender.taken <= MOST_TEXT // 65536 + 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", [b"multipart/form-data; boundary=" + b"x" * 10_000, b"multipart/form-data;" + b"a=b;" * 9000]
)
async def test_a_boundary_of_kilobytes_is_refused(kind: bytes):
    request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, Sender([END]).receive)
    with pytest.raises(InvalidRequest):
        async with read_form(request, frozenset({"file"}), accept):
            pytest.fail("the form was accepted")


@pytest.mark.anyio
async def test_uploads_are_written_by_a_pool_of_their_own():
    await read(file_part(bytes(2 * IN_MEMORY)) + END)
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("upload")]
    for _ in range(5):
        await asyncio.gather(*(read(file_part(bytes(2 * IN_MEMORY)) + END) for _ in range(10)))
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("upload")]) == len(mine) > 0


@pytest.mark.anyio
async def test_a_client_that_leaves_while_its_upload_is_written_leaves_no_file():
    """The thread that writes is not interrupted; the files are closed after it."""
    sender = Sender([b"", file_part(bytes(4 * IN_MEMORY)) + END, b""])
    before = deleted_files()
    reading = asyncio.create_task(read_only(sender))
    await asyncio.sleep(0)  # nothing holds it up before it writes
    assert sender.taken == 2
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    for _ in range(form.DISK_THREADS):
        await form.DISK.run(int)
    eventually(lambda: deleted_files() <= before, 20, "the upload's file is closed")


async def read_only(sender: Sender) -> None:
    async with read_form(sender.request, frozenset({"file"}), accept):
        pytest.fail("the form was accepted")


def deleted_files() -> set[str]:
    """Files that are open and have no name any more, as those of uploads."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            names.append(str(link.readlink()))
    return {name for name in names if name.endswith("(deleted)") and tempfile.gettempdir() in name}
