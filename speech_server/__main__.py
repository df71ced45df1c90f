"""python -m speech_server: serve (the default), models."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = ("serve", "models")
MOVED = "`python -m speech_server client` is `python -m endpoint transcribe`, `translate`, `speak` and `talk` now"


def main(argv: list[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv.pop(0) if argv and argv[0] in COMMANDS else "serve"
    if argv[:1] == ["client"]:
        print(MOVED, file=sys.stderr)
        return 2
    # Imported by name so that `models` never pays for the web framework.
    module = importlib.import_module(f"speech_server.commands.{command}")
    parser = argparse.ArgumentParser(
        prog=f"python -m speech_server {command}" if command != "serve" else "python -m speech_server",
        description=module.__doc__,
        epilog="Commands: " + ", ".join(COMMANDS) + " (serve is the default); each has --help."
        if command == "serve"
        else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(argv))
    return status


if __name__ == "__main__":
    sys.exit(main())
