from __future__ import annotations

import pytest

from speech_server.audio import spool
from speech_server.audio.spool import Spool
from speech_server.errors import StorageFull


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


def test_it_leaves_the_disk_its_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spool, "LOOK_EVERY", 100)
    kept = Spool(1 << 60)
    kept.write(bytes(100))
    with pytest.raises(StorageFull):
        kept.write(b"1")
    kept.close()
