"""Point any OpenAI client at http://127.0.0.1:8020/v1: Open WebUI, LiveKit, Home Assistant, LangChain, openai itself.

RUNPOD_API_KEY is Runpod's key; without it each caller sends one, as its API key. GATEWAY_API_KEY is what callers must
send instead, and has to be set where the gateway listens on more than this machine. /health, / and the list of models
start no worker.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys

from endpoint.errors import BadArgument
from endpoint.gateway.options import add_arguments, read_options

__all__ = ["add_arguments", "run"]


async def run(args: argparse.Namespace) -> int:
    options = read_options(args, os.environ)
    import uvicorn

    from endpoint.gateway.app import create_app

    try:
        listening = socket.create_server(
            (options.host, options.port), family=socket.AF_INET6 if ":" in options.host else socket.AF_INET
        )
    except OSError as error:
        raise BadArgument(
            f"{options.host}:{options.port} cannot be listened on: {error.strerror}; see --port"
        ) from None
    # Heads and bodies of answers are written apart; asyncio does not see that this is TCP, and Nagle would hold the
    # second back for 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        create_app(options, os.environ),
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=32 * 2**20,
        timeout_graceful_shutdown=10,
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "uvicorn", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    port = listening.getsockname()[1]
    print(f"OpenAI speech API at http://{options.host}:{port}/v1, jobs to {options.where.url}", file=sys.stderr)
    server = uvicorn.Server(config)
    await server.serve(sockets=[listening])
    return 0 if server.started else 1
