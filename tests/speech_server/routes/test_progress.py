"""Progress is found by the id a client sent, and never mixed up between two that sent the same."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import httpx

from tests.conftest import WHISPER
from tests.local_runpod.local_platform import eventually
from tests.speech_server.routes.conftest import silence

HEAR = "/v1/audio/transcriptions"


def begin(pool: ThreadPoolExecutor, client: httpx.Client, request_id: str, seconds: float) -> Future[httpx.Response]:
    headers = {"X-Request-ID": request_id}
    files = {"file": ("a.wav", silence(seconds))}
    return pool.submit(client.post, HEAR, files=files, data={"model": WHISPER}, headers=headers)


def test_a_transcription_is_found_by_its_request_id(client: httpx.Client):
    with ThreadPoolExecutor() as pool:
        work = begin(pool, client, "only-one", 900)
        seen = eventually(lambda: work.done() or asked(client, "only-one"))
        assert work.result().status_code == 200
    assert seen == 200
    assert client.get("/api/progress/only-one").status_code == 404


def test_two_requests_with_one_id_never_mix(client: httpx.Client):
    with ThreadPoolExecutor() as pool:
        both = [begin(pool, client, "same", 900) for _ in range(2)]
        seen = set[int]()
        eventually(lambda: seen.add(asked(client, "same")) or any(work.done() for work in both) or 409 in seen)
        after = [work.result().status_code for work in both]
    assert 409 in seen
    assert after == [200, 200]
    assert client.get("/api/progress/same").status_code == 404


def asked(client: httpx.Client, request_id: str) -> int:
    answer = client.get(f"/api/progress/{request_id}")
    if answer.status_code == 409:
        assert answer.json()["error"]["code"] == "request_id_not_unique"
    return 0 if answer.status_code == 404 else answer.status_code
