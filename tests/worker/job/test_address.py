"""A path can never mean anything but a place on the local server."""

from __future__ import annotations

from urllib.parse import unquote

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.errors import InvalidJob
from worker.job.address import check_path


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        ("/v1/models/Systran/faster-whisper-tiny.en", "/v1/models/Systran/faster-whisper-tiny.en"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/é", "/%C3%A9"),
        ("/@user", "/@user"),
        ("/...", "/..."),
        ("/a/", "/a/"),
    ],
)
def test_ordinary_paths_pass(raw: str, encoded: str):
    assert check_path(raw, "path") == (encoded, "")


def test_a_query_is_split_off_and_may_hold_anything_printable():
    assert check_path("/a?b=//c/../d&e=\\", "path") == ("/a", "b=//c/../d&e=\\")


@given(st.text(max_size=40) | st.text("/.\\%@:?#25efEF0ac \n", max_size=20).map("/".__add__))
@example("/%252e%252e/x")
@example("/\t/evil")
def test_what_passes_stays_on_the_local_server_however_often_it_is_decoded(raw: str):
    try:
        path, _ = check_path(raw, "path")
    except InvalidJob:
        return
    url = httpx.URL("http://127.0.0.1:9").copy_with(raw_path=path.encode())
    assert (url.host, url.port, url.userinfo) == ("127.0.0.1", 9, b"")
    form = path
    for _ in range(6):
        assert form.startswith("/")
        assert not form.startswith("//")
        assert "\\" not in form
        assert not {".", ".."} & set(form.split("/"))
        assert form.isprintable() or not form.isascii()
        form = unquote(form)
