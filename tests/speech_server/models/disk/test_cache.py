"""The cache is Hugging Face's: their library finds what we wrote, we find what theirs wrote."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download
from hypothesis import given
from hypothesis import strategies as st

from speech_server.errors import ModelNotFound, SourceUnavailable, StorageFull
from speech_server.models.disk.cache import Cache, sha256
from tests.speech_server.models.conftest import install, whisper_folder

ID = "Systran/faster-whisper-base"


def publish(cache: Cache, content: str = "weights") -> None:
    with cache.incoming(ID) as scratch:
        folder = whisper_folder(scratch)
        (folder / "model.bin").write_text(content)
        cache.publish(ID, scratch, {path.name: sha256(path) for path in list(scratch.iterdir())})


def test_huggingface_hub_finds_what_was_published(cache: Cache):
    publish(cache)
    folder = Path(snapshot_download(ID, cache_dir=cache.root, local_files_only=True))
    assert (folder / "model.bin").read_text() == "weights"
    assert folder == cache.folder(ID)
    report = scan_cache_dir(cache.root)
    assert [repository.repo_id for repository in report.repos] == [ID]
    assert report.warnings == []


def test_equal_files_are_one_blob_and_a_new_revision_replaces_the_old(cache: Cache):
    publish(cache)
    first = cache.folder(ID)
    publish(cache, "better weights")
    assert cache.folder(ID) != first
    blobs = list((cache.repository(ID) / "blobs").iterdir())
    assert len(blobs) == 3  # "{}" three times is one, and two sorts of weights
    assert all(sha256(blob) == blob.name for blob in blobs)


def test_texts_of_the_user_go_over_the_files(cache: Cache):
    with cache.incoming(ID) as scratch:
        whisper_folder(scratch)
        names = [path.name for path in scratch.iterdir()]
        cache.publish(ID, scratch, {name: sha256(scratch / name) for name in names}, {"config.json": '{"mine": 1}'})
    folder = cache.folder(ID)
    assert folder is not None
    assert (folder / "config.json").read_text() == '{"mine": 1}'


def test_a_cache_without_refs_is_read_all_the_same(cache: Cache):
    folder = install(cache, ID)
    (cache.repository(ID) / "refs" / "main").unlink()
    assert cache.folder(ID) == folder


def test_the_current_revision_goes_before_others_unless_it_is_incomplete(cache: Cache):
    current = install(cache, ID, revision="a" * 40)
    older = whisper_folder(current.parent / ("b" * 40))
    assert cache.folder(ID) == current
    (current / "model.bin").unlink()
    assert cache.folder(ID) == older


def test_models_are_found_in_caches_that_are_only_read(cache: Cache, tmp_path: Path):
    platform = Cache(tmp_path / "volume" / "hub")
    folder = install(platform, ID)
    both = Cache(cache.root, (tmp_path / "missing", platform.root))
    assert both.folder(ID) == folder
    assert both.ids() == [ID]
    own = install(cache, ID)
    assert both.folder(ID) == own


def test_folders_of_no_model_are_not_listed(cache: Cache):
    install(cache, ID)
    for name in ("models--", "models--a--b--c", "models--..--x", "datasets--a--b", "version.txt"):
        (cache.root / name).mkdir()
    assert cache.ids() == [ID]


def test_what_a_failed_download_left_is_swept_by_the_next(cache: Cache):
    def fail() -> None:
        with cache.incoming(ID) as scratch:
            (scratch / "half").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not cache.repository(ID).exists()
    killed = cache.repository(ID) / "incoming-killed"
    killed.mkdir(parents=True)
    (killed / "half").write_text("x")
    publish(cache)
    assert not killed.exists()
    assert cache.folder(ID)


def test_deleting_leaves_nothing(cache: Cache):
    publish(cache)
    cache.delete(ID)
    assert cache.folder(ID) is None
    assert not cache.repository(ID).exists()


def test_a_second_pull_of_the_same_model_waits_for_the_first_but_not_forever(cache: Cache):
    with cache.locked(ID, 5):
        with pytest.raises(SourceUnavailable, match="another process"), cache.locked(ID, 0.1):
            pytest.fail("two hold the lock")
        with cache.locked("someone/else", 0.1):
            pass
    with cache.locked(ID, 0.1):
        pass


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_reported_as_such(cache: Cache, code: int):
    with pytest.raises(StorageFull, match="HF_HOME"), cache.incoming(ID):
        raise OSError(code, "full")


def test_other_disk_errors_stay_what_they_are(cache: Cache):
    with pytest.raises(OSError, match="broken"), cache.incoming(ID):
        raise OSError(errno.EIO, "broken")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_is_named(cache: Cache, code: int):
    with pytest.raises(StorageFull, match=r"cannot be written to .*someone.*why"), cache.incoming("someone/else"):
        raise OSError(code, "why")


def test_a_download_that_cannot_fit_is_refused_before_it_starts(cache: Cache):
    with pytest.raises(StorageFull, match="needs 1000000000000 MB"):
        cache.require_space(ID, 10**18)


@pytest.mark.parametrize("name", ["../x", "a/b/c", "/etc", "a--b", "a/..", "..", "a\0b", "", "a/", "ä/b", "x" * 201])
def test_names_that_could_leave_the_cache_are_refused(cache: Cache, name: str):
    with pytest.raises(ModelNotFound):
        cache.folder(name)


@given(st.text())
def test_no_name_leads_out_of_the_cache(name: str):
    root = Path("/nowhere/hub")
    try:
        folder = Cache(root).repository(name)
    except ModelNotFound:
        return
    assert folder.resolve().parent == root
