"""What an endpoint's workers do, seen every few seconds: those that start and those that idle are billed too."""

from __future__ import annotations

import asyncio
import time

from endpoint.errors import EndpointError
from endpoint.platform.jobs import Jobs

EVERY = 2.0  # seconds


class Workers:
    """`most` at once; seconds, summed over them, in which they were `starting` and in which they were `idle`."""

    def __init__(self) -> None:
        self.most = 0
        self.starting = 0.0
        self.idle = 0.0

    async def watch(self, jobs: Jobs) -> None:
        """Until it is cancelled. The question wakes no worker."""
        then = time.monotonic()
        while True:
            try:
                seen = (await jobs.health()).get("workers") or {}
            except EndpointError:
                seen = {}  # those who wait for jobs will say so
            counts = {
                name: seen[name] for name in ("initializing", "idle", "running") if isinstance(seen.get(name), int)
            }
            now = time.monotonic()
            self.most = max(self.most, counts.get("running", 0))
            self.starting += counts.get("initializing", 0) * (now - then)
            self.idle += counts.get("idle", 0) * (now - then)
            then = now
            await asyncio.sleep(EVERY)
