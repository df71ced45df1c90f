"""With API_KEY set, only its bearers are served; what a platform and a browser open first stays public."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from speech_server.routes.border.auth import PUBLIC, Auth
from speech_server.routes.border.client_secrets import ClientSecrets
from tests.conftest import ServerProcess

KEY = "sk-a-secret-kéy"


@pytest.fixture(scope="module")
def guarded() -> Iterator[httpx.Client]:
    server = ServerProcess({"API_KEY": KEY, "ALLOW_ORIGINS": "https://app.example, https://other.example"})
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client
    server.stop()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": "Bearer wrong", "X-API-Key": KEY},
    ],
    ids=str,
)
def test_the_key_opens_the_door(guarded: httpx.Client, headers: dict[str, str]):
    encoded = {name: value.encode() for name, value in headers.items()}
    assert guarded.get("/v1/models", headers=encoded).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"X-API-Key": ""},
        {"X-API-Key": KEY + " and more"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/models", "/v3/models", "/metrics", "/api/ps", "/no/such/route"])
def test_without_the_key_everything_is_403(guarded: httpx.Client, path: str, headers: dict[str, str]):
    answer = guarded.get(path, headers={name: value.encode() for name, value in headers.items()})
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_key_in_the_address_is_only_for_websockets(guarded: httpx.Client):
    assert guarded.get("/v1/models", params={"api_key": KEY}).status_code == 403


@pytest.mark.parametrize("path", sorted(PUBLIC - {"/favicon.ico"}))
def test_the_public_paths_stay_open(guarded: httpx.Client, path: str):
    assert guarded.get(path).status_code == 200


def test_a_preflight_needs_no_key(guarded: httpx.Client):
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = guarded.options("/v1/audio/speech", headers={**asked, "Access-Control-Request-Headers": "authorization"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_a_refusal_tells_a_browser_why(guarded: httpx.Client):
    answer = guarded.get("/v1/models", headers={"Origin": "https://other.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (403, "https://other.example")


def test_a_strange_origin_gets_no_permission(guarded: httpx.Client):
    answer = guarded.get("/health", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_no_origin_is_allowed_by_default(client: httpx.Client):
    assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": "https://a.example"}).headers


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def socket_client(key: str) -> TestClient:
    sockets = [WebSocketRoute(path, greet) for path in ("/v1/realtime", "/v1/other")]
    routes = [*sockets, Route("/v1/models", lambda _: PlainTextResponse("models"))]
    guard = Middleware(Auth, key=key, status=403, secrets=ClientSecrets(key))
    return TestClient(Starlette(routes=routes, middleware=[guard]))


@pytest.mark.parametrize(
    ("key", "path", "protocols"),
    [
        (KEY, f"/v1/realtime?model=x&api_key={KEY}", []),
        ("sk-plain", "/v1/realtime", ["realtime", "openai-insecure-api-key.sk-plain"]),
    ],
)
def test_a_websocket_may_carry_the_key_where_browsers_can_put_it(key: str, path: str, protocols: list[str]):
    with socket_client(key).websocket_connect(path, protocols) as session:
        assert session.receive_text() == "hello"


def test_a_websocket_without_the_key_is_denied_with_the_status_of_the_setting():
    session = socket_client(KEY).websocket_connect("/v1/realtime?api_key=no")
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        pytest.fail("it was accepted")
    assert denied.value.status_code == 403


def test_a_client_secret_opens_a_realtime_socket_and_nothing_else():
    secret, _ = ClientSecrets(KEY).issue({}, 60, single_use=False)
    client = socket_client(KEY)
    with client.websocket_connect("/v1/realtime", ["realtime", f"openai-insecure-api-key.{secret}"]) as session:
        assert session.receive_text() == "hello"
    with client.websocket_connect("/v1/realtime", headers={"Authorization": f"Bearer {secret}"}) as session:
        assert session.receive_text() == "hello"
    answer = client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, "nothing else" in answer.json()["detail"]) == (403, True)
    session = client.websocket_connect("/v1/other", headers={"Authorization": f"Bearer {secret}"})
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        pytest.fail("it was accepted")
    assert denied.value.status_code == 403


def test_another_server_s_client_secret_is_401_and_told_from_a_wrong_key():
    secret, _ = ClientSecrets("another key").issue({}, 60, single_use=False)
    session = socket_client(KEY).websocket_connect("/v1/realtime", ["realtime", f"openai-insecure-api-key.{secret}"])
    with pytest.raises(WebSocketDenialResponse) as denied, session:
        pytest.fail("it was accepted")
    assert (denied.value.status_code, denied.value.json()["error"]["code"]) == (401, "invalid_client_secret")


def test_a_key_that_looks_like_a_client_secret_is_a_key():
    with socket_client("ek_mine").websocket_connect("/v1/realtime?api_key=ek_mine") as session:
        assert session.receive_text() == "hello"
