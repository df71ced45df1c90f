"""python -m local_runpod [options] -- python -u handler.py"""

from __future__ import annotations

import asyncio
import sys

from local_runpod.run import serve
from local_runpod.server import listen
from local_runpod.settings import parse_command_line


def main() -> None:
    settings, command = parse_command_line(sys.argv[1:])
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        sys.exit(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another with --port")
    asyncio.run(serve(settings, command, listener))


if __name__ == "__main__":
    main()
