"""What job-take answered -> jobs: a bad one fails by its id, the others run, and what is lost is named.

The platform answers one job, or a list of them. Read as one document, one number too long or one level too deep in
somebody's input would take all the others along: then each is cut out and read alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from worker.errors import InvalidJob
from worker.plain import STRING, parse_json

Job = dict[str, Any]

_KEYS = ("id", "input", "s3Config", "batchId")  # what the handler and the SDK read of a job
# An id becomes part of URLs, of headers, of lists with commas, and of log lines.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.:~@=+-]{0,199}"
_ID = re.compile(_NAME)
_ID_MEMBER = re.compile(rb'"id"\s*+:\s*+"(' + _NAME.encode() + rb')"')
_BRACKET = re.compile(rb'(?:[^][{}"]++|' + STRING + rb")*+([][{}]|\Z)", re.DOTALL)
_STRING_OR_BRACKET = re.compile(STRING + rb"|[][{}]", re.DOTALL)
_MARGIN = b"\xef\xbb\xbf \t\r\n"  # white space, and a byte order mark
_SEPARATORS = _MARGIN + b",[]"


class RefusedJob(dict[str, Any]):
    """A job that can only fail. A dict with its id, as the SDK's bookkeeping wants it."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(id=job_id)
        self.error = InvalidJob(f"input: {reason}")


@dataclass(slots=True)
class Reading:
    by_id: dict[str, Job] = field(default_factory=dict)  # in the platform's order; some of them refused
    lost: list[str] = field(default_factory=list)  # what became no job, without a word of its content

    def add(self, job: Job | None, what: str) -> None:
        if job is None:
            self.lost.append(f"{what} without an id that can be used")
        elif job["id"] in self.by_id:
            self.lost.append(f"{what} with the id of another, {job['id']}")
        else:
            self.by_id[job["id"]] = job


def read_jobs(raw: bytes, unfinished: str | None) -> Reading:
    """Never raises. `unfinished` is why a job whose end is missing fails; None leaves it to the platform."""
    reading = Reading()
    raw = raw.strip(_MARGIN)
    try:
        whole = parse_json(raw, keep_nan=True) if raw else None
    except ValueError as error:
        _read_each(raw, unfinished, str(error), reading)
    else:
        for value in whole if isinstance(whole, list) else [] if whole is None else [whole]:
            reading.add(_job(value), "an element")
    return reading


def _read_each(raw: bytes, unfinished: str | None, why: str, reading: Reading) -> None:
    used = 0
    for element, is_whole in _objects(raw):
        used += len(element)
        what = f"an element of {len(element)} bytes"
        if is_whole:
            try:
                reading.add(_job(parse_json(element, keep_nan=True)), what)
            except ValueError as error:
                reading.add(_refused(element, str(error)), f"{what} that {error},")
        elif unfinished:
            reading.add(_refused(element, unfinished), f"{what} that {unfinished},")
        else:
            reading.lost.append(f"the beginning of a job, {len(element)} bytes, which the platform must give out again")
    if not used:
        reading.lost.append(f"all of it: it {why}, and holds no object")


def _objects(raw: bytes) -> Iterator[tuple[bytes, bool]]:
    """The objects in the outermost list, or side by side; the last may lack its end, and says so."""
    base = level = 0
    begin: int | None = None
    for found in _BRACKET.finditer(raw):
        at = found.start(1)
        if found[1] in (b"[", b"{"):
            if level == base == 0 and found[1] == b"[" and begin is None:
                base = 1
            elif level == base and found[1] == b"{":
                begin = at
            level += 1
        elif found[1]:
            level = max(level - 1, base)
            if level == base and begin is not None:
                yield raw[begin : at + 1], True
                begin = None
    if begin is not None:
        yield raw[begin:], False


def _job(value: object) -> Job | None:
    if not isinstance(value, dict) or not _is_id(value.get("id")):
        return None
    # Only what is read: the SDK makes attributes of all the keys, and some names break that.
    return {key: value[key] for key in _KEYS if key in value and (key != "batchId" or _is_id(value[key]))}


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _refused(raw: bytes, reason: str) -> RefusedJob | None:
    """By the id at its top level; of several the last, as in an object that can be read."""
    level, job_id = 0, None
    for token in _STRING_OR_BRACKET.finditer(raw):
        kind = raw[token.start()]
        if kind in b"[{":
            level += 1
        elif kind in b"]}":
            level -= 1
        elif level == 1 and (found := _ID_MEMBER.match(raw, token.start())):
            job_id = found[1].decode()
    return RefusedJob(job_id, reason) if job_id else None
