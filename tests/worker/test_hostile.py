"""What a stranger may try, each with the error it gets; none of it reaches the server, or anything on loopback."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.worker.conftest import Jobs

pytestmark = pytest.mark.anyio


class Canary(ThreadingHTTPServer):
    """Counts who comes, on loopback: what internal services and metadata addresses are in real life."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CanaryHandler)
        self.hits: list[str] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.hits.append(str(client_address))
        super().process_request(request, client_address)


class CanaryHandler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    server = Canary()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(value: str) -> dict[str, Any]:
    return {"path": "/echo", "file_url": value}


def path(value: str) -> dict[str, Any]:
    return {"path": value}


def header(name: str, value: Any) -> dict[str, Any]:
    return {"path": "/echo", "headers": {name: value}}


def on_volume(value: str) -> dict[str, Any]:
    return {"path": "/echo", "file_path": value}


def base64(value: str) -> dict[str, Any]:
    return {"path": "/echo", "file_base64": value}


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


NOT_PUBLIC = "not a public address"
# PORT is the canary's.
HOSTILE: list[tuple[dict[str, Any], str]] = [
    # URLs: loopback in all its spellings
    (url("http://127.0.0.1:PORT/"), NOT_PUBLIC),
    (url("http://localhost:PORT/"), NOT_PUBLIC),
    (url("http://127.1:PORT/"), "not an IPv4 address"),
    (url("http://2130706433:PORT/"), "not an IPv4 address"),
    (url("http://0x7f000001:PORT/"), "not an IPv4 address"),
    (url("http://0177.0.0.1:PORT/"), "not a URL"),
    (url("http://0.0.0.0:PORT/"), NOT_PUBLIC),
    (url("http://[::1]:PORT/"), NOT_PUBLIC),
    (url("http://[::]:PORT/"), NOT_PUBLIC),
    (url("http://[::ffff:127.0.0.1]:PORT/"), NOT_PUBLIC),
    (url("http://[::127.0.0.1]:PORT/"), NOT_PUBLIC),
    (url("http://[2002:7f00:1::]:PORT/"), NOT_PUBLIC),
    (url("http://[64:ff9b::7f00:1]:PORT/"), NOT_PUBLIC),
    (url("http://[64:ff9b:1::7f00:1]:PORT/"), NOT_PUBLIC),
    (url("http://[2001:0:7f00:1::]:PORT/"), NOT_PUBLIC),
    (url("http://user:password@127.0.0.1:PORT/"), "has a user name"),
    (url("http://example.com@127.0.0.1:PORT/"), "has a user name"),
    (url("http://127.0.0.1:PORT#@example.com/"), "has a # right after the host"),
    (url("http://①②⑦.0.0.1:PORT/"), "a host outside ASCII"),
    (url("http://127。0。0。1:PORT/"), "a host outside ASCII"),
    (url("http://%31%32%37.0.0.1:PORT/"), "a % in its host"),
    (url("http://%2531%2532%2537.0.0.1:PORT/"), "a % in its host"),
    (url("http://[fe80::1%25lo]:PORT/"), "without a zone"),
    (url("http://[::1%lo]:PORT/"), "without a zone"),
    (url("http://127.0.0.1:PORT\\@example.com/"), "has a backslash"),
    (url("http://example.com\\@127.0.0.1:PORT/"), "has a backslash"),
    (url("http://127.0.0.1:PORT /"), "has a space"),
    (url("http://127.0.0.1:\tPORT/"), "has a control character"),
    (url("http://127.0.0.1:PORT:80/"), "is not a port"),
    (url("http://127.0.0.1:/"), "is not a port"),
    (url("http://127.0.0.1:+PORT/"), "is not a port"),
    # URLs: private networks, metadata services, ranges that are nobody's
    (url("http://169.254.169.254/latest/meta-data/"), NOT_PUBLIC),
    (url("http://[fd00:ec2::254]/latest/meta-data/"), NOT_PUBLIC),
    (url("http://10.0.0.1/"), NOT_PUBLIC),
    (url("http://172.16.0.1/"), NOT_PUBLIC),
    (url("http://192.168.1.1/"), NOT_PUBLIC),
    (url("http://100.64.0.1/"), NOT_PUBLIC),
    (url("http://192.0.0.8/"), NOT_PUBLIC),
    (url("http://198.18.0.1/"), NOT_PUBLIC),
    (url("http://224.0.0.1/"), NOT_PUBLIC),
    (url("http://255.255.255.255/"), NOT_PUBLIC),
    (url("http://[fe80::1]/"), NOT_PUBLIC),
    (url("http://[fec0::1]/"), NOT_PUBLIC),
    (url("http://[ff02::1]/"), NOT_PUBLIC),
    # URLs: other schemes and none
    (url("file:///etc/passwd"), "only http and https"),
    (url("ftp://example.com/a.wav"), "only http and https"),
    (url("gopher://127.0.0.1:PORT/_GET"), "only http and https"),
    (url("//127.0.0.1:PORT/"), "only http and https"),
    (url("http:///a.wav"), "only http and https"),
    (url("http://[::1"), "not a URL"),
    (url("http://127.0.0.1:99999/"), "is not a port"),
    (url("http://\x00/"), "not a URL"),
    (url("data:,"), "holds no bytes"),
    (url("data:audio/wav;base64,@@@@"), "is not base64"),
    (url("data:nonsense"), "not a data URI"),
    # paths
    (path("http://127.0.0.1:PORT/"), "must begin with one /"),
    (path("//127.0.0.1:PORT/"), "begins a host name"),
    (path("@127.0.0.1:PORT/"), "must begin with one /"),
    (path(":PORT/"), "must begin with one /"),
    (path("/\\127.0.0.1:PORT/"), "has a backslash"),
    (path("/%5c127.0.0.1:PORT/"), "has a backslash"),
    (path("/%2f127.0.0.1:PORT/"), "begins a host name"),
    (path("/%252f127.0.0.1:PORT/"), "begins a host name"),
    (path("/v1/../secret"), "has . or .. as a segment"),
    (path("/v1/%2e%2e/secret"), "has . or .. as a segment"),
    (path("/v1/%252e%252e%252fsecret"), "has . or .. as a segment"),
    (path("/%25252525252e"), "percent-encoded too many times"),
    (path("/v1\r\nHost: evil"), "has control characters"),
    (path("/v1%0d%0aHost:%20evil"), "has control characters"),
    (path("/v1?a=\r\nHost: evil"), "control characters in the query"),
    (path("/v1\x00"), "has control characters"),
    (path("/v1#fragment"), "# has no meaning here"),
    (path("/" + "a" * 5000), "5001 characters"),
    ({"openai_route": "//127.0.0.1:PORT/"}, "begins a host name"),
    # headers
    (header("Host", "evil"), "belongs to the connection"),
    (header("content-length", "0"), "belongs to the connection"),
    (header("Transfer-Encoding", "chunked"), "belongs to the connection"),
    (header("Connection", "upgrade"), "belongs to the connection"),
    (header("Upgrade", "websocket"), "belongs to the connection"),
    (header("Proxy-Authorization", "x"), "belongs to the connection"),
    (header("Expect", "100-continue"), "belongs to the connection"),
    (header("X", "a\r\nHost: evil"), "only printable ASCII"),
    (header("X\r\nHost", "evil"), "is not a header name"),
    (header("X Y", "a"), "is not a header name"),
    (header("X", "é"), "only printable ASCII"),
    (header("X", ["a"]), "must be text"),
    (header("X", "a" * 9000), "9000 characters"),
    ({"path": "/echo", "headers": {f"X-{i}": "a" for i in range(65)}}, "65 headers"),
    # files on the volume
    (on_volume("/etc/passwd"), "must be a file under"),
    (on_volume("../outside.txt"), "must be a file under"),
    (on_volume("link"), "must be a file under"),
    (on_volume("folder-link/outside.txt"), "must be a file under"),
    (on_volume("."), "is a directory"),
    (on_volume("fifo"), "must be a file under"),
    (on_volume("missing"), "no such file"),
    (on_volume("a\x00b"), "must be a file under"),
    (on_volume("a/" * 3000), "cannot be opened"),
    # base64
    (base64("QUJ*"), "is not base64"),
    (base64("QUJD-_"), "is not base64"),
    (base64("Q"), "is not base64"),
    (base64("===="), "base64"),
    (base64("\ud800"), "is not base64"),
    # JSON
    ({"path": "/echo", "body": nested(65)}, "nested more than 64 levels"),
    ({"path": "/echo", "body": nested(500)}, "nested more than 64 levels"),
    ({"path": "/echo", "body": {"a": math.nan}}, "is not JSON"),
    ({"path": "/echo", "body": {"a": -math.inf}}, "is not JSON"),
    ({"path": "/echo", "body": {"\udfff": 1}}, "half of a surrogate pair"),
    ({"path": "/echo", "timeout": math.nan}, "a number of seconds above 0"),
    ({"path": "/echo", "timeout": 10**400}, "input.timeout: must be a number of seconds above 0, and not above 1e+15"),
    ({"path": "/echo", "timeout": -(10**400)}, "input.timeout: must be a number of seconds above 0"),
    ({"path": "/echo", "timeout": math.inf}, "input.timeout: must be a number of seconds above 0"),
    ({"path": "/echo", "timeout": True}, "input.timeout: must be a number of seconds above 0"),
    ({"path": "/v1/realtime", "timeout": 10**400}, "input.timeout: must be a number of seconds above 0"),
    ({"audio": "data:,", "timeout": 10**400}, "input.timeout: must be a number of seconds above 0"),
    ({"audio": "http://127.0.0.1:PORT/"}, "input.audio: "),
    ({"path": "/echo", "query": {"a": math.inf}}, "input.query.a: inf is not JSON"),
    ({"path": "/echo", "a\nINFO   | forged": 1}, "not a known key"),
    ({"path": "/echo", "file_base64": "QQ==", "file_field": 'a"; filename="b'}, "is not the name of a form field"),
    ({"path": "/echo", "file_base64": "QQ==", "file_field": "a\r\nX: y"}, "is not the name of a form field"),
    ({"path": "/echo", "s3Config": {"endpointUrl": "http://127.0.0.1:PORT"}}, "s3Config.bucketName: required"),
]


# Where a result that is too large would go.
HOSTILE_BUCKETS: list[tuple[str, str]] = [
    ("http://127.0.0.1:PORT/\\@public.example/", "s3Config.endpointUrl: is not a URL: has a backslash"),
    ("http://127.0.0.1:PORT\\@1.1.1.1/", "s3Config.endpointUrl: is not a URL: has a backslash"),
    ("http://public.example@127.0.0.1:PORT/", "has a user name"),
    ("http://127.0.0.1:PORT#.public.example", "has a # right after the host"),
    ("http://127.0.0.1:PORT/?x=.public.example", "has a ?"),
    ("http://127.0.0.1:PORT/#.public.example", "or a #"),
    ("http://0x7f.1:PORT/", "not an IPv4 address"),
    ("http://127.0.0.1:PORT\n/", "has a control character"),
    ("ftp://127.0.0.1:PORT/", "only http and https"),
    ("http://127.0.0.1:PORT", NOT_PUBLIC),
    ("http://localhost:PORT", NOT_PUBLIC),
    ("http://[::ffff:127.0.0.1]:PORT", NOT_PUBLIC),
    ("http://169.254.169.254", NOT_PUBLIC),
]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volume")
    folder = root / "volume"
    folder.mkdir()
    (root / "outside.txt").write_text("secret")
    (folder / "link").symlink_to(root / "outside.txt")
    (folder / "folder-link").symlink_to(root)
    os.mkfifo(folder / "fifo")
    return folder


def at(job_input: Any, port: int) -> Any:
    if isinstance(job_input, str):
        return job_input.replace("PORT", str(port))
    if isinstance(job_input, dict) and len(str(job_input)) < 1000:
        return {key: at(value, port) for key, value in job_input.items()}
    return job_input


@pytest.mark.parametrize(("job_input", "words"), HOSTILE, ids=[f"{i}" for i in range(len(HOSTILE))])
async def test_a_hostile_input_is_refused_with_a_reason(
    jobs: Jobs, canary: Canary, volume: Path, job_input: dict[str, Any], words: str
):
    careful = jobs.with_settings(volume=str(volume))
    output = await careful(**at(job_input, canary.server_port))
    await careful.proxy.close()
    error = json.loads(output["error"])
    assert error["source"] == "worker"
    assert 400 <= error["status"] < 500
    assert words in error["message"]
    assert str(volume.parent) not in error["message"].replace(str(volume), "")


async def test_the_table_is_long_enough_and_nothing_was_reached(jobs: Jobs, canary: Canary):
    assert len(HOSTILE) >= 60
    assert jobs.gauge()["seen"] == []
    assert canary.hits == []
    # Both can be reached by who may.
    trusted = jobs.with_settings(allow_private_urls=True)
    output = await trusted(**at(url("http://127.0.0.1:PORT/"), canary.server_port))
    await trusted.proxy.close()
    assert "the URL answered 501" in output["error"]
    assert len(canary.hits) == 1


@pytest.mark.parametrize(("endpoint", "words"), HOSTILE_BUCKETS, ids=[f"{i}" for i in range(len(HOSTILE_BUCKETS))])
async def test_a_hostile_bucket_gets_nothing(jobs: Jobs, canary: Canary, endpoint: str, words: str):
    before = list(canary.hits)
    config = {"bucketName": "results", "accessId": "id", "accessSecret": "secret"}
    config["endpointUrl"] = at(endpoint, canary.server_port)
    output = await jobs(path="/give?type=audio/wav&size=8000000", method="POST", s3Config=config)
    error = json.loads(output["error"])
    assert error["message"].startswith("s3Config.endpointUrl: ")
    assert words in error["message"]
    assert canary.hits == before
