"""The command line of handler.py: ours, and a look at the SDK's, which answers a mistake with a traceback."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from worker.errors import BadSetting
from worker.settings import Settings


def parse_arguments(argv: list[str], description: str, *, on_platform: bool) -> argparse.Namespace:
    """Raises BadSetting; ends the process after --help and for what argparse refuses."""
    rows = [(row.metadata["env"], row.default, row.metadata["help"]) for row in dataclasses.fields(Settings)]
    table = "\n".join(f"  {env} [{default}]\n      {text}" for env, default, text in rows)
    parser = argparse.ArgumentParser(
        prog="python handler.py",
        description=description,
        epilog=f"environment variables of the worker [default]:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--test_input", metavar="JSON", help='the job: {"input": {...}}')
    parser.add_argument("--output", metavar="FILE", type=Path, help="where the result goes: audio decoded, else JSON")
    parser.add_argument("--rp_serve_api", action="store_true", help="serve the SDK's simulation of Runpod's API")
    parser.add_argument("--rp_api_port", metavar="PORT", type=int, help="its port (8000)")
    parser.add_argument("--rp_api_host", metavar="HOST", help="its address (localhost)")
    parser.add_argument("--rp_log_level", metavar="LEVEL", help="ERROR, WARN, INFO or DEBUG; also RUNPOD_LOG_LEVEL")
    arguments, _ = parser.parse_known_args(argv)
    if arguments.test_input is not None:
        try:
            job = json.loads(arguments.test_input)
        except ValueError as error:
            raise BadSetting(f"--test_input is not JSON: {error}") from None
        if not isinstance(job, dict) or job.get("input") is None:
            raise BadSetting('--test_input must be an object like {"input": {"path": "/v1/models"}}')
    elif not on_platform and not arguments.rp_serve_api and not Path("test_input.json").exists():
        raise BadSetting("there is no test_input.json here: give a job with --test_input, or see --help")
    return arguments
