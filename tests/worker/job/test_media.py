"""Files that a job names are fetched, decoded or found, within limits, and never left behind."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.conftest import Jobs, stand_in_settings
from worker.errors import InvalidJob, MediaUnavailable, StorageFull, WorkerError
from worker.job import download
from worker.job.download import is_public
from worker.job.media import MediaFile, open_media, safe_name
from worker.job.parse import MediaSource
from worker.server.supervisor import Supervisor
from worker.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file, and no open descriptor, whatever the outcome."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
    assert [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and str(folder) in str(fd.readlink())] == []


def source(kind: Any, value: str, name: str | None = None) -> MediaSource:
    return MediaSource(kind, value, "file", name, f"input.file_{kind}")


async def read(one: MediaSource, settings: Settings | None = None) -> tuple[MediaFile, bytes]:
    async with open_media((one,), settings or Settings()) as files:
        return files[0], files[0].file.read()


async def failure(one: MediaSource, settings: Settings) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        await read(one, settings)
    return caught.value


def trusting(**changes: Any) -> Settings:
    return stand_in_settings(allow_private_urls=True, **changes)


@pytest.fixture
def url(stand_in: Supervisor) -> str:
    return stand_in.wait_ready().url


async def test_a_url_is_fetched_with_its_name(url: str):
    file, content = await read(source("url", f"{url}/give/my%20talk.mp3?size=3000000&token=x"), trusting())
    assert (file.name, file.content_type, file.size) == ("my talk.mp3", "audio/mpeg", 3_000_000)
    assert content == (bytes(range(256)) * 12_000)[:3_000_000]


async def test_redirects_are_followed_a_few_times(url: str):
    file, _ = await read(source("url", f"{url}/give?status=302&location=/give%3Fsize=10"), trusting())
    assert file.size == 10
    endless = await failure(source("url", f"{url}/loop"), trusting())
    assert "more than 5 redirects" in endless.message


async def test_the_hop_after_a_redirect_is_judged_too(url: str, monkeypatch: pytest.MonkeyPatch):
    # The internet stands at 127.0.0.1 here, and what must not be reached at 127.0.0.2.
    monkeypatch.setattr(download, "is_public", lambda address: address == "127.0.0.1")
    port = url.rpartition(":")[2]
    settings = stand_in_settings()
    assert (await read(source("url", f"{url}/give?size=5"), settings))[0].size == 5
    refused = await failure(source("url", f"{url}/give?status=302&location=http://127.0.0.2:{port}/"), settings)
    assert "'127.0.0.2' is 127.0.0.2, which is not a public address" in refused.message
    for scheme in ("file:///etc/passwd", "ftp://example.com/"):
        refused = await failure(source("url", f"{url}/give?status=301&location={scheme}"), settings)
        assert "only http and https" in refused.message


@pytest.mark.parametrize(("status", "hint"), [(403, "needs no login"), (404, "check the URL"), (206, "check the URL")])
async def test_a_url_that_answers_something_else_is_named_without_its_query(url: str, status: int, hint: str):
    error = await failure(source("url", f"{url}/give/a.wav?status={status}&signature=secret"), trusting())
    assert isinstance(error, MediaUnavailable)
    assert f"answered {status}" in error.message
    assert hint in error.message
    assert "secret" not in error.message


async def test_a_file_larger_than_the_limit_is_refused_by_its_header_and_while_it_comes(url: str):
    settings = trusting(max_download_bytes=1000)
    assert "1001 bytes" in (await failure(source("url", f"{url}/give?size=1001"), settings)).message
    chunked = await failure(source("url", f"{url}/drip?size=5000"), settings)
    assert "RUNPOD_MAX_DOWNLOAD_BYTES allows 1000" in chunked.message


async def test_a_slow_drip_meets_the_deadline_and_a_standstill_the_stall_limit(url: str):
    slow = await failure(source("url", f"{url}/drip?size=100&count=100&pause=0.1"), trusting(download_timeout=0.4))
    assert "not fetched within 0.4 s" in slow.message
    still = await failure(source("url", f"{url}/sleep?seconds=30"), trusting(download_stall_timeout=0.2))
    assert "stood still" in still.message


async def test_a_download_can_be_cancelled(url: str):
    task = asyncio.create_task(read(source("url", f"{url}/sleep?seconds=30"), trusting()))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_disk_that_is_nearly_full_is_left_alone(url: str):
    error = await failure(source("url", f"{url}/give?size=1000"), trusting(min_free_disk_mb=1 << 40))
    assert isinstance(error, StorageFull)


@pytest.mark.parametrize("size", [3, 100_000, 3_000_000])
async def test_a_full_disk_is_named_whichever_call_notices_it(url: str, size: int, monkeypatch: pytest.MonkeyPatch):
    """A buffer holds the last bytes back until the file is sought, and tries them again when it is closed."""
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b"))
    encoded = base64.b64encode(bytes(size)).decode()
    sources = ("base64", encoded), ("url", f"data:,{'x' * size}"), ("url", f"{url}/give?size={size}")
    for kind, value in sources:
        assert isinstance(await failure(source(kind, value), trusting(min_free_disk_mb=0)), StorageFull)


async def test_a_host_that_is_not_known_and_one_that_does_not_answer(url: str):
    assert "is not known" in (await failure(source("url", "http://nowhere.invalid/"), trusting())).message
    assert (
        "could not be fetched: ConnectError"
        in (await failure(source("url", "http://127.0.0.1:9/"), trusting())).message
    )


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("QUJD", b"ABC"),
        (" QUI= \n", b"AB"),
        ("QUI", b"AB"),
        ("QU\r\nJD\n", b"ABC"),
        ("data:audio/wav;base64,QUI=", b"AB"),
        ("data:;base64,QUI%3D", b"AB"),
        ("data:text/plain;charset=utf-8,a%20b", b"a b"),
        ("DATA:audio/x;a=b;base64,QUI=", b"AB"),
    ],
)
async def test_base64_and_data_uris_are_decoded(text: str, content: bytes):
    assert (await read(source("base64", text)))[1] == content


@given(st.binary(min_size=1, max_size=500))
async def test_any_bytes_survive_base64(content: bytes):
    assert (await read(source("base64", base64.b64encode(content).decode())))[1] == content


@given(st.text(max_size=60))
async def test_any_text_is_base64_or_an_error_that_names_it(text: str):
    try:
        outcome: Any = await read(source("base64", text))
    except InvalidJob as error:
        outcome = error
    if isinstance(outcome, InvalidJob):
        assert outcome.message.startswith("input.file_base64: ")
    else:
        assert outcome[1]


async def test_the_type_in_a_data_uri_names_the_file():
    file, _ = await read(source("base64", "data:audio/flac;base64,QUI="))
    assert (file.name, file.content_type) == ("file.flac", "audio/flac")
    file, _ = await read(source("base64", "QUI=", name="talk.mp3"))
    assert (file.name, file.content_type) == ("talk.mp3", "audio/mpeg")


async def test_a_file_on_the_volume_is_read_where_it_is(tmp_path: Path):
    (tmp_path / "v" / "deep").mkdir(parents=True)
    (tmp_path / "v" / "deep" / "a.wav").write_bytes(b"A")
    (tmp_path / "v" / "inner-link").symlink_to(tmp_path / "v" / "deep" / "a.wav")
    settings = Settings(volume=str(tmp_path / "v"))
    for path in ("deep/a.wav", str(tmp_path / "v" / "deep" / "a.wav"), "inner-link"):
        assert (await read(source("path", path), settings))[1] == b"A"


async def test_without_a_volume_no_path_is_a_file(tmp_path: Path):
    assert "no such file" in (await failure(source("path", "a"), Settings(volume=str(tmp_path / "none")))).message


async def test_what_lies_outside_the_volume_is_never_told(tmp_path: Path):
    volume, outside = tmp_path / "v", tmp_path / "o"
    volume.mkdir()
    (outside / "folder" / "deep").mkdir(parents=True)
    (outside / "file").write_bytes(b"A")
    (outside / "locked").mkdir(mode=0)
    os.mkfifo(outside / "fifo")
    (outside / "loop").symlink_to(outside / "loop")
    (outside / "link").symlink_to(outside / "folder" / "deep")
    (volume / "out").symlink_to(outside)
    (volume / "a.wav").write_bytes(b"A")

    settings, said = Settings(volume=str(volume)), set()
    names = ("missing", "file", "folder", "fifo", "loop", "link", "locked/x", "file/x", "link/../../../v/a.wav")
    for name in names:
        for path in (f"{outside}/{name}", f"../o/{name}", f"out/{name}"):
            if path.endswith("v/a.wav") and path.startswith("out/"):
                continue  # the volume's own by its name, whatever the link is
            error = await failure(source("path", path), settings)
            said.add((type(error), error.message.replace(repr(path), "PATH")))
    ((kind, words),) = said
    assert kind is InvalidJob
    assert f"must be a file under {volume}, not PATH" in words
    assert (await read(source("path", "out/../a.wav"), settings))[1] == b"A"


async def test_an_existing_file_at_home_is_told_that_only_the_volume_is_allowed():
    error = await failure(source("path", __file__), Settings(volume="/runpod-volume"))
    assert "must be a file under /runpod-volume" in error.message


@given(st.text(max_size=300))
async def test_any_name_becomes_a_safe_one(name: str):
    safe = safe_name(name)
    assert 0 < len(safe) <= 100
    assert safe.isprintable()
    assert not set(safe) & set('/\\"')
    assert safe not in (".", "..")
    safe.encode()


@pytest.mark.parametrize(
    ("name", "safe"),
    [("../../etc/passwd", "passwd"), ("C:\\a\\b.wav", "b.wav"), ("", "file"), ("a" * 200 + ".wav", "a" * 96 + ".wav")],
)
async def test_names_keep_their_last_part_and_suffix(name: str, safe: str):
    assert safe_name(name) == safe


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "1.1.1.1", "203.0.114.1"])
async def test_public_addresses_are_public(address: str):
    assert is_public(address)


async def test_a_job_whose_second_file_fails_leaves_nothing(url: str, jobs: Jobs):
    here = jobs.with_settings(allow_private_urls=True)
    output = await here(path="/echo", files=[{"url": f"{url}/give?size=100"}, {"url": f"{url}/give?status=404"}])
    await here.proxy.close()
    assert json.loads(output["error"])["code"] == "media_unavailable"
