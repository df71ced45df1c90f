"""Without a key, a web page of somebody else's cannot use the server; everybody who is no web page can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from speech_server.app import create_app
from speech_server.settings import Settings
from tests.conftest import ServerProcess

REALTIME = "/v1/realtime?intent=transcription"


def client(host: str = "localhost:8000", **settings: Any) -> TestClient:
    """The real app, asked under the name `host`."""
    return TestClient(create_app(Settings(**settings)), base_url=f"http://{host}")


def post(asked: TestClient, **headers: str) -> int:
    """A form, as any page may post it: no browser asks first."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked.post(
        "/v1/audio/transcriptions", files={"other": b""}, data={"model": "no/such"}, headers=named
    ).status_code


LET_IN = 404  # the model does not exist: the request has been looked at

# --- somebody else's page ---

SERVED = [
    "localhost:8000",
    "127.0.0.1:8000",
    "[::1]:8000",
    "192.168.1.5:8000",
    "speech.example",
    "abc-8000.proxy.runpod.net",
]
PAGES = [
    "https://evil.example",
    "http://evil.example",
    "http://localhost:3000",
    "null",
    "https://localhost:8001",
    "nonsense",
    "http://localhost:99999",
    "http://[::1:8000",
    "http://[::g]:8000",
    "http://user@localhost:8000",
    "http://localhost:8000/page",
]


@pytest.mark.parametrize("host", SERVED)
@pytest.mark.parametrize("origin", [*PAGES, "http://localhost.evil.example:8000", "http://127.0.0.1.evil.example"])
def test_a_form_from_somebody_elses_page_is_refused(host: str, origin: str):
    with_host = client(host, uvicorn_host="0.0.0.0")
    assert post(with_host, origin=origin) == 403


def test_the_refusal_says_who_and_what_to_do():
    error = client().delete("/v1/models/a/b", headers={"Origin": "https://evil.example"}).json()["error"]
    assert error["code"] == "origin_not_allowed"
    assert "https://evil.example" in error["message"]
    assert "ALLOW_ORIGINS" in error["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_that_changes_anything_is_let_through(method: str):
    assert client().request(method, "/api/ps/a/b", headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("origin", PAGES)
def test_a_websocket_from_somebody_elses_page_is_refused(origin: str):
    session = client().websocket_connect(REALTIME, headers={"Origin": origin})
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        pytest.fail("it was accepted")
    assert (denied.value.status_code, denied.value.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_reading_is_the_browsers_own_business():
    """A browser does not show a page the answer; and a link from another page must open."""
    answer = client().get("/v1/registry", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


# --- a name that its owner points at this machine (DNS rebinding): such a page is of the server's own origin ---


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_on_loopback_only_names_of_this_machine_are_answered(method: str):
    answer = client("evil.example:8000").request(method, "/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
    assert "ALLOWED_HOSTS" in answer.json()["error"]["message"]


def test_elsewhere_its_page_can_post_nothing():
    asked = client("evil.example:8000", uvicorn_host="0.0.0.0")
    assert post(asked, origin="http://evil.example:8000") == 403
    assert post(asked, origin="http://evil.example:8000", x_forwarded_host="evil.example:8000") == 403


# --- everybody else ---

OWN = [
    ("localhost:8000", "http://localhost:8000"),
    ("LOCALHOST:8000", "http://localhost:8000"),
    ("speech.localhost:8000", "http://speech.localhost:8000"),
    ("127.0.0.1:8000", "http://127.0.0.1:8000"),
    ("127.0.0.1", "http://127.0.0.1:80"),
    ("[::1]:8000", "http://[::1]:8000"),
    ("192.168.1.5:49153", "http://192.168.1.5:49153"),  # a container's mapped port
    ("nas.local:8000", "http://nas.local:8000"),
    ("speech:8000", "http://speech:8000"),  # a container's name in compose
    ("abc-8000.proxy.runpod.net", "https://abc-8000.proxy.runpod.net"),  # a pod's own address
    ("speech.example:443", "https://speech.example"),
]


@pytest.mark.parametrize(("host", "origin"), OWN)
def test_the_servers_own_page_works_where_the_server_is_reached(host: str, origin: str):
    assert post(client(host, uvicorn_host="0.0.0.0"), origin=origin) == LET_IN


def test_its_page_works_behind_a_proxy_that_names_itself():
    asked = client("10.0.0.7:8000", uvicorn_host="0.0.0.0")
    assert post(asked, origin="https://speech.example", x_forwarded_host="speech.example") == LET_IN
    assert post(asked, origin="https://evil.example", x_forwarded_host="speech.example") == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.5:8000", "worker"])
def test_who_is_no_browser_sends_no_origin(host: str):
    assert post(client(host)) == LET_IN


@pytest.mark.parametrize("host", ["abc123.api.runpod.ai", "anything.example:8000", "10.1.2.3:8000", ""])
def test_a_load_balancer_may_call_the_server_what_it_likes(host: str):
    assert post(client(uvicorn_host="0.0.0.0"), host=host) == LET_IN


# --- exceptions by setting ---


def test_an_allowed_origin_works_everywhere():
    asked = client(allow_origins=["https://app.example"])
    assert post(asked, origin="https://app.example") == LET_IN
    assert post(asked, origin="https://evil.example") == 403
    assert post(client(allow_origins=["*"]), origin="https://any.example") == LET_IN


def test_allowed_hosts_are_names_of_the_server():
    asked = client("speech.example:8000", allowed_hosts=["speech.example"])
    assert post(asked, origin="http://speech.example:8000") == LET_IN
    assert post(asked, origin="http://evil.example:8000") == 403
    assert client("other.example", allowed_hosts=["speech.example"]).get("/v1/registry").status_code == 403


def test_with_a_gateway_in_front_nothing_is_asked():
    asked = client("anything.example", allowed_hosts=["*"])
    assert post(asked, origin="https://app.example") == LET_IN


def test_a_key_makes_the_question_needless():
    asked = client("anything.example", api_key="sk-key")
    assert post(asked, origin="https://app.example") == 403
    assert post(asked, origin="https://app.example", authorization="Bearer sk-key") == LET_IN


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_what_a_platform_polls_is_answered_under_any_name(path: str):
    assert client("evil.example").get(path).status_code in (200, 204)


# --- on a real server ---


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ServerProcess({"ALLOW_ORIGINS": "https://app.example"})
    yield server.url
    server.stop()


def test_official_clients_are_let_in(url: str):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as official:
        with pytest.raises(openai.NotFoundError):
            official.audio.transcriptions.create(model="no/such", file=("a.wav", b"x"))
        assert httpx.post(f"{url}/api/ps/no/such", headers={"Origin": "https://evil.example"}).status_code == 403


async def greeted(url: str, origin: str | None) -> bool:
    async with connect(url, origin=origin) as session:  # type: ignore[arg-type]
        return "session.created" in str(await session.recv())


@pytest.mark.parametrize("origin", [None, "https://app.example", "own"])
def test_a_websocket_is_opened_from_where_it_may(url: str, origin: str | None):
    address = f"ws{url.removeprefix('http')}{REALTIME}"
    assert asyncio.run(greeted(address, url if origin == "own" else origin))


def test_a_websocket_is_refused_from_elsewhere(url: str):
    with pytest.raises(InvalidStatus, match="403"):
        asyncio.run(greeted(f"ws{url.removeprefix('http')}{REALTIME}", "https://evil.example"))
