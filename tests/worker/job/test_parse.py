"""Any JSON becomes a JobInput or an InvalidJob that names its field."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import InvalidJob
from worker.job.parse import _OPENAI_KEYS, _REQUEST_KEYS, Bucket, JobInput, MediaSource, parse_job


def parse(**job_input: Any) -> JobInput:
    return parse_job({"id": "1", "input": job_input})


def refusal(**job_input: Any) -> str:
    with pytest.raises(InvalidJob) as caught:
        parse(**job_input)
    return caught.value.message


def test_a_path_alone_is_a_get():
    assert parse(path="/v1/models") == JobInput("GET", "/v1/models")


def test_a_body_makes_it_a_post():
    assert parse(path="/v1/audio/speech", body={"input": "hi"}) == JobInput(
        "POST", "/v1/audio/speech", body={"input": "hi"}
    )


def test_an_empty_body_beside_a_get_is_no_body():
    assert parse(method="get", path="/v1/models", body={}).body is None


def test_a_file_makes_it_a_post_with_its_name_and_field():
    job = parse(path="/x", file_url="https://a.b/c.wav", file_name="talk.wav", file_field="audio")
    assert job.method == "POST"
    assert job.files == (MediaSource("url", "https://a.b/c.wav", "audio", "talk.wav", "input.file_url"),)


def test_several_files_follow_the_single_one():
    job = parse(
        path="/x", file_path="/runpod-volume/a", files=[{"base64": "QQ==", "field": "ref"}, {"url": "https://b"}]
    )
    assert [(file.kind, file.field) for file in job.files] == [("path", "file"), ("base64", "ref"), ("url", "file")]


def test_a_query_comes_from_the_path_and_from_either_key():
    assert parse(path="/v1/models?task=a&b", query={"x": [1, True, None], "y": 2.5}).query == (
        ("task", "a"),
        ("b", ""),
        ("x", "1"),
        ("x", "true"),
        ("y", "2.5"),
    )
    assert parse(path="/v1/models", query_params={"task": "a"}).query == (("task", "a"),)


def test_headers_lose_their_case_and_what_the_worker_sets():
    job = parse(
        path="/x", headers={"X-Request-ID": " 7 ", "Content-Type": "text/plain", "Accept-Encoding": "br", "N": 5}
    )
    assert job.headers == (("x-request-id", "7"), ("n", "5"))


def test_a_stream_asks_the_server_to_stream_too():
    assert parse(path="/x", stream=True, body={"model": "m"}).body == {"model": "m", "stream": True}
    assert parse(path="/x", stream=True, body={"stream": False}).body == {"stream": False}
    assert parse(path="/x", body={"stream": True}).stream
    assert parse(path="/x", stream=True).stream


def test_the_openai_route_is_the_same_request():
    assert parse(openai_route="/v1/audio/speech", openai_input={"input": "hi"}) == JobInput(
        "POST", "/v1/audio/speech", body={"input": "hi"}
    )


@pytest.mark.parametrize("absent", [{}, {"openai_input": None}, {"openai_input": {}}])
def test_the_openai_route_without_input_is_a_get(absent: dict[str, Any]):
    assert parse(openai_route="/v1/models?task=x", **absent) == JobInput("GET", "/v1/models", (("task", "x"),))


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [
        ("https://a.b/c.mp3", "url", None),
        ("data:audio/wav;base64,QQ==", "base64", None),
        ("QQ==", "base64", None),
        ({"path": "/runpod-volume/a.wav", "name": "b.wav"}, "path", "b.wav"),
    ],
)
def test_a_file_in_the_openai_input_makes_it_a_form(file: Any, kind: str, name: str | None):
    job = parse(openai_route="/v1/audio/transcriptions", openai_input={"model": "whisper-1", "file": file})
    assert (job.method, job.body) == ("POST", {"model": "whisper-1"})
    assert [(source.kind, source.field, source.name) for source in job.files] == [(kind, "file", name)]


S3 = {"endpointUrl": "https://s3.test", "bucketName": "b", "accessId": "id", "accessSecret": "secret"}


def test_a_bucket_comes_from_beside_the_input_or_from_inside():
    bucket = Bucket("https://s3.test", "b", "id", "secret", "s3Config")
    assert parse(path="/x", s3Config=S3).bucket == bucket
    assert parse_job({"id": "1", "input": {"path": "/x"}, "s3Config": S3}).bucket == bucket
    assert "secret" not in repr(bucket)


@pytest.mark.parametrize("prefix", ["/v1", "/v3", "/openai/v1", "/api/v1"])
def test_realtime_is_told_apart_under_all_prefixes(prefix: str):
    assert parse(path=f"{prefix}/realtime?model=m").is_realtime
    assert parse(path=f"{prefix}/realtime/translations?model=m").is_realtime
    assert not parse(path=f"{prefix}/realtime/x").is_realtime


@pytest.mark.parametrize(
    ("job_input", "words"),
    [
        ({}, "input.path: required"),
        ({"path": ""}, "input.path: required"),
        ({"path": 5}, "input.path: must be text, not a number"),
        ({"path": "/x", "file": "x"}, "input.file: not a known key"),
        ({"path": "/x", "openai_route": "/v1/models"}, "input.path: not a known key"),
        ({"openai_input": {}}, "input.openai_route: required"),
        ({"openai_route": "/x", "openai_input": []}, "input.openai_input: must be an object, not a list"),
        ({"openai_route": "/x", "openai_input": {"file": 3}}, "input.openai_input.file: must be an object"),
        ({"path": "/x", "body": []}, "input.body: must be an object, not a list"),
        ({"path": "/x", "body": {"a": [0, math.nan]}}, "input.body.a[1]: nan is not JSON"),
        ({"path": "/x", "body": {"a": "\ud800"}}, "input.body.a: holds half of a surrogate pair"),
        ({"path": "/x", "method": "CONNECT"}, "input.method: 'CONNECT' is not one of"),
        ({"path": "/x", "method": "GET", "body": {"a": 1}}, "input.method: GET takes no body"),
        ({"path": "/x", "stream": "yes"}, "input.stream: must be true or false, not text"),
        ({"path": "/x", "stream": 1}, "input.stream: must be true or false, not a number"),
        ({"path": "/x", "timeout": 0}, "input.timeout: must be a number of seconds above 0"),
        ({"path": "/x", "timeout": True}, "input.timeout: must be a number of seconds above 0"),
        ({"path": "/x", "timeout": math.inf}, "input.timeout: must be a number of seconds above 0"),
        ({"path": "/x", "headers": {"X-A": "1", "x-a": "2"}}, "input.headers.x-a: given twice"),
        ({"path": "/x", "query": {"a": 1}, "query_params": {"a": 1}}, "input.query_params: the same as query"),
        ({"path": "/x", "query": {"a": {}}}, "input.query.a: must be text, a number or a boolean, not an object"),
        ({"path": "/x", "file_url": "https://a", "file_path": "b"}, "input.file_path: there is file_url already"),
        ({"path": "/x", "file_name": "a.wav"}, "input.file_name: there is no file_url"),
        ({"path": "/x", "file_base64": ""}, "input.file_base64: is empty"),
        ({"path": "/x", "file_base64": 5}, "input.file_base64: must be text"),
        ({"path": "/x", "file_url": "https://a", "file_field": 'a"b'}, "input.file_field: 'a\"b' is not the name"),
        ({"path": "/x", "files": {}}, "input.files: must be a list"),
        ({"path": "/x", "files": [5]}, "input.files[0]: must be an object"),
        ({"path": "/x", "files": [{}]}, "input.files[0]: needs exactly one of"),
        ({"path": "/x", "files": [{"url": "https://a", "path": "b"}]}, "input.files[0]: needs exactly one of"),
        ({"path": "/x", "files": [{"url": "https://a", "size": 1}]}, "input.files[0].size: not a known key"),
        ({"path": "/x", "files": [{"base64": "QQ=="}] * 17}, "input.files: 17 files"),
        ({"path": "/x", "s3Config": 5}, "s3Config: must be an object"),
        ({"path": "/x", "s3Config": {**S3, "bucketName": ""}}, "s3Config.bucketName: required"),
        ({"path": "/x", "s3Config": {**S3, "endpointUrl": "file:///"}}, "s3Config.endpointUrl: only http and https"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(job_input: dict[str, Any], words: str):
    assert refusal(**job_input).startswith(words)


@pytest.mark.parametrize("job_input", [None, [], "x", 5, True])
def test_an_input_that_is_no_object_is_refused(job_input: Any):
    with pytest.raises(InvalidJob, match=r"^input: must be an object"):
        parse_job({"id": "1", "input": job_input})


def test_a_body_may_nest_64_levels_and_no_more():
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    assert parse(path="/x", body={"a": nested(63)}).body
    assert "nested more than 64 levels" in refusal(path="/x", body={"a": nested(64)})
    assert "nested more than 64 levels" in refusal(path="/x", body={"a": nested(900)})


any_text = st.text(st.characters(), max_size=30)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=15,
)
KEYS = sorted(_REQUEST_KEYS | _OPENAI_KEYS)
likely = st.sampled_from(
    [
        "/v1/models",
        "//host",
        "/a/../b",
        "/%2e%2e/x",
        "POST",
        "https://a.b/c?d",
        "QQ==",
        True,
        3,
        {},
        [],
        {"url": "https://x"},
    ]
)
jobs = st.dictionaries(st.sampled_from(KEYS), likely | any_json, max_size=8)


def parsed_or_refused(job_input: Any) -> JobInput | InvalidJob:
    try:
        return parse_job({"id": "1", "input": job_input})
    except InvalidJob as error:
        return error


@given(jobs | any_json)
def test_any_json_is_a_job_or_an_error_that_names_its_field(job_input: Any):
    job = parsed_or_refused(job_input)
    if isinstance(job, InvalidJob):
        assert job.message.startswith(("input", "s3Config"))
        return
    assert job.path.startswith("/")
    assert not job.path.startswith("//")
    assert job.path.isascii()
    assert job.method == job.method.upper()
    assert all(name == name.lower() and value.isascii() for name, value in job.headers)
