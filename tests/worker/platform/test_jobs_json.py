"""An answer's bytes -> jobs, whatever stands between them; what becomes of them on a platform is in test_take.py."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker.plain import MAX_DIGITS, READABLE_DEPTH
from worker.platform.jobs_json import Reading, RefusedJob, read_jobs

any_text = st.text(st.characters(), max_size=8)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)
# Anything whose strings and brackets end: a string that does not cannot be told from the rest of the answer.
no_borders = st.binary(max_size=20).map(lambda raw: bytes(byte for byte in raw if byte not in b'"[]{}'))
garbage = st.one_of(
    any_json.map(lambda value: json.dumps(value).encode()),
    no_borders,
    no_borders.map(lambda raw: b'{"id": "bad", "input": %s}' % raw),
    no_borders.map(lambda raw: b'{"input": "%s", "id": "bad"}' % raw.replace(b"\\", b"")),
    no_borders.map(lambda raw: b"{%s}" % raw),
    st.integers(1, 3000).map(lambda depth: b'{"id": "bad", "input": %s}' % (b"[" * depth + b"]" * depth)),
    st.integers(1, 3000).map(lambda digits: b'{"id": "bad", "input": -%s}' % (b"7" * digits)),
    st.sampled_from([b"[}", b"{]", b"}", b"]", b'["}]"]', b'{"\\\\": "\\""}', b"{}", b'{"id": "\\u0000"}', b'""']),
)


def ids(reading: Reading) -> list[str]:
    return [job_id for job_id in reading.by_id if job_id.startswith("job")]


@given(
    inputs=st.lists(any_json, max_size=6),
    rubbish=st.lists(st.lists(garbage, max_size=2), min_size=7, max_size=7),
    end=st.sampled_from([b"]", b" ]\n", b"", b"]]", b"] oops", b']{"id": "bad']),
    begin=st.sampled_from([b"[", b"\xef\xbb\xbf [ "]),
)
def test_every_job_comes_out_once_in_order_and_whole(
    inputs: list[Any], rubbish: list[list[bytes]], begin: bytes, end: bytes
):
    parts = list(rubbish[0])
    for number, (value, after) in enumerate(zip(inputs, rubbish[1:], strict=False)):
        parts += [json.dumps({"id": f"job{number}", "input": value}).encode(), *after]
    reading = read_jobs(begin + b", ".join(parts) + end, "it ended")
    assert ids(reading) == [f"job{number}" for number in range(len(inputs))]
    for number, value in enumerate(inputs):
        job = reading.by_id[f"job{number}"]
        assert not isinstance(job, RefusedJob)
        assert repr(job["input"]) == repr(json.loads(json.dumps(value)))


@given(st.binary(max_size=300) | st.lists(garbage).map(b"".join), st.sampled_from(["it ended", None]))
def test_no_bytes_raise(raw: bytes, unfinished: str | None):
    reading = read_jobs(raw, unfinished)
    assert all(job["id"] == job_id and "\n" not in job_id for job_id, job in reading.by_id.items())


def reason(raw: bytes, unfinished: str | None = "it ended") -> str:
    (job,) = read_jobs(raw, unfinished).by_id.values()
    return job.error.message if isinstance(job, RefusedJob) else ""


def test_the_limits_are_ours_to_the_last_level_and_digit():
    def nested(levels: int) -> bytes:
        return b'{"id": "a", "input": ' + b"[" * (levels - 1) + b"1" + b"]" * (levels - 1) + b"}"

    assert reason(nested(READABLE_DEPTH)) == ""
    assert "nested more than" in reason(nested(READABLE_DEPTH + 1))
    assert "nested more than" in reason(nested(100_000))
    assert reason(b'{"id": "a", "input": -%s}' % (b"1" * MAX_DIGITS)) == ""
    assert "whole number" in reason(b'{"id": "a", "input": %s}' % (b"1" * (MAX_DIGITS + 1)))
    # Several mistakes: which one is told must not depend on where a parser gives up.
    assert "nested more than" in reason(b'{"id": "a", "input": %s, oops}' % (b"[" * 3000 + b"]" * 3000))


def test_a_job_without_its_end_fails_or_is_left_to_the_platform():
    assert reason(b'{"id": "a", "input": {"text": "...') == "input: it ended"
    assert read_jobs(b'{"id": "a", "input": {"text": "...', None).by_id == {}


def test_an_id_counts_only_at_the_top_level_of_its_job():
    deep = b"[" * 1000 + b"]" * 1000
    raw = b'{"input": {"id": "inner", "text": "{\\"id\\": \\"text\\"", "deep": %s}, "id": "outer"}' % deep
    assert list(read_jobs(raw, None).by_id) == ["outer"]
    assert read_jobs(b'{"input": {"id": "inner", "deep": %s}}' % deep, None).by_id == {}
