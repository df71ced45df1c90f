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


async def ask_account(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The `data` of one query. Reads RUNPOD_API_KEY, and RUNPOD_API_BASE_URL as the SDK does.

    Raises BadArgument, PlatformRefused, Unreachable.
    """
    key = os.environ.get("RUNPOD_API_KEY")
    if not key:
        raise BadArgument("RUNPOD_API_KEY is not set: make a key with write access in the console, Settings > API Keys")
    url = os.environ.get("RUNPOD_API_BASE_URL", GRAPHQL_URL) + "/graphql"
    async with open_client({"Authorization": f"Bearer {key}"}) as http:
        answer = await ask(http, "POST", url, {"query": query, "variables": variables})
    if answer.get("errors"):
        raise PlatformRefused("; ".join(str(error.get("message", error)) for error in answer["errors"]))
    data: dict[str, Any] = answer["data"]
    return data
