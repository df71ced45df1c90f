"""No name that comes from outside can mean a place outside the model folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.errors import ModelNotFound
from speech_server.models.catalog.ids import is_model_id
from speech_server.models.catalog.listing import list_models, read_data
from speech_server.models.disk.cache import Cache
from speech_server.models.library.catalog import Catalog
from speech_server.settings import Settings

ODD = (
    *("", ".", "..", "/", "//", "a/", "/a", "a//b", "a/b/", "a/b/c", "../a", "a/..", "a/../b", "..a", "a..b", "./a"),
    *(
        "/etc/passwd",
        "a\\b",
        "a/b\0",
        "\0",
        "a/b\n",
        "a b",
        "a/b.git",
        "a/b.",
        "a/b-",
        "a-/b",
        "a--b",
        "-a",
        "_a",
        "~/a",
    ),
    *(
        "datasets/a",
        "Spaces/a",
        "models/a",
        "api/models",
        "ａ/ｂ",
        "a/b\u202e",
        "a/b\u0301",
        "a/%2e%2e",
        "a/b:c",
        "٣/a",
    ),
    *("a" * 97, "a/" + "b" * 97, "a" * 10_000, "hf://a/b", "s3://a", "file:///a", "C:a", "a/b?c", "a/b#c", "\ud800/a"),
)
alphabet = st.sampled_from(list("ab9./-_\\~%:\0\n \u2215\uff0e\u00e9")) | st.characters()
names = st.text(alphabet, max_size=40) | st.from_regex(r"[\w.\-]{1,8}/[\w.\-]{1,8}", fullmatch=True)


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_id_is_refused_at_every_door(cache: Cache, name: str):
    assert not is_model_id(name)
    catalog = Catalog(Settings(model_read_caches=[]))
    for door in (cache.repository, cache.folder, catalog.find, catalog.folder, catalog.look):
        with pytest.raises(ModelNotFound) as refused:
            door(name)
        assert len(refused.value.message) < 300
    assert not list(cache.root.glob("*"))


@given(names)
def test_an_id_names_one_folder_directly_below_the_cache(name: str):
    root = Path("/models/hub")
    if not is_model_id(name):
        return
    repository = Cache(root).repository(name)
    assert os.path.normpath(repository) == str(repository)
    assert repository.parent == root
    assert len(repository.name.encode()) < 255
    assert repository.name.isascii()


@given(names)
def test_the_hub_library_takes_every_id(name: str):
    if is_model_id(name):
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            pytest.fail(str(error))


@given(names, names)
def test_two_ids_never_share_a_folder(one: str, other: str):
    if one != other and is_model_id(one) and is_model_id(other):
        assert Cache(Path("/x")).repository(one) != Cache(Path("/x")).repository(other)


def test_every_model_of_the_catalog_has_an_id():
    assert [model.id for model in list_models(read_data()) if not is_model_id(model.id)] == []


@pytest.mark.parametrize(
    "path",
    [*("a/b.git", "a/b-", "..%2F..%2Fetc", "%00", "datasets/a", "a%2F..%2Fb", "x" * 5000)],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_over_http_it_is_404(cache: Cache, method: str, path: str):
    client = TestClient(create_app(Settings(model_read_caches=[])))
    for route in ("/v1/models/", "/api/ps/"):
        if (route, method) != ("/api/ps/", "GET"):
            answer = client.request(method, route + path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
            assert len(answer.content) < 1000
    assert not list(cache.root.glob("models--*"))
