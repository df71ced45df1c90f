"""Any answer becomes plain JSON under the limit, or an error that helps."""

from __future__ import annotations

import io
import json
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answer.reply import Link, encode_error, encode_reply, result_limit, server_error
from worker.errors import BadReply, ReplyTooLarge, ServerError, WorkerError
from worker.plain import Base64, make_plain
from worker.settings import Settings

pytestmark = pytest.mark.anyio
LIMIT = 10_000


async def encode(body: bytes, content_type: str, status: int = 200, limit: int = LIMIT) -> Any:
    return await encode_reply(status, content_type, io.BytesIO(body), limit, None)


@pytest.mark.parametrize(
    ("body", "content_type", "output"),
    [
        (b'{"text": "hi"}', "application/json", {"text": "hi"}),
        (b'[{"start": 1, "end": 2}]', "application/json", [{"start": 1, "end": 2}]),
        (b'"x"', "application/problem+json", "x"),
        (b"null", "application/json", None),
        (b"hi\n", "text/plain", {"text": "hi\n", "content_type": "text/plain"}),
        ("é".encode(), "application/x-subrip", {"text": "é", "content_type": "application/x-subrip"}),
        (b"\xff\xfe", "text/vtt", {"text": "\ufffd\ufffd", "content_type": "text/vtt"}),
        (b"oops", "application/json", {"text": "oops", "content_type": "application/json"}),
        (b"", "application/json", {"status": "success"}),
        (b"", "", {"status": "success"}),
        (b"AB", "audio/wav", {"status": "success", "content_type": "audio/wav", "audio_content": "QUI="}),
        (b"AB", "image/png", {"status": "success", "content_type": "image/png", "data": "QUI="}),
        (b"AB", "", {"status": "success", "content_type": "", "data": "QUI="}),
        (b'{"a": NaN, "b": [Infinity, 1e999]}', "application/json", {"a": None, "b": [None, None]}),
        (b'{"a\\ud800": "\\ud83d\\ude00 \\udfff"}', "application/json", {"a\ufffd": "😀 \ufffd"}),
    ],
)
async def test_the_table_of_outputs(body: bytes, content_type: str, output: Any):
    assert await encode(body, content_type) == output


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        (b'{"error": {"message": "no", "type": "t", "code": "c"}, "detail": "no"}', "no", "c"),
        (b'{"detail": "gone"}', "gone", "http_418"),
        (b'{"message": "Model is not loaded"}', "Model is not loaded", "http_418"),
        (b'{"error": null, "detail": "", "message": "this"}', "this", "http_418"),
        (b'{"error": {"message": "a"}, "message": "b"}', "a", "http_418"),
        (
            b'{"detail": [{"loc": ["body", "voice"], "msg": "Field required"}]}',
            '[{"loc": ["body", "voice"]',
            "http_418",
        ),
        (b'{"error": null}', "the server answered 418", "http_418"),
        (b"<h1>teapot</h1>", "<h1>teapot</h1>", "http_418"),
        (b"[]", "the server answered 418", "http_418"),
        (b"", "the server answered 418", "http_418"),
        (b"\xff" * 70_000, "\ufffd" * 100, "http_418"),
    ],
)
async def test_an_error_says_what_the_server_said(body: bytes, words: str, code: str):
    with pytest.raises(ServerError) as caught:
        await encode(body, "application/json", 418)
    assert caught.value.message.startswith(words)
    assert len(caught.value.message) <= 2000
    assert (caught.value.status, caught.value.code) == (418, code)


async def test_a_result_too_large_names_size_limit_and_ways_out():
    with pytest.raises(ReplyTooLarge) as caught:
        await encode(bytes(30_000_000), "audio/wav", limit=10_000_000)
    assert "40.0 MB" in caught.value.message
    assert "10.0 MB" in caught.value.message
    for way in ("mp3", "/runsync", "s3Config", "BUCKET_"):
        assert way in caught.value.message


@pytest.mark.parametrize("content_type", ["audio/wav", "application/json", "text/plain"])
async def test_a_result_too_large_is_stored_where_there_is_a_bucket(content_type: str):
    stored = []

    async def store(body: IO[bytes], kind: str) -> Link:
        stored.append((body.read(), kind))
        return Link("https://bucket/x", 123)

    body = b'"' + b"x" * 20_000 + b'"'
    output = await encode_reply(200, content_type, io.BytesIO(body), LIMIT, store)
    key = "audio_url" if content_type == "audio/wav" else "url"
    assert output == {
        "status": "success",
        "content_type": content_type,
        key: "https://bucket/x",
        "size_bytes": len(body),
        "expires_at": 123,
    }
    assert stored == [(body, content_type)]


async def test_escapes_that_shrink_count_as_what_they_become():
    body = json.dumps("щ" * 4000).encode()  # 24 kB of \uXXXX, 8 kB of UTF-8
    assert await encode(body, "application/json") == "щ" * 4000


async def test_json_that_no_parser_downstream_could_read_is_refused():
    for levels in (201, 300, 500):
        with pytest.raises(BadReply, match="200 levels"):
            await encode(b"[" * levels + b"]" * levels, "application/json")
    for levels in (501, 4000, 150_000):  # Pythons differ in how deep they can read: the limit is ours
        too_deep = await encode(b"[" * levels + b"]" * levels, "application/json", limit=1_000_000)
        assert too_deep["content_type"] == "application/json"


async def test_an_error_too_deep_to_read_keeps_its_status():
    with pytest.raises(ServerError) as caught:
        await encode(b"[" * 4000 + b"]" * 4000, "application/json", status=418)
    assert caught.value.status == 418


@pytest.mark.parametrize(("brackets", "read"), [(200, True), (201, False), (500, False), (501, None), (4000, None)])
async def test_the_limits_of_nesting_are_ours_not_the_interpreters(brackets: int, read: bool | None):
    body = b"[" * brackets + b"]" * brackets
    if read is False:
        with pytest.raises(BadReply, match="200 levels"):
            await encode(body, "application/json")
    else:
        output = await encode(body, "application/json")
        assert isinstance(output, list) if read else output["text"] == body.decode()


any_text = st.text(st.characters(), max_size=20)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text, inner, max_size=5),
    max_leaves=20,
)


@given(any_json)
async def test_any_value_becomes_plain_json_of_the_size_that_is_sent(value: Any):
    plain, size = make_plain(value)
    sent = json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    assert size == len(sent)
    assert json.loads(sent) == plain


@given(
    body=st.binary(max_size=300) | any_json.map(lambda value: json.dumps(value).encode()),
    content_type=st.sampled_from(["application/json", "text/plain", "text/event-stream", "audio/wav", "x/y", ""]),
    status=st.sampled_from([200, 201, 204, 302, 400, 500]),
    limit=st.integers(0, 600),
)
async def test_any_bytes_become_json_under_the_limit_or_an_error(
    body: bytes, content_type: str, status: int, limit: int
):
    try:
        output = await encode(body, content_type, status, limit)
    except WorkerError as error:
        sent = json.dumps({"error": encode_error(error, "id")}, ensure_ascii=False, allow_nan=False).encode()
        assert set(json.loads(json.loads(sent)["error"])) == {
            "type",
            "code",
            "status",
            "message",
            "request_id",
            "source",
        }
        return
    sent = json.dumps(output, ensure_ascii=False, allow_nan=False).encode()
    assert len(sent) <= max(limit, len('{"status": "success"}'))
    json.loads(sent)


def test_the_limit_is_that_of_the_jobs_kind():
    settings = Settings()
    assert 9.9e6 < result_limit("abc-u1", settings) < 10e6
    assert 19.9e6 < result_limit("sync-abc-u1", settings) < 20e6


def test_base64_is_short_in_logs_and_whole_in_json():
    content = Base64("QUJD" * 1000)
    assert len(repr({"audio_content": content})) < 120
    assert json.loads(json.dumps(content)) == "QUJD" * 1000
    assert repr(Base64("QUJD")) == "'QUJD'"


def test_an_error_without_words_still_says_its_status():
    assert server_error(500, b"{}").message == "the server answered 500"
