"""make bench: run the benchmarks, print each figure beside its aim, write results/*.json and *.md.

Every figure is a ratio against a reference measured in the same run, so that it means something on a noisy machine.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.gpu.section import SECTIONS
from benchmarks.report import Report

BENCHMARKS = {
    "stt": "transcription: throughput, latency, word error rate against faster-whisper",
    "front": "a recording before the engine: decoding, voice detection, features against faster-whisper",
    "tts": "speech: throughput, first audio, load time against kokoro-onnx and piper-tts",
    "speakers": "who speaks: conversations whose truth is known, errors, cost",
    "pieces": "who speaks, where a conversation is heard in pieces",
    "seams": "hours of speech in one piece and in many through one worker: words, times, seams (--hours 3)",
    "proxy": "the worker's own cost per job against direct HTTP and a plain blocking proxy",
    "realtime": "turn latency, event-loop stalls, sessions at once",
    "gateway": "what the gateway adds to a job, a first sound, a first word; uploads of 1 to 100 MB",
    "bulk": "how much of 1 to 32 workers ten hours of recordings keep busy",
    "coldstart": "process start to first answer against importing the runpod SDK",
    "hostile": "an honest client beside hostile ones, and what is left of them",
    "endurance": "memory after 1,000 mixed requests, /health under load",
    "gpu": "what a card reaches against arithmetic, without network (--tiny: that it runs, on a CPU)",
    "url": "any OpenAI-compatible server: --url http://host:port/v1",
}


ASKED_FOR = ("gpu", "url", "seams")  # which run only where they are named


def main() -> int:
    args = _arguments()
    missed = 0
    for name in args.chosen:
        print(f"{name}: {BENCHMARKS[name]}", flush=True)
        report = Report(f"{name}-tiny" if name == "gpu" and args.tiny else name)
        module = importlib.import_module("benchmarks.gpu.rows" if name == "gpu" else f"benchmarks.rows.{name}")
        if name == "url":
            module.run(report, args.url, args.model)
        elif name == "gpu":
            module.run(report, tiny=args.tiny, sections=args.section)
        elif name == "seams":
            module.run(report, args.hours)
        else:
            module.run(report)
        print(f"  -> {report.save()}\n")
        missed += sum(row.holds is False for row in report.rows)
    if missed:
        print(f"{missed} figure(s) missed their aim")
    return 0


def _arguments() -> argparse.Namespace:
    lines = [f"  {name:<10} {text}" for name, text in BENCHMARKS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__}\nBenchmarks:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "only", nargs="*", metavar="NAME", help="which to run; all but gpu, seams and url when left out"
    )
    parser.add_argument("--url", help="base URL of a server to measure with the same clips (with its /v1)")
    parser.add_argument("--model", default="whisper-1", help="the model to ask that server for")
    parser.add_argument("--tiny", action="store_true", help="gpu: small shapes on a CPU, in three minutes")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="gpu: only this one (may be repeated)")
    parser.add_argument("--hours", type=float, default=3.0, help="seams: of speech (%(default)g)")
    args = parser.parse_args()
    if unknown := [name for name in args.only if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    args.chosen = args.only or (["url"] if args.url else [name for name in BENCHMARKS if name not in ASKED_FOR])
    args.section = args.section or ()
    if "url" in args.chosen and not args.url:
        parser.error("url needs --url")
    if "gpu" not in args.chosen and (args.tiny or args.section):
        parser.error("--tiny and --section are of gpu")
    return args


if __name__ == "__main__":
    sys.exit(main())
