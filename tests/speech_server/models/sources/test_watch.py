"""How far a download is, told from its folder."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from speech_server.models.sources.watch import bytes_in, watched


def test_all_files_below_count_and_links_do_not_count_twice(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "big").write_bytes(b"x" * 100_000)
    (tmp_path / "a" / "small").write_bytes(b"x" * 10)
    assert bytes_in(tmp_path) == 100_010
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b" / "big")
    assert bytes_in(tmp_path) < 101_000
    assert bytes_in(tmp_path / "nowhere") == 0


def test_folders_that_vanish_while_they_are_counted_do_no_harm(tmp_path: Path):
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            (tmp_path / "work" / "deep" / "deeper").mkdir(parents=True)
            (tmp_path / "work" / "deep" / "file").write_bytes(b"x")
            shutil.rmtree(tmp_path / "work")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        assert all(bytes_in(tmp_path) < 100_000 for _ in range(2_000))
    finally:
        stop.set()
        thread.join()


def test_progress_starts_at_nothing_ends_at_everything_and_never_goes_back(tmp_path: Path):
    (tmp_path / "before").write_bytes(b"x" * 500)
    seen: list[tuple[int, int | None, str]] = []
    arrived = threading.Event()

    def note(done: int, total: int | None, label: str) -> None:
        seen.append((done, total, label))
        if done == 700:
            arrived.set()

    with watched(tmp_path, 1000, note, "downloading"):
        (tmp_path / "new").write_bytes(b"x" * 700)
        assert arrived.wait(10)
        (tmp_path / "new").unlink()
        (tmp_path / "other").write_bytes(b"x" * 5000)
    assert seen[0] == (0, 1000, "downloading")
    assert seen[-1] == (1000, 1000, "downloading")
    assert [step[0] for step in seen] == sorted(step[0] for step in seen)


def test_a_failed_download_ends_the_reports_and_is_not_called_complete(tmp_path: Path):
    seen: list[int] = []

    def download() -> None:
        with watched(tmp_path, 1000, lambda done, total, label: seen.append(done), "downloading"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        download()
    assert 1000 not in seen
    assert "download-progress" not in [thread.name for thread in threading.enumerate()]
