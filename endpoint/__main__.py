"""What you run on your own machine: put the worker on Runpod, send it jobs, or have it hear, speak and talk.

    python -m endpoint transcribe talk.mp3 --at ENDPOINT       audio or video to text; subtitles with --format srt
    python -m endpoint transcribe talks/ --at ENDPOINT --out texts   folders and long ones, in pieces to all workers
    python -m endpoint speak "Hello." --at ENDPOINT            text to an audio file
    python -m endpoint talk --at ENDPOINT                      a conversation, in real time
    python -m endpoint call ENDPOINT examples/jobs/speech-kokoro.json
    python -m endpoint gateway ENDPOINT                        any OpenAI client, at http://127.0.0.1:8020/v1
    python -m endpoint doctor ENDPOINT                         where its time goes, what it costs, what is wrong
    python -m endpoint deploy --image you/runpod-speech:0.1.0 --dry-run

ENDPOINT is an endpoint's id, a URL like https://api.runpod.ai/v2/ID, `local` for what `make serve` starts, or the base
URL of an OpenAI-compatible server such as a load-balancing endpoint's, https://ID.api.runpod.ai/v1. Without --at it is
the server that `make server` starts. RUNPOD_API_KEY goes to Runpod, API_KEY to other servers.
Exit status: 0 done, 1 refused or failed, 2 not sent, 3 no result in time, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys

from endpoint.errors import INTERRUPTED, EndpointError

# name -> (module, what it does)
COMMANDS = {
    "transcribe": ("transcribe", "audio or video to text, in its own language"),
    "translate": ("transcribe", "speech of any language to English text"),
    "speak": ("speak", "text to an audio file"),
    "talk": ("talk", "a conversation in real time, or words while they are spoken"),
    "call": ("call", "send one job and wait for it"),
    "gateway": ("gateway.command", "an OpenAI speech API on this machine, with a queue endpoint behind it"),
    "doctor": ("doctor", "send an endpoint two jobs, and say what is slow, dear or wrong"),
    "deploy": ("deploy", "create or update a Runpod template and endpoint"),
}


def main(argv: list[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    overview = argparse.ArgumentParser(
        prog="python -m endpoint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    overview.add_argument(
        "command", metavar="COMMAND", choices=COMMANDS, help="; ".join(COMMANDS) + "; each has --help"
    )
    name = overview.parse_args(argv[:1]).command
    # Imported by name: `call --help` never pays for what `talk` needs.
    module = importlib.import_module(f"endpoint.{COMMANDS[name][0]}")
    parser = argparse.ArgumentParser(
        prog=f"python -m endpoint {name}",
        description=f"{COMMANDS[name][1].capitalize()}.\n\n{module.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv[1:])
    args.command = name
    try:
        return int(asyncio.run(module.run(args)))
    except EndpointError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `... | head`: nobody reads on, and that is fine
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
