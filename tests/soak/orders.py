"""Random jobs for the stand-in server, each with what may become of it. The same seed gives the same jobs."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

LARGEST = 30_000_000
RUN_LIMIT, RUNSYNC_LIMIT = 10_000_000, 20_000_000
ODD_TEXT = (
    "plain",
    "",
    "\x00\x01\x1f\x7f",
    "línea\u2028\u2029\u0085",
    "\u202e\u200b\ufeffעברית",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "e\u0301\u0327" * 9,
    "\uffff\ufffd\U0010ffff",
    "'\"\\/</script>%00%s{0}",
)


Maker = Callable[[random.Random], "Order"]


@dataclass(frozen=True)
class Order:
    """A job's input; the endings it may have besides trouble's: COMPLETED, CANCELLED, or the code of an error."""

    kind: str
    input: Any
    endings: frozenset[str]
    sync: bool = False
    cancel_after: float | None = None
    streams: bool = False
    is_raw: bool = False  # the input is bytes of JSON, or of what nearly is
    uses_disk: bool = False  # a full disk may fail it
    output_is_right: Callable[[Any], bool] = lambda _: True


def random_orders(count: int, seed: int, weighted: dict[Maker, int]) -> Iterator[Order]:
    dice = random.Random(seed)
    makers, weights = zip(*weighted.items(), strict=True)
    for _ in range(count):
        yield dice.choices(makers, weights)[0](dice)


def _completed(kind: str, job_input: Any, right: Callable[[Any], bool], **more: Any) -> Order:
    return Order(kind, job_input, frozenset({"COMPLETED"}), output_is_right=right, **more)


def random_json(dice: random.Random, depth: int = 0) -> Any:
    kinds = ["text", "number", "word"] + (["list", "object"] if depth < 5 else [])
    kind = dice.choice(kinds)
    if kind == "text":
        return "".join(dice.choices(ODD_TEXT, k=dice.randint(0, 3)))
    if kind == "number":
        return dice.choice([0, -1, 2**53, 1.5, -0.0, 1e-300, 1e300, dice.random()])
    if kind == "word":
        return dice.choice([None, True, False])
    if kind == "list":
        return [random_json(dice, depth + 1) for _ in range(dice.randint(0, 4))]
    return {dice.choice(ODD_TEXT) + str(n): random_json(dice, depth + 1) for n in range(dice.randint(0, 4))}


def json_echo(dice: random.Random) -> Order:
    """Comes back as it went, but for `error`, which would fail the job."""
    value = {"value": random_json(dice)}
    job = {"path": "/give", "query": {"type": "application/json"}, "body": value}
    return _completed("json", job, lambda output: output == value, sync=dice.random() < 0.5)


def broken_json(dice: random.Random) -> Order:
    """What no JSON parser takes must still become an output every JSON parser takes."""
    text = dice.choice(
        [
            '{"x": NaN, "y": [Infinity, -Infinity]}',
            '"\\ud83d alone"',
            '{"\\udfff": "\\ud800\\ud800"}',
            "[" * dice.randint(2, 150) + "1" + "]" * 3,
            "{'single': 1}",
            '{"a": 1} trailing',
            "1e999",
            "NaN",
        ]
    )
    job = {"path": f"/give?type=application/json&body={quote(text)}", "method": "GET"}
    return Order("broken json", job, frozenset({"COMPLETED", "bad_reply"}), sync=dice.random() < 0.5)


def sized(dice: random.Random) -> Order:
    """Binary and text results of up to 30 MB: over the limit of their kind they fail and say so."""
    size = dice.choice([0, 1, 2, 3, 65535, 65536, 65537, dice.randint(0, 200_000), dice.randint(0, 2_000_000)])
    if dice.random() < 0.06:
        size = dice.randint(5_000_000, LARGEST)
    sync = dice.random() < 0.5
    content_type = dice.choice(["audio/wav", "audio/mpeg", "application/octet-stream"])
    key = "audio_content" if content_type.startswith("audio/") else "data"
    encoded = (size + 2) // 3 * 4
    limit = RUNSYNC_LIMIT if sync else RUN_LIMIT
    endings = {"COMPLETED"} if encoded < limit - 100_000 else {"reply_too_large"}
    if limit - 100_000 <= encoded <= limit:
        endings = {"COMPLETED", "reply_too_large"}

    def right(output: Any) -> bool:
        if size == 0:
            return bool(output == {"status": "success"})
        content = base64.b64decode(output[key], validate=True)
        return (
            len(content) == size
            and content[:256] == bytes(range(256))[:size]
            and output["content_type"] == content_type
        )

    job = {"path": "/give", "query": {"type": content_type, "size": size}, "method": "GET"}
    return Order("sized", job, frozenset(endings), sync=sync, uses_disk=True, output_is_right=right)


def uploaded(dice: random.Random) -> Order:
    content = dice.randbytes(dice.choice([0, 1, 1000, 70_000, 1_500_000]))
    encoded = base64.b64encode(content).decode()
    name = dice.choice(["a.wav", "ünï \U0001f600.mp3", "x" * 200 + ".ogg", 'qu"ote.flac'])
    if dice.random() < 0.3 and len(content) < 100_000:
        source: dict[str, Any] = {"file_url": f"data:audio/wav;base64,{encoded}"}
    else:
        source = {"file_base64": encoded}
    body = {"model": "m", "list": ["a", "b"], "odd": dice.choice(ODD_TEXT[:5])}
    job = {"path": "/echo", "body": body, "file_name": name, **source}
    endings = {"COMPLETED"} if content else {"COMPLETED", "invalid_job", "media_unavailable"}
    return Order(
        "upload",
        job,
        frozenset(endings),
        sync=dice.random() < 0.5,
        uses_disk=True,
        output_is_right=lambda output: output["method"] == "POST" and output["size"] > len(content),
    )


def failing(dice: random.Random) -> Order:
    status = dice.choice([300, 400, 401, 404, 413, 422, 429, 500, 502, 503])
    body = dice.choice([{"error": {"message": "no", "code": "c"}}, {"detail": [{"loc": ["x"]}]}, {"odd": ODD_TEXT[5]}])
    job = {"path": f"/give?status={status}&type=application/json", "body": body}
    return Order("error", job, frozenset({"c" if "error" in body else f"http_{status}"}), sync=dice.random() < 0.5)


def streaming(dice: random.Random) -> Order:
    text = "".join(dice.choices(ODD_TEXT, k=dice.randint(1, 40))) * dice.choice([1, 1, 300])
    body = {"text": text}
    sent = json.dumps(body | {"stream": True}, ensure_ascii=False)  # the worker asks the server to stream too
    job = {
        "path": "/drip",
        "query": {"type": "text/plain", "count": dice.randint(1, 9), "pause": dice.choice([0, 0.02])},
        "body": body,
        "stream": True,
    }
    return _completed("stream", job, lambda output: output["text"] == sent, streams=True)


def events(dice: random.Random) -> Order:
    body = {"n": dice.randint(1, 9)}
    job = {"path": "/drip", "query": {"type": "text/event-stream", "count": 3}, "body": body, "stream": True}
    return _completed("events", job, lambda output: bool(output), streams=True)


def cancelled(dice: random.Random) -> Order:
    job = {"path": f"/sleep?seconds={dice.choice([5, 60])}", "method": "POST"}
    return Order("cancel", job, frozenset({"CANCELLED"}), cancel_after=dice.choice([0, 0.05, 0.3, 1]))


def slow(dice: random.Random) -> Order:
    seconds = dice.choice([0.01, 0.1, 0.5])
    return _completed(
        "sleep", {"path": f"/sleep?seconds={seconds}"}, lambda o: o == {"slept": seconds}, sync=dice.random() < 0.5
    )


def timed_out(dice: random.Random) -> Order:
    job = {"path": "/sleep?seconds=30", "timeout": dice.choice([0.2, 0.5])}
    return Order("timeout", job, frozenset({"job_timeout"}), sync=dice.random() < 0.5)


def invalid(dice: random.Random) -> Order:
    job: Any = dice.choice(
        [
            {"path": "/give", "unknown": 1},
            {"path": dice.choice(["//evil/x", "/..", "http://evil/", "/a\\b", "/%2e%2e/x", "@evil", "", "/a b\n"])},
            {"path": "/give", "headers": {"X-A": "a\r\nHost: evil"}},
            {"path": "/give", "method": "TRACE"},
            {"path": "/echo", "file_base64": "not base64!"},
            {"path": "/echo", "file_path": "/etc/passwd"},
            {"path": "/echo", "file_url": "http://127.0.0.1:1/x"},
            {"path": "/echo", "body": "text", "timeout": "soon"},
            {"path": 5},
            {},
            [],
            "text",
            7,
            dice.choice(ODD_TEXT[2:]),
        ]
    )
    return Order("invalid", job, frozenset({"invalid_job", "media_unavailable"}), sync=dice.random() < 0.5)


MAKERS: dict[Maker, int] = {
    json_echo: 22,
    broken_json: 8,
    sized: 16,
    uploaded: 12,
    failing: 8,
    streaming: 8,
    events: 3,
    cancelled: 6,
    slow: 6,
    timed_out: 3,
    invalid: 8,
}
