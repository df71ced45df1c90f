"""Whatever interrupts a run, what it has written down counts, and nothing that it has not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from endpoint.bulk.manifest import Done, Manifest
from endpoint.errors import BadArgument

ABOUT = {"source": ["talk.mp3", 12], "piece": 600.0}


def written(path: Path) -> Manifest:
    manifest = Manifest(path, ABOUT)
    manifest.found(language="en")
    manifest.found(piece=0, job="job-0")
    manifest.found(piece=1, job="job-1")
    manifest.heard(0, Done(0.0, 600.5, "fünf\nLöwen", 1.5, 8.0))
    manifest.found(piece=2, job="job-2")
    manifest.found(count=3)
    return manifest


def test_another_run_knows_what_one_has_written(tmp_path: Path):
    path = tmp_path / "talk.srt.pieces"
    with written(path):
        pass
    with Manifest(path, ABOUT) as manifest:
        assert manifest.done == {0: Done(0.0, 600.5, "fünf\nLöwen", 1.5, 8.0)}
        assert manifest.jobs == {1: "job-1", 2: "job-2"}
        assert (manifest.language, manifest.count, manifest.is_whole) == ("en", 3, False)
        manifest.heard(2, Done(1200.0, None, "c"))
        manifest.heard(1, Done(600.5, 1200.0, "b"))
        assert manifest.texts() == ["fünf\nLöwen", "b", "c"]
        assert manifest.is_whole


def test_what_is_about_something_else_does_not_count(tmp_path: Path):
    path = tmp_path / "talk.srt.pieces"
    with written(path):
        pass
    with Manifest(path, ABOUT | {"piece": 300.0}) as manifest:
        assert manifest.was_about_another
        assert not manifest.done
        manifest.heard(0, Done(0.0, None, "a"))
    with Manifest(path, ABOUT | {"piece": 300.0}) as manifest:
        assert list(manifest.done) == [0]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_that_was_cut_off_anywhere_counts_up_to_its_last_whole_line(tmp_path: Path, data: st.DataObject):
    path = tmp_path / "talk.srt.pieces"
    path.unlink(missing_ok=True)
    with written(path):
        pass
    whole = path.read_bytes()
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])
    with Manifest(path, ABOUT) as manifest:
        done = whole[:kept].count(b"\n") >= 5
        assert list(manifest.done) == ([0] if done else [])
        manifest.heard(7, Done(0.0, None, "more"))
    with Manifest(path, ABOUT) as manifest:
        assert 7 in manifest.done
        assert (0 in manifest.done) == done


@pytest.mark.parametrize("rubbish", [b"no json\n", b"[]\n{}\n", b'{"version":1}\n', b"\xff\xfe\n\n\n"])
def test_rubbish_is_begun_anew(tmp_path: Path, rubbish: bytes):
    path = tmp_path / "x.pieces"
    path.write_bytes(rubbish)
    with Manifest(path, ABOUT) as manifest:
        assert not manifest.done
        manifest.heard(0, Done(0.0, None, "a"))
    with Manifest(path, ABOUT) as manifest:
        assert list(manifest.done) == [0]


def test_two_runs_do_not_share_one(tmp_path: Path):
    with written(tmp_path / "x.pieces"), pytest.raises(BadArgument, match="another run"):
        Manifest(tmp_path / "x.pieces", ABOUT)


def test_nothing_is_left_of_a_run_that_has_sent_nothing(tmp_path: Path):
    with Manifest(tmp_path / "deep" / "x.pieces", ABOUT):
        pass
    assert not list((tmp_path / "deep").iterdir())
