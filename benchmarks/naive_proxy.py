"""The reference: the plain Runpod wrapper as it is usually written. One blocking request at a time, all in memory.

Run as a worker (`python -m benchmarks.naive_proxy`, SERVER_URL set) it is the SDK's default: one job at a time.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import requests


def handler(job: dict[str, Any]) -> Any:
    asked = job["input"]
    response = requests.request(
        asked.get("method", "GET"),
        os.environ["SERVER_URL"] + asked["path"],
        json=asked.get("body"),
        headers=asked.get("headers"),
        timeout=600,
    )
    if response.status_code >= 400:
        return {"error": response.text}
    kind = response.headers.get("content-type", "")
    if kind.startswith("application/json"):
        return response.json()
    if kind.startswith("text/"):
        return {"text": response.text}
    return {
        "status": "success",
        "content_type": kind,
        "audio_content": base64.b64encode(response.content).decode("utf-8"),
    }


if __name__ == "__main__":
    import runpod

    runpod.serverless.start({"handler": handler})
