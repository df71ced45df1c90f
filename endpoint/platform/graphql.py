"""Runpod's GraphQL API, as far as templates and endpoints go.

The SDK is not used: it takes 1.5 s to import, cannot update an endpoint, and pastes values into its queries
unescaped. The shapes are those of Runpod's documentation and of its command line tool.
"""

from __future__ import annotations

import os
from typing import Any

from endpoint.errors import BadArgument, PlatformRefused
from endpoint.platform.http import ask, open_client

GRAPHQL_URL = "https://api.runpod.io"


class Account:
    """`async with Account() as account`. Reads RUNPOD_API_KEY, and RUNPOD_API_BASE_URL as the SDK does."""

    def __init__(self) -> None:
        key = os.environ.get("RUNPOD_API_KEY")
        if not key:
            raise BadArgument(
                "RUNPOD_API_KEY is not set: make a key with write access in the console, Settings > API Keys"
            )
        self._url = os.environ.get("RUNPOD_API_BASE_URL", GRAPHQL_URL) + "/graphql"
        self._http = open_client({"Authorization": f"Bearer {key}"})

    async def __aenter__(self) -> Account:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The `data` of one query. Raises PlatformRefused, Unreachable."""
        answer = await ask(self._http, "POST", self._url, {"query": query, "variables": variables})
        if answer.get("errors"):
            raise PlatformRefused("; ".join(str(error.get("message", error)) for error in answer["errors"]))
        data: dict[str, Any] = answer["data"]
        return data
