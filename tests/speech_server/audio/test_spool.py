from __future__ import annotations

import tempfile
from functools import partial

import pytest

from speech_server.audio import spool
from speech_server.audio.spool import Spool
from speech_server.errors import StorageFull

full = partial(open, "/dev/full", "w+b")


def test_it_gives_back_what_was_written_in_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "PIECE", 4)
    kept = Spool(0)
    kept.write(b"abcdefgh")
    kept.write(b"ij")
    kept.seek(1)
    kept.write(b"B")
    assert list(kept.pieces()) == [b"aBcd", b"efgh", b"ij"]
    kept.close()


def test_much_is_on_disk_and_little_is_not():
    kept = Spool(0)
    kept.write(bytes(spool.IN_MEMORY))
    assert not kept._file._rolled
    kept.write(b"1")
    assert kept._file._rolled
    kept.close()


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_full_disk_is_named_whichever_call_notices_it(size: int, monkeypatch: pytest.MonkeyPatch):
    """A file's buffer holds the last bytes back until it is sought, and tries them again when it is closed."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full())
    monkeypatch.setattr(spool, "IN_MEMORY", 1)
    kept = Spool(0)

    def use() -> None:
        kept.write(bytes(size))
        kept.write(bytes(size))
        list(kept.pieces())

    with pytest.raises(StorageFull):
        use()
    kept.close()


def test_it_leaves_the_disk_its_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "LOOK_EVERY", 100)
    kept = Spool(1 << 60)
    kept.write(bytes(100))
    with pytest.raises(StorageFull):
        kept.write(b"1")
    kept.close()
