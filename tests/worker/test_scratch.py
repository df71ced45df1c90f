"""A full disk is StorageFull, at whichever call it shows, and hides no other error."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from worker.errors import StorageFull
from worker.scratch import close, keep, scratch_file, spool

full = partial(open, "/dev/full", "w+b")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: full())


def test_what_is_kept_can_be_read_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with spool() as file:
        for _ in range(40):
            keep(file, bytes(range(256)) * 256)
        file.seek(0)
        assert file.read() == bytes(range(256)) * 256 * 40
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 8191, 8193, 1 << 20])
def test_a_full_disk_shows_when_a_byte_is_kept(size: int, full_disk: None):
    file = scratch_file()
    with pytest.raises(StorageFull, match="disk is full"):
        keep(file, bytes(size))
    close(file)
    assert file.closed


def test_leaving_a_spool_that_did_not_fit_hides_nothing(full_disk: None):
    def spoil(size: int, error: Exception) -> None:
        with spool() as file:
            file.write(bytes(1 << 20))
            with suppress(StorageFull):
                keep(file, bytes(size))
            raise error

    for size in (1, 9000, 1 << 20):
        with pytest.raises(KeyError):
            spoil(size, KeyError())


def test_no_folder_that_could_be_written_to_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageFull):
        scratch_file()


def test_another_error_stays_what_it_is(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with open(tmp_path / "file", "rb") as file, pytest.raises(OSError, match="write") as caught:
        keep(file, b"x")
    assert not isinstance(caught.value, StorageFull)
