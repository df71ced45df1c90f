"""Jobs of callers who mean harm, each with what may become of it: poison, bombs, slow names, slow buckets."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import Any

from tests.soak.orders import Maker, Order
from tests.soak.outside import ZONE

DONE, INVALID, REFUSED = frozenset({"COMPLETED"}), frozenset({"invalid_job"}), frozenset({"refused 400"})
FULL = frozenset({"storage_full"})
BROKEN = frozenset({"reply_broke_off", "server_unavailable", "bad_reply"})
LATE = frozenset({"job_timeout"})


# --- poison: bytes that local_runpod hands on as they came ---


def _nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def _body(value: bytes) -> bytes:
    return b'{"path": "/give", "query": {"type": "application/json"}, "body": {"v": ' + value + b"}}"


def _with(member: bytes) -> bytes:
    return b'{"path": "/give", ' + member + b"}"


POISON: tuple[tuple[bytes, frozenset[str]], ...] = (
    (_body(b"7" * 4301), INVALID),
    (_body(b"7" * 641), INVALID),
    (_body(b"-" + b"7" * 300), DONE),
    (_body(b"-" + b"7" * 640), DONE | {"result_refused"}),  # the worker carries it; orjson makes no number of it
    (b"7" * 100_000, INVALID),
    (_nested(990), INVALID),
    (_body(_nested(990)), INVALID),
    (_body(_nested(62)), DONE),
    (_body(_nested(65)), INVALID),
    (_body(_nested(501)), INVALID),
    (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, INVALID),
    (_body(b'"\\ud83d"'), REFUSED),
    (_body(b'"\\udfff\\ud800"'), REFUSED),
    (_body(b"NaN"), REFUSED),
    (_body(b"-Infinity"), REFUSED),
    (_body(b"1e999"), INVALID),
    (_body(b"[-1E999999999]"), INVALID),
    (_body(b"1e-999"), DONE),
    (_body(b'"\xff"'), REFUSED),
    (_body(b'"\\u0000\\u2028"'), DONE),
    (b'{"path": "/nowhere", "path": 5, "path": "/give", "body": {"a": 1, "a": 2}}', DONE),
    (b'{"path": "/give", "path": 5}', INVALID),
    (b'{"path": ["/give"]}', INVALID),
    (_with(b'"query": 5'), INVALID),
    (_with(b'"headers": ["a"]'), INVALID),
    (_with(b'"timeout": 1' + b"0" * 400), INVALID),
    (_with(b'"timeout": true'), INVALID),
    (_with(b'"stream": "yes"'), INVALID),
    (_with(b'"method": 7'), INVALID),
    (_with(b'"files": {"a": 1}'), INVALID),
    (_with(b'"s3Config": "x"'), INVALID),
    (_with(b'"__class__": {"id": null}'), INVALID),
    (b'{"path": "/' + b"x" * 5_000_000 + b'"}', INVALID),
    (b'{"' + b"k" * 5_000_000 + b'": 1}', INVALID),
    (_body(b'"' + b"long " * 1_000_000 + b'"'), DONE | FULL),
    (b'{"path": "/give", "body": {' + b", ".join(b'"%d": 0' % n for n in range(200_000)) + b"}}", DONE | FULL),
    (b'""', INVALID),
    (b"false", INVALID),
    (b"[[], {}]", INVALID),
)


def poison(dice: random.Random) -> Order:
    raw, endings = dice.choice(POISON)
    return Order("poison", raw, endings, sync=dice.random() < 0.5, is_raw=True)


# --- bombs: requests that grow, and answers that never end ---


def growing(dice: random.Random) -> Order:
    """Small things in large numbers. What fits is done; what does not is said to be invalid, or the server says so."""
    parts = [{"base64": "QUJD", "name": "../" * 2000 + f"{n}\0.wav", "field": "f"} for n in range(16)]
    job, endings = dice.choice(
        (
            ({"file_base64": "A" * 8_000_000}, DONE | FULL),
            ({"file_base64": "QU\nJD\r\n" * 700_000}, DONE | FULL),
            ({"file_url": "data:audio/wav," + "%41%zz" * 600_000}, DONE | FULL),
            ({"file_url": "data:audio/wav" + ";a=b" * 500_000 + ";base64,QUJD"}, DONE | FULL),
            ({"file_url": "data:audio/wav" + ";a=b" * 500_000}, INVALID),
            ({"file_base64": "=" * 4_000_000}, INVALID),
            ({"file_base64": "QUJD", "file_name": "\u202e\0/\\" * 100_000}, DONE | FULL),
            ({"files": parts}, DONE | FULL),
            ({"files": parts * 80}, INVALID),
            ({"files": [{"base64": "QUJD"}] * 5000 + [5]}, INVALID),
            ({"file_base64": "QUJD", "body": {f"k{n}": [n] * 3 for n in range(5000)}}, DONE | FULL),
            ({"query": {f"k{n}": "v" for n in range(30_000)}}, INVALID | {"http_414"}),
            ({"headers": {f"x-{n}": "v" for n in range(1000)}}, INVALID | {"http_431"}),
            ({"headers": {"x-a": "v" * 200_000}}, INVALID | {"http_431"}),
        )
    )
    return Order("bomb", {"path": "/echo", **job}, endings, sync=dice.random() < 0.5)


def unending(dice: random.Random) -> Order:
    kind = dice.choice(("audio/wav", "text/plain", "text/event-stream", "application/json", ""))
    streams = dice.random() < 0.5
    if dice.random() < 0.5:
        job = {"path": "/endless", "query": {"type": kind}, "method": "GET"}
    else:
        job = {"path": "/drip", "query": {"type": kind, "size": 5000, "count": 5000, "pause": 0.02}, "method": "POST"}
    endings = LATE | {"reply_too_large", "bad_reply"} | FULL
    return Order("unending", {**job, "stream": streams, "timeout": dice.choice((1, 3))}, endings, streams=streams)


HEADS = (
    "",
    "nonsense\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: {type}\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: {type}\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: {type}\r\n\r\nzz\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: ",
    "HTTP/1.1 9999 OK\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
)


def broken_off(dice: random.Random) -> Order:
    """Answers that are none, or only the beginning of one."""
    head = dice.choice(HEADS).format(type=dice.choice(("audio/wav", "text/plain", "application/json")))
    text, repeat = dice.choice((("abc", 10), ("x" * 900, 2000), ("\r\n", 3)))
    hold = dice.choice((0, 0, 30))
    query = {"head": head, "text": text, "repeat": repeat, "hold": hold}
    endings = BROKEN | LATE
    if ("Length: 100000" in head and len(text) * repeat >= 100_000) or (head.endswith("X: ") and text == "\r\n"):
        endings |= DONE  # all of it came, and more; or an answer whose end is the end of its connection
    job = {"path": "/raw", "query": query, "timeout": 2, "method": "GET", "stream": dice.random() < 0.3}
    return Order("broken off", job, endings, sync=dice.random() < 0.5)


# --- what lies outside ---


def slow_name(dice: random.Random, port: int) -> Order:
    manner = dice.choice(("quick", "late", "late", "never", "never", "unknown"))
    url = f"http://{manner}-{dice.randrange(1 << 30)}.{ZONE}:{port}/a.wav"
    job: dict[str, Any] = {"path": "/echo", "file_url": url}
    if manner in ("late", "never"):
        job["timeout"] = dice.choice((0.3, 1, 3))
    # A quick one may stand in line behind slow ones for longer than a look-up may take.
    endings = {"quick": DONE | FULL, "late": DONE | LATE | FULL, "never": LATE, "unknown": frozenset[str]()}[manner]
    return Order(f"{manner} name", job, endings | {"media_unavailable"}, sync=dice.random() < 0.5)


def flood_of_names(dice: random.Random, port: int) -> Order:
    job = {"path": "/echo", "file_url": f"http://never-{dice.randrange(1 << 30)}.{ZONE}:{port}/a.wav", "timeout": 0.3}
    return Order("flood of names", job, LATE | {"media_unavailable"})


def slow_bucket(dice: random.Random, port: int) -> Order:
    manner = dice.choice(("good", "good", "sips", "late", "never", "deaf", "drips", "breaks", "floods", "fails"))
    config = {
        "endpointUrl": f"http://127.0.0.1:{port}",
        "bucketName": manner,
        "accessId": "id",
        "accessSecret": "secret",
    }
    size = dice.choice((8_000_000, 20_000_000))
    job: dict[str, Any] = {"path": "/give", "query": {"type": "audio/wav", "size": size}, "method": "GET"}
    endings = FULL
    if manner != "good":
        job["timeout"] = 4
        endings |= LATE | {"bucket_unavailable"}
    if manner in ("good", "sips", "late"):
        endings |= DONE

    def right(output: Any) -> bool:
        return output["size_bytes"] == size and f"/{manner}/" in output["audio_url"]

    return Order(f"{manner} bucket", {**job, "s3Config": config}, endings, output_is_right=right)


def hostile_makers(kinds: frozenset[str], port: int) -> dict[Maker, int]:
    """Of these kinds of trouble, with their weights beside those of orders.py, which add up to 100."""
    makers: dict[Maker, int] = {}
    if "poison" in kinds:
        makers[poison] = 14
    if "bombs" in kinds:
        makers |= {growing: 8, unending: 5, broken_off: 8}
    if "names" in kinds:
        makers[partial(slow_name, port=port)] = 8
    if "bucket" in kinds:
        makers[partial(slow_bucket, port=port)] = 8
    return makers


def as_body(order: Order) -> bytes:
    """The body of the request that sends this job."""
    return b'{"input": ' + (order.input if order.is_raw else json.dumps(order.input).encode()) + b"}"
