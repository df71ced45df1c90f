"""Whatever a URL says, a client connects only to what the door judged: seen at the sockets, for each client there is.

Names are looked up by a hostile name server of our own, and no connection leaves this machine: see canary.py.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.utils._detect_agent
import huggingface_hub.utils._http
import pytest
from hypothesis import HealthCheck, example, given, settings

from endpoint.platform.http import open_client
from endpoint.platform.jobs import Jobs
from endpoint.where import find
from outgoing.addresses import is_public
from outgoing.errors import UrlRefused
from outgoing.url import parse_base, parse_url
from speech_server.language_model import open_language_model
from speech_server.models.disk.cache import Cache
from speech_server.models.library.store import in_silence
from speech_server.models.sources import hub
from speech_server.models.sources.s3 import S3
from speech_server.settings import Settings as ServerSettings
from tests.outgoing.canary import INSIDE, Canary
from tests.outgoing.urls import URLS
from worker.answer.bucket import store_for
from worker.job.download import Download
from worker.job.parse import parse_job
from worker.settings import Settings

CANARY = Canary()
Client = Callable[[str], None]


async def nowhere(_: bytes) -> None: ...


def look_up(host: str, port: int) -> Sequence[str]:  # one for the whole file: huggingface_hub has one client
    return CANARY.look_up(host, port)


def download(text: str) -> None:
    asyncio.run(Download(text, "input.file_url", Settings(), CANARY.look_up).to(nowhere))


def put(text: str) -> None:
    config = {"endpointUrl": text, "bucketName": "results", "accessId": "id", "accessSecret": "secret"}
    job = parse_job({"input": {"path": "/v1/models", "s3Config": config}})
    store = store_for(job, "job-1", Settings(), CANARY.look_up)
    assert store
    asyncio.run(store(io.BytesIO(b"sound"), "audio/wav"))


def put_of_operator(text: str) -> None:
    keys = {"bucket_name": "results", "bucket_access_key_id": "id", "bucket_secret_access_key": "secret"}
    store = store_for(
        parse_job({"input": {"path": "/v1/models"}}),
        "job-1",
        Settings(bucket_endpoint_url=parse_base(text), **keys),
        CANARY.look_up,
    )
    assert store
    asyncio.run(store(io.BytesIO(b"sound"), "audio/wav"))


def model_from_s3(text: str) -> None:
    env = {"AWS_ENDPOINT_URL": text, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    S3("s3://models/calls", env, look_up=CANARY.look_up).fetch("calls", Cache(Path("/nowhere")), in_silence)


def model_from_hub(text: str) -> None:
    if text:  # nothing means the hub itself
        hub.Hub({"HF_ENDPOINT": text}, look_up=look_up).fetch("someone/whisper", Cache(Path("/nowhere")), in_silence)


def language_model(text: str) -> None:
    async def ask() -> None:
        async with open_language_model(ServerSettings(chat_completion_base_url=text), CANARY.look_up) as model:
            await model.complete({})

    asyncio.run(ask())


def command(text: str) -> None:
    if "://" not in text:  # the id of an endpoint
        return

    async def ask() -> None:
        async with open_client(look_up=CANARY.look_up) as http:
            await Jobs(find(text, {}, "key"), http).health()

    asyncio.run(ask())


STRANGERS: list[Client] = [download, put]
OPERATORS: list[Client] = [put_of_operator, model_from_s3, model_from_hub, language_model, command]
SLOW = {put, put_of_operator, model_from_s3}  # building a client takes botocore a tenth of a second


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    # A list it fetches from huggingface.co itself once a day, whatever the end point: through the door too.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    agents = huggingface_hub.utils._detect_agent
    monkeypatch.setattr(agents, "_registry", agents._EMPTY_REGISTRY)
    yield
    hub._send_through.cache_clear()
    huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)


def examine(client: Client, text: str, *, public_only: bool) -> int:
    """How many connections were tried, all of them judged."""
    with CANARY.watching():
        client(text)
    assert CANARY.names == [], "the system was asked for a name behind the door's back"
    try:
        url = parse_url(text)
    except UrlRefused:
        assert (CANARY.connects, dict(CANARY.asked)) == ([], {})
        return 0
    # A bucket may stand before the host. Each name is asked for once: a second answer would be another address.
    assert all(host in (url.host, f"results.{url.host}", f"models.{url.host}") for host in CANARY.asked)
    assert set(CANARY.asked.values()) <= {1}
    judged = {"8.8.4.4", INSIDE} if CANARY.asked else {url.host}
    for address, port in CANARY.connects:
        assert ipaddress.ip_address(address) in {ipaddress.ip_address(known) for known in judged}
        assert port == url.port
        assert is_public(address) or not public_only
    return len(CANARY.connects)


def searched(client: Client, *, public_only: bool) -> None:
    @given(URLS)
    @settings(
        max_examples=40 if client in SLOW else 200,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @example("http://127.0.0.1:8080\\@8.8.8.8/")
    @example("http://127.0.0.1:8080/\\@8.8.8.8")
    @example("http://8.8.8.8:8080\\@127.0.0.1/")
    @example("http://deep.inside/")
    def search(text: str) -> None:
        examine(client, text, public_only=public_only)

    search()


@pytest.mark.parametrize("client", STRANGERS)
def test_a_strangers_url_reaches_only_public_addresses_that_were_judged(client: Client):
    searched(client, public_only=True)


@pytest.mark.parametrize("client", OPERATORS)
def test_an_operators_url_reaches_only_what_was_looked_up_for_it(client: Client):
    searched(client, public_only=False)


@pytest.mark.parametrize("client", STRANGERS + OPERATORS)
@pytest.mark.parametrize(
    "text", ["http://public.example:8080", "https://public.example", "http://8.8.8.8", "https://[2606:4700::1111]:81"]
)
def test_a_good_url_reaches_its_host(client: Client, text: str):
    assert examine(client, text, public_only=client in STRANGERS) >= 1


@pytest.mark.parametrize("client", STRANGERS)
@pytest.mark.parametrize("text", ["http://deep.inside", "http://127.0.0.1", "http://[::1]", "https://169.254.169.254"])
def test_a_strangers_url_to_the_inside_reaches_nothing(client: Client, text: str):
    assert examine(client, text, public_only=True) == 0


@pytest.mark.parametrize("client", OPERATORS)
def test_an_operators_url_may_lead_inside(client: Client):
    assert examine(client, "http://deep.inside", public_only=False) >= 1


def test_the_hubs_own_way_around_the_door_is_shut(monkeypatch: pytest.MonkeyPatch):
    """hf_xet opens connections by itself."""
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    assert hub.open_door("https://hub.example/", look_up) == "https://hub.example"
    assert not huggingface_hub.file_download.is_xet_available()
