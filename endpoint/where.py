"""ENDPOINT on a command line: an endpoint's id, a URL of Runpod's shape, or an OpenAI-compatible server's base URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from endpoint.errors import BadArgument
from outgoing.errors import UrlRefused
from outgoing.url import parse_base, parse_url

JOBS_URL = "https://api.runpod.ai/v2"
LOCAL_URL = "http://127.0.0.1:8010/v2"  # where `make serve` listens
SERVER_URL = "http://127.0.0.1:8000/v1"  # where `make server` listens
FORMS = (
    "an endpoint's id, a URL like https://api.runpod.ai/v2/ID, local (make serve), or the base URL of an "
    "OpenAI-compatible server like https://ID.api.runpod.ai/v1"
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,62}")
_JOBS_PATH = re.compile(r"(?P<base>/v2/[A-Za-z0-9_-]+)(?:/(?:run|runsync|health|openai(?:/v1)?))?/?")
_RUNPOD_HOST = re.compile(r"(?:.+\.)?runpod\.ai")


@dataclass(frozen=True, slots=True)
class Where:
    """`url` has no slash at its end. With `takes_jobs` it is a queue endpoint's (…/v2/ID), else a server's (…/v1)."""

    url: str
    takes_jobs: bool
    api_key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


def find(named: str, environ: Mapping[str, str], api_key: str | None = None) -> Where:
    """Raises BadArgument.

    RUNPOD_ENDPOINT_BASE_URL moves bare ids elsewhere, as in Runpod's SDK. RUNPOD_API_KEY goes to queue endpoints and
    to Runpod's own hosts, API_KEY to other servers.
    """
    named = named.strip()
    if "://" not in named:
        if not _ID.fullmatch(named):
            raise BadArgument(f"{named!r} is no endpoint: give {FORMS}")
        base = environ.get("RUNPOD_ENDPOINT_BASE_URL") or (LOCAL_URL if named == "local" else JOBS_URL)
        return Where(f"{base.rstrip('/')}/{named}", takes_jobs=True, api_key=api_key or environ.get("RUNPOD_API_KEY"))
    try:
        url = parse_url(parse_base(named))
    except UrlRefused as error:
        raise BadArgument(f"{named!r} is no endpoint ({error.message}): give {FORMS}") from None
    root = f"{url.scheme}://{url.authority}"
    if jobs := _JOBS_PATH.fullmatch(url.path):
        return Where(root + jobs["base"], takes_jobs=True, api_key=api_key or environ.get("RUNPOD_API_KEY"))
    key = environ.get("RUNPOD_API_KEY" if _RUNPOD_HOST.fullmatch(url.host) else "API_KEY")
    return Where(root + (url.path.rstrip("/") or "/v1"), takes_jobs=False, api_key=api_key or key)
