"""ENDPOINT names a queue endpoint or a server, and the key goes only where it belongs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint.errors import BadArgument
from endpoint.where import Where, find

KEYS = {"RUNPOD_API_KEY": "runpods", "API_KEY": "servers"}


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("abc123", "https://api.runpod.ai/v2/abc123"),
        ("local", "http://127.0.0.1:8010/v2/local"),
        ("https://api.runpod.ai/v2/abc123", "https://api.runpod.ai/v2/abc123"),
        ("https://api.runpod.ai/v2/abc123/", "https://api.runpod.ai/v2/abc123"),
        ("https://api.runpod.ai/v2/abc123/runsync", "https://api.runpod.ai/v2/abc123"),
        ("https://api.runpod.ai/v2/abc123/openai/v1", "https://api.runpod.ai/v2/abc123"),
        ("http://127.0.0.1:9999/v2/local", "http://127.0.0.1:9999/v2/local"),
    ],
)
def test_a_queue_endpoint_is_known_by_its_id_or_its_url_and_gets_runpods_key(named: str, url: str):
    assert find(named, KEYS) == Where(url, takes_jobs=True, api_key="runpods")


def test_bare_ids_go_where_the_sdk_would_send_them():
    environ = {"RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:9999/v2/"}
    assert find("local", environ).url == "http://127.0.0.1:9999/v2/local"


@pytest.mark.parametrize(
    ("named", "url", "key"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", "servers"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1", "servers"),
        ("http://host:8000/openai/v1/", "http://host:8000/openai/v1", "servers"),
        ("https://abc.api.runpod.ai", "https://abc.api.runpod.ai/v1", "runpods"),
        ("https://abc.api.runpod.ai/v1", "https://abc.api.runpod.ai/v1", "runpods"),
        ("https://notrunpod.ai/v1", "https://notrunpod.ai/v1", "servers"),
        ("https://api.runpod.ai.evil.example/v1", "https://api.runpod.ai.evil.example/v1", "servers"),
    ],
)
def test_any_other_url_is_a_servers_and_runpods_key_goes_to_runpods_hosts_only(named: str, url: str, key: str):
    assert find(named, KEYS) == Where(url, takes_jobs=False, api_key=key)


def test_a_key_that_was_named_wins():
    assert find("abc", KEYS, "mine").headers == {"Authorization": "Bearer mine"}
    assert find("abc", {}).headers == {}


@pytest.mark.parametrize(
    "named", ["", "a b", "../x", "ftp://host/v1", "http://", "http://user:pw@host/v1", "http://h/v1?x=1"]
)
def test_what_is_no_endpoint_is_refused_with_the_forms_there_are(named: str):
    with pytest.raises(BadArgument, match=r"is no endpoint.*: give an endpoint's id, a URL like"):
        find(named, {})


@given(st.text(max_size=40))
def test_any_text_is_an_endpoint_or_is_refused(named: str):
    try:
        where = find(named, {})
    except BadArgument:
        return
    assert where.url.startswith(("http://", "https://"))
    assert not where.url.endswith("/")
