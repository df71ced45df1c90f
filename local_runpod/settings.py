"""The local platform's settings: one table, which is the command line too. Times are seconds, sizes bytes.

The numbers are Runpod's documented ones. 10 MB is taken as 10,000,000 bytes (the documentation does not say which MB):
what fits here fits there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any


def row(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    host: str = row("127.0.0.1", "address to listen on")
    port: int = row(8010, "port to listen on; 0 takes a free one")
    endpoint: str = row("local", "endpoint id: the API is served under /v2/ENDPOINT")
    workers: int = row(1, "worker processes to keep running; 0 when you start them yourself")
    api_key: str = row("", "the only key clients may use; empty accepts any")
    region: str = row("u1", "last part of job ids, u1 or e1")
    quiet: bool = row(False, "do not show the workers' own log lines")
    stop_seconds: float = row(15.0, "on Ctrl-C: time jobs in flight get to finish before workers are killed")
    tcp_port: int = row(0, "container port to report as exposed (RUNPOD_TCP_PORT_n, RUNPOD_PUBLIC_IP); 0 is none")

    run_limit: int = row(10_000_000, "largest request and result of /run")
    runsync_limit: int = row(20_000_000, "largest request and result of /runsync and /openai")
    chunk_limit: int = row(1_000_000, "largest piece of a stream")
    run_retention: float = row(1800.0, "how long a /run job is kept after it ended")
    runsync_retention: float = row(60.0, "how long a /runsync job is kept after it ended")
    runsync_wait: float = row(90.0, "how long /runsync waits when ?wait= is not given")
    stream_wait: float = row(5.0, "how long /stream waits for the next piece")
    execution_timeout: float = row(600.0, "policy.executionTimeout of jobs that give none")
    ttl: float = row(86400.0, "policy.ttl of jobs that give none")

    poll_seconds: float = row(20.0, "how long a worker's job-take and job-stop polls are held")
    ping_interval: float = row(10.0, "RUNPOD_PING_INTERVAL of the workers; the SDK wants whole seconds, 1 or more")
    worker_silence: float = row(60.0, "a worker that did not ping for so long is lost, and replaced")
    lost_after: float = row(30.0, "a job its worker's pings stopped listing for so long is lost")
    lost_retries: int = row(1, "how often a lost job is queued again before it fails")
    back_off: float = row(30.0, "longest time before a worker that exited is replaced")
    webhook_retries: int = row(2, "further attempts of a webhook that was not answered 200")
    webhook_delay: float = row(10.0, "time between them")
    webhook_timeout: float = row(10.0, "time limit of one attempt")
    no_rate_limits: bool = row(False, "do not enforce the documented request rates (429)")

    refuse_results: float = row(0.0, "trouble: probability that job-done is refused")
    refuse_status: int = row(500, "trouble: the status of such a refusal; the SDK tries 5xx again, 4xx not")
    drop_connections: float = row(
        0.0, "trouble: probability that a worker's connection is cut, half before and half after"
    )
    busy: float = row(0.0, "trouble: probability of a 429, for clients and workers")
    kill_every: float = row(0.0, "trouble: seconds after which a random worker is killed, again and again; 0 is never")
    delay: float = row(0.0, "trouble: every answer is late by a random time up to this")


def parse_command_line(argv: Sequence[str]) -> tuple[Settings, list[str]]:
    """`[flags] -- COMMAND ...` to the settings and the workers' command."""
    own, command = _split(list(argv))
    parser = argparse.ArgumentParser(
        prog="python -m local_runpod",
        usage="%(prog)s [options] -- COMMAND ...",
        description="A Runpod endpoint on this machine: control plane and workers.",
    )
    for spec in fields(Settings):
        flag, text = "--" + spec.name.replace("_", "-"), spec.metadata["help"]
        assert spec.default is not MISSING
        if spec.default is False:
            parser.add_argument(flag, action="store_true", help=text)
        else:
            kind = type(spec.default)
            parser.add_argument(flag, type=kind, default=spec.default, help=f"{text} (default: {spec.default})")
    settings = Settings(**vars(parser.parse_args(own)))
    if settings.workers and not command:
        parser.error(
            "give the workers' command after --, or --workers 0: python -m local_runpod -- python -u handler.py"
        )
    return settings, command


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]
