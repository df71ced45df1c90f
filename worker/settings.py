"""The worker's settings: one table of environment variables, read once into a frozen object."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from outgoing.collector import Collector, named_in
from outgoing.errors import CollectorRefused
from outgoing.url import parse_base
from worker.errors import BadSetting


def _number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    noun = "a whole number" if kind is int else "a number"

    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"{text!r} is not {noun}") from None
        if not low <= value <= high or math.isinf(value):
            raise ValueError(
                f"{text} is not between {low:g} and {high:g}" if high < math.inf else f"{text} is under {low:g}"
            )
        return value

    return parse


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return text

    return parse


def _command(text: str) -> str:
    if not shlex.split(text):
        raise ValueError("is empty")
    return text


def _switch(text: str) -> bool:
    # The words runpod 1.12 takes as yes; anything else is no, as there.
    return text.strip().lower() in ("1", "true", "yes")


def _row(env: str, default: Any, help: str, parse: Callable[[str], Any] = str, *, secret: bool = False) -> Any:  # noqa: A002
    return field(
        default=default, repr=not secret, metadata={"env": env, "help": help, "parse": parse, "secret": secret}
    )


def _whole(env: str, default: int, help: str, low: int = 0, high: float = math.inf) -> Any:  # noqa: A002
    return _row(env, default, help, _number(int, low, high))


def _seconds(env: str, default: float, help: str, low: float = 0) -> Any:  # noqa: A002
    return _row(env, default, help, _number(float, low, math.inf))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every environment variable the worker reads; each row's text is its documentation."""

    # --- jobs ---
    concurrency: int = _whole(
        "WORKER_CONCURRENCY", 0, "Jobs taken at once; 0: 30 beside a GPU (RUNPOD_GPU_COUNT), 4 without.", 0, 1000
    )
    handler: str = _row(
        "WORKER_HANDLER",
        "plain",
        "plain returns the result, and streams when a job asks for it; generator streams every job, as the platform's "
        "OpenAI route wants it (raw SSE text).",
        _choice("plain", "generator"),
    )
    job_timeout: float = _seconds(
        "WORKER_JOB_TIMEOUT", 3600, "Seconds one job may take, whatever its own timeout.", 0.1
    )
    shutdown_timeout: float = _seconds(
        "WORKER_SHUTDOWN_TIMEOUT", 30, "Seconds jobs in flight get after SIGTERM; then they fail and the worker ends."
    )
    progress_interval: float = _seconds(
        "WORKER_PROGRESS_INTERVAL", 5, "Seconds between progress reports of a long job; 0 sends none."
    )
    delivery_timeout: float = _seconds(
        "WORKER_DELIVERY_TIMEOUT", 120, "Seconds a finished result is offered to the platform before it is given up.", 1
    )

    take_timeout: float = _seconds(
        "WORKER_TAKE_TIMEOUT", 60, "Seconds an answer of the platform may take to arrive, once it has begun.", 1
    )
    max_take_mb: float = _row(
        "WORKER_MAX_TAKE_MB",
        256,
        "Largest answer with jobs that is taken from the platform, in MB of JSON; no more jobs are asked for at once "
        "than have room in it with 20 MB each.",
        _number(float, 21, 10_000),
    )

    # --- results ---
    max_result_mb: float = _row(
        "WORKER_MAX_RESULT_MB",
        10,
        "Largest result of /run in MB of JSON, the platform's limit.",
        _number(float, 0.1, 100),
    )
    max_result_sync_mb: float = _row(
        "WORKER_MAX_RESULT_SYNC_MB", 20, "The same for /runsync (ids that begin sync-).", _number(float, 0.1, 100)
    )
    max_answer_mb: int = _whole(
        "WORKER_MAX_ANSWER_MB",
        2000,
        "Largest answer taken from the speech server in MB, with a bucket or without; a larger one fails its job.",
        1,
    )
    bucket_endpoint_url: str = _row(
        "BUCKET_ENDPOINT_URL", "", "S3 endpoint that takes results too large for the platform.", parse_base
    )
    bucket_name: str = _row("BUCKET_NAME", "", "Bucket at that endpoint.")
    bucket_access_key_id: str = _row("BUCKET_ACCESS_KEY_ID", "", "Access key for the bucket.", secret=True)
    bucket_secret_access_key: str = _row("BUCKET_SECRET_ACCESS_KEY", "", "Secret key for the bucket.", secret=True)
    bucket_link_expiry: int = _whole(
        "BUCKET_LINK_EXPIRY", 604_800, "Seconds a link to a result works; S3 allows 7 days.", 1, 604_800
    )

    # --- files that jobs name ---
    max_download_bytes: int = _whole(
        "RUNPOD_MAX_DOWNLOAD_BYTES", 1 << 30, "Largest file taken from a URL, in bytes.", 1
    )
    download_timeout: float = _seconds("WORKER_DOWNLOAD_TIMEOUT", 300, "Seconds one download may take in all.", 0.1)
    download_stall_timeout: float = _seconds(
        "WORKER_DOWNLOAD_STALL_TIMEOUT", 30, "Seconds a download may stand still, and a connection may take.", 0.1
    )
    min_free_disk_mb: int = _whole("WORKER_MIN_FREE_DISK_MB", 512, "Disk that downloads leave free, in MB.")
    allow_private_urls: bool = _row(
        "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS",
        False,
        "true lets jobs name URLs on private networks. Leave it false unless every caller is trusted.",
        _switch,
    )
    volume: str = _row("WORKER_VOLUME", "/runpod-volume", "The only folder file_path may point into.")

    # --- the speech server ---
    server_command: str = _row(
        "SPEECH_SERVER_COMMAND",
        "python -m speech_server",
        "What to run as the speech server. It gets UVICORN_HOST and UVICORN_PORT; {host} and {port} are filled in; a "
        "leading python is the worker's own.",
        _command,
    )
    server_health_path: str = _row(
        "SPEECH_SERVER_HEALTH_PATH", "/ping", "Path that answers 200 once the speech server can take requests."
    )
    server_start_timeout: float = _seconds(
        "SPEECH_SERVER_START_TIMEOUT",
        300,
        "Seconds the speech server may start without a sign of life (log output, bytes written to disk).",
        0.1,
    )
    server_ping_interval: float = _seconds(
        "SPEECH_SERVER_PING_INTERVAL", 10, "Seconds between questions to the speech server whether it is alive.", 0.1
    )
    server_silence_timeout: float = _seconds(
        "SPEECH_SERVER_SILENCE_TIMEOUT",
        30,
        "Seconds without an answer to such questions, three in a row, after which the speech server is killed and "
        "started again; 0 never asks.",
    )
    server_stop_timeout: float = _seconds(
        "SPEECH_SERVER_STOP_TIMEOUT", 10, "Seconds the speech server gets between SIGTERM and SIGKILL."
    )
    server_max_crashes: int = _whole(
        "SPEECH_SERVER_MAX_CRASHES", 3, "Crashes in a row, with no request answered between, that end the worker.", 1
    )
    server_pass_env: str = _row(
        "SPEECH_SERVER_PASS_ENV",
        "",
        "Names the speech server may see although they look like platform or bucket keys, comma separated; "
        "AWS_* keys for s3:// models, say.",
    )
    server_api_key: str = _row(
        "API_KEY",
        "",
        "Key the speech server asks for; the worker sends it when a job brings no Authorization.",
        secret=True,
    )

    # --- realtime ---
    realtime_port: int = _whole(
        "WORKER_REALTIME_PORT",
        0,
        "Port for realtime sessions; expose it as TCP in the endpoint's settings. 0 turns them off.",
        0,
        65535,
    )
    realtime_host: str = _row(
        "WORKER_REALTIME_HOST",
        "",
        "Address the realtime port listens on; empty means all where RUNPOD_PUBLIC_IP is set, else 127.0.0.1.",
    )
    public_ip: str = _row("RUNPOD_PUBLIC_IP", "", "Address clients reach the realtime port at; Runpod sets it.")
    realtime_connect_timeout: float = _seconds(
        "WORKER_REALTIME_CONNECT_TIMEOUT",
        60,
        "Seconds a realtime session waits for its client; then its token expires.",
        1,
    )
    realtime_handshake_timeout: float = _seconds(
        "WORKER_REALTIME_HANDSHAKE_TIMEOUT",
        10,
        "Seconds a client of the realtime port may take for its handshake.",
        0.1,
    )
    realtime_max_waiting: int = _whole(
        "WORKER_REALTIME_MAX_WAITING",
        64,
        "Connections to the realtime port that have not shown a valid token; one more cuts off the oldest of them.",
        1,
        10_000,
    )
    realtime_idle_timeout: float = _seconds(
        "WORKER_REALTIME_IDLE_TIMEOUT", 300, "Seconds without a message either way that end a realtime session.", 1
    )
    realtime_max_seconds: float = _seconds(
        "WORKER_REALTIME_MAX_SECONDS", 3600, "Seconds a realtime session may last; its job's own limit counts too.", 1
    )
    realtime_certificate: str = _row(
        "WORKER_REALTIME_CERTIFICATE", "", "File of a TLS certificate (PEM, with its chain) for the realtime port."
    )
    realtime_private_key: str = _row(
        "WORKER_REALTIME_PRIVATE_KEY", "", "File of its private key; empty where the certificate's file has it."
    )


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Unset and empty variables take the default; a value that cannot be right raises BadSetting."""
    values: dict[str, Any] = {}
    for row in fields(Settings):
        env = row.metadata["env"]
        if text := environ.get(env, "").strip():
            try:
                values[row.name] = row.metadata["parse"](text)
            except ValueError as error:
                raise BadSetting(f"{env}: {error}. {row.metadata['help']}") from None
    if not values.get("server_health_path", "/").startswith("/"):
        raise BadSetting("SPEECH_SERVER_HEALTH_PATH: must begin with /")
    return Settings(**values)


def read_collector(environ: Mapping[str, str]) -> Collector | None:
    """Where traces go, if anywhere. Raises BadSetting."""
    try:
        return named_in(environ)
    except CollectorRefused as error:
        raise BadSetting(error.message) from None
