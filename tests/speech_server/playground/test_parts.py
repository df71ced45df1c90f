"""The page's parts: their types, their policy, how they are cached, and that everybody may have them."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from speech_server.app import create_app
from speech_server.playground import ASSETS, FOLDER
from speech_server.settings import Settings

LONGEST = 300  # lines of one module


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(create_app(Settings(api_key="secret")))


def address(name: str) -> str:
    return "/" if name == "index.html" else f"/page/{name}"


def test_every_file_of_the_folder_is_served():
    assert {path.name for path in FOLDER.iterdir()} == set(ASSETS)


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_a_part_is_public_typed_and_asked_for_again(client: TestClient, name: str):
    answer = client.get(address(name))
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "html": "text/html"}
    assert (answer.status_code, answer.content) == (200, (FOLDER / name).read_bytes())
    assert answer.headers["content-type"].partition(";")[0] == kinds[name.rpartition(".")[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(address(name), headers={"If-None-Match": f'"other", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline(client: TestClient):
    rules = dict(rule.strip().split(" ", 1) for rule in client.get("/").headers["content-security-policy"].split(";"))
    assert rules.pop("default-src") == "'none'"
    assert {source for rule in rules.values() for source in rule.split()} == {"'self'", "'none'", "blob:"}
    assert rules["script-src"] == rules["style-src"] == "'self'"
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    # Relative, so that the page also works where a proxy puts it under a path of its own.
    assert re.findall(r'(?:src|href)="(?:\w+:|/)', page) == []


def test_no_part_names_another_place_to_load_from():
    imports = [place for path in FOLDER.glob("*.js") for place in re.findall(r'from "([^"]+)"', path.read_text())]
    assert imports
    assert {place for place in imports if not re.fullmatch(r"\./\w+\.js", place)} == set()
    assert not re.search(r"url\(|@import", (FOLDER / "page.css").read_text())


@pytest.mark.parametrize("name", ["app.py", "..%2f__init__.py", "%2e%2e/__init__.py", "nothing.js"])
def test_only_the_parts_are_served(client: TestClient, name: str):
    assert client.get(f"/page/{name}").status_code in (403, 404)


def test_modules_are_short_and_their_first_line_says_what_they_do():
    modules = {path.name: path.read_text() for path in FOLDER.glob("*.js")}
    assert {name for name, text in modules.items() if len(text.splitlines()) > LONGEST} == set()
    assert {name for name, text in modules.items() if not text.startswith("/** ")} == set()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, {"key_needed": False, "language_model": False, "manages_models": True}),
        ({"api_key": "k"}, {"key_needed": True, "language_model": False, "manages_models": True}),
        ({"chat_completion_base_url": "http://127.0.0.1:1/v1", "model_management": "off"},
         {"key_needed": False, "language_model": True, "manages_models": False}),
    ],
)  # fmt: skip
def test_the_page_is_told_what_it_must_know_before_it_asks(values: dict[str, str], told: dict[str, bool]):
    answer = TestClient(create_app(Settings(**values))).get("/page/server.json")
    assert answer.json() == told
