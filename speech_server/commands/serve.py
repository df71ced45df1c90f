"""Start the speech server. Settings come from the environment; these options win over it."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from speech_server.settings import Settings

BAD_SETTINGS = 2

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (UVICORN_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on; 0 picks a free one (UVICORN_PORT, 8000)")
    parser.add_argument(
        "--model", metavar="ID", help="the model to load and to answer with: an id, or a folder (WHISPER__MODEL)"
    )
    levels = "debug, info, warning, error or critical"
    parser.add_argument("--log-level", metavar="LEVEL", help=f"{levels} (LOG_LEVEL, info)")


def run(args: argparse.Namespace) -> int:
    given = {"uvicorn_host": args.host, "uvicorn_port": args.port, "log_level": args.log_level}
    given["whisper"] = {"model": args.model} if args.model else None  # the other WHISPER__* stay the environment's
    settings, fault = read_settings({name: value for name, value in given.items() if value is not None})
    fault = fault or (settings and why_unbindable(settings.uvicorn_host, settings.uvicorn_port)) or ""
    if settings is None or fault:
        return refuse(fault)
    return leave(serve(settings))


def leave(status: int) -> NoReturn:
    """Ends the process at once, whatever its threads still do.

    Threads cannot be stopped: the interpreter would wait an hour for a download, and ONNX Runtime aborts when it is
    torn down under a model that is being opened.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def read_settings(given: dict[str, Any]) -> tuple[Settings | None, str]:
    """The settings, or one line that names the variables that are wrong."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from speech_server.settings import Settings

    try:
        return Settings(**given), ""
    except ValidationError as error:
        faults = [f"{'__'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors()]
        return None, "bad setting: " + "; ".join(faults)
    except SettingsError as error:
        return None, f"bad setting: {error}"


def why_unbindable(host: str, port: int) -> str:
    """Asked before anything is loaded; uvicorn would only find out after start-up."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or UVICORN_PORT"
    return ""


def serve(settings: Settings) -> int:
    import uvicorn

    from outgoing import tracing
    from outgoing.collector import named_in
    from outgoing.errors import CollectorRefused
    from speech_server.app import create_app
    from speech_server.engines.allocator import keep_memory, use_one_blas_thread
    from speech_server.errors import ConfigurationInvalid

    # Where many threads want the interpreter, the event loop waits for each of those before it: a fifth of the default.
    sys.setswitchinterval(0.001)
    use_one_blas_thread()
    if settings.tune_allocator:
        keep_memory()
    gave_up = False

    def give_up() -> None:
        nonlocal gave_up
        gave_up = server.should_exit = True

    try:
        tracing.start(named_in(os.environ), "speech-server", log.warning)
        app = create_app(settings, stop=give_up)
    except (ConfigurationInvalid, CollectorRefused) as error:
        return refuse(error.message)
    server = uvicorn.Server(configured(app, settings))
    with ended_by_signals(server):
        server.run()
    tracing.stop()
    return int(gave_up)


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    import uvicorn

    from speech_server.commands.connections import bounded_protocol
    from speech_server.commands.log import log_config

    return uvicorn.Config(
        app,
        host=settings.uvicorn_host,
        port=settings.uvicorn_port,
        loop="uvloop",
        http=bounded_protocol(settings),
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=log_config(settings.log_level),
        timeout_graceful_shutdown=round(settings.shutdown_timeout),
        # Realtime: an append may carry 15 MiB of audio as base64, which does not compress; and a client whose audio
        # is read slowly, because it sends faster than anyone speaks, answers pings late.
        ws_max_size=32 * 2**20,
        ws_per_message_deflate=False,
        ws_ping_timeout=120.0,
    )


@contextmanager
def ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """uvicorn raises the signals that it has obeyed once more when it has shut down; by default that would end the
    process on the spot, whatever a library's threads are doing. An embedding program's own handler stays."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, server.handle_exit)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def refuse(fault: str) -> int:
    print(f"speech server: {fault}", file=sys.stderr)
    return BAD_SETTINGS
