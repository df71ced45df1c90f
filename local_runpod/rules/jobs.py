"""One job's life: its states, what a worker and a client see of it. Pure: time comes in as seconds."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

from local_runpod.api.request import JobRequest
from local_runpod.errors import NotHeld


class Status(StrEnum):
    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT})


def new_id(*, sync: bool, region: str) -> str:
    """`sync-<uuid>-u1` for /runsync, `<uuid>-u1` for /run."""
    return f"{'sync-' if sync else ''}{uuid.uuid4()}-{region}"


@dataclass(eq=False)
class Job:
    id: str
    request: JobRequest
    sync: bool
    created: float
    status: Status = Status.IN_QUEUE
    queued_at: float = 0.0
    taken_at: float = 0.0
    ended_at: float = 0.0
    listed_at: float = 0.0  # when its worker last showed that it knows of this job
    worker_id: str | None = None
    lost: int = 0  # how often a worker vanished with it
    accepted: int = 0  # results taken from workers: 0 or 1, whatever they send
    refused: int = 0
    streamed: bool = False  # a generator handler: its output is the list of its pieces
    answer: dict[str, Any] = field(default_factory=dict)  # `output` and `error`, where there are any
    chunks: deque[Any] = field(default_factory=deque)

    @property
    def ended(self) -> bool:
        return self.status in FINAL

    def take(self, worker_id: str, now: float) -> dict[str, Any]:
        """Gives the job to a worker: the object the SDK receives."""
        self.status, self.worker_id, self.taken_at, self.listed_at = Status.IN_PROGRESS, worker_id, now, now
        given = {"id": self.id, "input": self.request.input}
        if self.request.webhook:
            given["webhook"] = self.request.webhook
        if self.request.s3_config:
            given["s3Config"] = self.request.s3_config
        return given

    def require_holder(self, worker_id: str) -> None:
        if self.status is not Status.IN_PROGRESS or self.worker_id != worker_id:
            self.refused += 1
            raise NotHeld(f"job {self.id} is {self.status}, and not held by worker {worker_id}")

    def progress(self, update: dict[str, Any]) -> None:
        if "output" in update:
            self.answer = {"output": update["output"]}

    def accept(self, result: dict[str, Any], now: float, *, streamed: bool) -> None:
        """The worker's result: FAILED when `error` is truthy, COMPLETED otherwise."""
        self.accepted += 1
        self.streamed = streamed
        self.answer = {"output": result["output"]} if "output" in result else {}
        if error := result.get("error"):
            self.answer["error"] = error if isinstance(error, str) else orjson.dumps(error).decode()
        self.end(Status.FAILED if error else Status.COMPLETED, now)

    def end(self, status: Status, now: float, error: str | None = None) -> None:
        self.status, self.ended_at = status, now
        if error is not None:
            self.answer = {"error": error}
        elif status is Status.CANCELLED:
            self.answer = {}
        if status in (Status.COMPLETED, Status.CANCELLED):  # can never be retried: let go of what may be 20 MB
            self.request = replace(self.request, input=None)

    def queue_again(self, now: float) -> None:
        self.status, self.queued_at, self.worker_id = Status.IN_QUEUE, now, None
        self.answer, self.streamed = {}, False
        self.chunks.clear()

    def view(self) -> dict[str, Any]:
        """What /status, /runsync and webhooks show."""
        seen: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.worker_id:
            seen["workerId"] = self.worker_id
            seen["delayTime"] = _milliseconds(self.taken_at - self.queued_at)
            if self.ended:
                seen["executionTime"] = _milliseconds(self.ended_at - self.taken_at)
        return seen | self.answer

    def drain_chunks(self) -> dict[str, Any]:
        """What /stream shows: the pieces nobody has read yet, each once."""
        pieces = [{"output": chunk} for chunk in self.chunks]
        self.chunks.clear()
        return {"status": self.status, "stream": pieces}


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
