"""A Runpod job names an HTTP request; the speech server beside this worker answers it.

On Runpod this file is the worker. At home it runs one job and ends:

    python handler.py                                    the job in test_input.json
    python handler.py --test_input '{"input": {"path": "/v1/models"}}'
    python handler.py --test_input "$(cat examples/jobs/speech.json)" --output hello.mp3
    python handler.py --rp_serve_api                     Runpod's API, simulated by the SDK, on port 8000

The exit status is 0 when the job was COMPLETED, 1 when it FAILED, 2 when the settings or the arguments are wrong.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from outgoing import tracing
from worker import log
from worker.arguments import parse_arguments
from worker.errors import BadSetting
from worker.machine import job_count
from worker.prctl import hide_from_siblings
from worker.server.supervisor import Supervisor
from worker.settings import Settings, read_collector, read_settings


def main(argv: list[str]) -> int:
    on_platform = "RUNPOD_WEBHOOK_GET_JOB" in os.environ
    try:
        arguments = parse_arguments(argv, __doc__ or "", on_platform=on_platform)
        settings = read_settings(os.environ)
        collector = read_collector(os.environ)
    except BadSetting as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal's own encoding may be small
    # runpod 1.12 logs at DEBUG by default, which prints every output: transcripts in logs.
    os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    hide_from_siblings()  # before there is a sibling
    supervisor = Supervisor(settings)
    supervisor.start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the SDK's loop has handlers of its own
    try:
        tracing.start(collector, "speech-worker", log.warn)
        serve(settings, supervisor, arguments.output, one_job=not (on_platform or arguments.rp_serve_api))
        return 1 if supervisor.gave_up.done() else 0
    finally:
        supervisor.stop()
        tracing.stop()


def serve(settings: Settings, supervisor: Supervisor, save_to: Path | None, *, one_job: bool) -> None:
    # Imported only here: the server starts meanwhile, and the first job does not wait for any of it.
    from worker.platform.quick_import import import_runpod

    runpod = import_runpod()
    from worker.platform import sdk
    from worker.platform.memory import return_large_blocks
    from worker.proxy import Proxy

    return_large_blocks()
    proxy = Proxy(settings, supervisor, save_to)
    handle = proxy.handle if settings.handler == "plain" else proxy.handle_stream
    runpod.serverless.register_fitness_check(supervisor.wait_ready)
    sdk.correct(settings, end_jobs=proxy.end_jobs, close=proxy.close, gave_up=supervisor.gave_up)
    runpod.serverless.start(
        {
            "handler": proxy.handle_one if one_job else handle,
            # A constant: runpod 1.12 applies a changed value only once the worker is idle.
            "concurrency_modifier": lambda _: settings.concurrency or job_count(os.environ),
            "return_aggregate_stream": True,
        }
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
