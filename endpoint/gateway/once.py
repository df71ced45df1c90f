"""Repeated requests join the job of the first: official clients repeat by themselves, and each job is billed.

A repeat says so (`x-stainless-retry-count` of OpenAI's clients, the same `Idempotency-Key`), or comes for a job whose
caller has just hung up. Identical requests that do neither are two jobs: somebody wants it twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from endpoint.gateway.work import Work

KEPT_SECONDS = 60.0  # that a finished job answers repeats
MOST = 64  # jobs that are remembered
MOST_BYTES = 64 << 20  # of their results together


class Once:
    def __init__(self) -> None:
        self._works: dict[str, Work] = {}

    def find(self, key: str, headers: Mapping[str, str]) -> Work | None:
        """The job that this request repeats."""
        work = self._works.get(key)
        if work is None or work.is_over(KEPT_SECONDS):
            return None
        says_so = headers.get("x-stainless-retry-count", "0").strip() not in ("", "0")
        return work if says_so or "idempotency-key" in headers or work.was_left else None

    @property
    def at_work(self) -> int:
        return sum(work.is_at_work for work in self._works.values())

    async def close(self) -> None:
        """No job outlives the gateway."""
        for work in list(self._works.values()):
            await work.stop()

    def remember(self, key: str, work: Work) -> None:
        if (other := self._works.pop(key, None)) is not None:
            self._works[f"{key} {id(other)}"] = other  # repeats mean the latest; it goes on all the same
        self._works[key] = work
        ended = [name for name, known in self._works.items() if not known.is_at_work]
        size = sum(self._works[name].size for name in ended)
        for place, name in enumerate(ended):  # the oldest first
            if self._works[name].is_over(KEPT_SECONDS) or len(ended) - place > MOST or size > MOST_BYTES:
                size -= self._works.pop(name).size
