"""The gateway's settings: one table of flags, environment names and defaults; read once into a frozen object."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any

from endpoint.errors import BadArgument
from endpoint.where import Where, find


def _row(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Options:
    """Flags are named as the fields are, and so are the environment's names, behind GATEWAY_."""

    where: Where
    routes: tuple[tuple[str, Where], ...] = ()  # pattern of model names, and the endpoint that has them
    api_key: str | None = None  # what callers must send, where the gateway has a key of its own
    host: str = _row("127.0.0.1", "address to listen on")
    port: int = _row(8020, "port to listen on")
    warm: bool = _row(False, "start a worker when a caller lists the models")
    timeout: float = _row(600.0, "seconds a job may take, waiting for a worker included")
    max_upload_mb: float = _row(200.0, "largest upload")
    max_calls: int = _row(64, "requests at work side by side; more are 429")
    opus: bool = _row(True, "re-encode recordings that are too large for a job")
    pieces: float = _row(1200.0, "seconds from which on a recording goes to several workers in pieces; 0: never")
    volume: str = _row("", "the endpoint's network volume, by its id, for uploads that no job holds")
    volume_url: str = _row("", "its data centre's S3 API, like https://s3api-eu-ro-1.runpod.io")
    bucket: str = _row("", "a bucket for such uploads; workers fetch them by a presigned link")
    bucket_url: str = _row("", "the bucket's S3 API")
    price: float = _row(0.0, "of the endpoint's GPU in $ per hour, for the log")

    @property
    def holds_key(self) -> bool:
        """Whether Runpod's key is the gateway's own; else each caller sends one."""
        return self.where.api_key is not None

    def endpoint_of(self, model: str | None) -> Where:
        """The first route whose pattern the model's name fits; else the endpoint that was named first."""
        return next((where for pattern, where in self.routes if model and fnmatchcase(model, pattern)), self.where)

    @property
    def endpoints(self) -> list[Where]:
        return list(dict.fromkeys((self.where, *(where for _, where in self.routes))))


_ROWS = [row for row in fields(Options) if row.metadata]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("endpoint", metavar="ENDPOINT", help="a queue endpoint: its id, its URL, or local")
    parser.add_argument(
        "--route", action="append", default=[], metavar="PATTERN=ENDPOINT", help="models that another endpoint has"
    )
    for row in _ROWS:
        flag, said = f"--{row.name.replace('_', '-')}", f"{row.metadata['help']} (GATEWAY_{row.name.upper()}"
        said += f"; {row.default})" if row.default != "" else ")"
        if isinstance(row.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=said)
        else:
            parser.add_argument(flag, type=type(row.default), metavar=row.name.split("_")[-1].upper(), help=said)


def read_options(args: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    """Flags before the environment before defaults. Raises BadArgument."""
    values: dict[str, Any] = {}
    for row in _ROWS:
        name = f"GATEWAY_{row.name.upper()}"
        if (given := getattr(args, row.name)) is not None:
            values[row.name] = given
        elif environ.get(name):
            values[row.name] = _parsed(name, environ[name], type(row.default))
    routes = []
    for text in args.route:
        pattern, equals, named = text.partition("=")
        if not pattern or not equals:
            raise BadArgument(f"--route {text!r}: write PATTERN=ENDPOINT, like 'kokoro*=abc123'")
        routes.append((pattern, _queue(named, environ)))
    api_key = environ.get("GATEWAY_API_KEY") or None
    options = Options(_queue(args.endpoint, environ), tuple(routes), api_key, **values)
    if options.holds_key and not api_key and not _is_loopback(options.host):
        raise BadArgument(
            f"--host {options.host} lets others in, and they would use your RUNPOD_API_KEY: set GATEWAY_API_KEY, "
            "which callers must then send, or unset RUNPOD_API_KEY, and each sends one of their own"
        )
    return options


def _parsed(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        return text.strip().lower() in ("1", "true", "yes", "on")
    try:
        return kind(text)
    except ValueError:
        raise BadArgument(f"{name} is {text!r}: it wants a number") from None


def _queue(named: str, environ: Mapping[str, str]) -> Where:
    where = find(named, environ)
    if not where.takes_jobs:
        raise BadArgument(f"{named!r} is a server, not a queue endpoint: point your client at it as it is")
    return where


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
