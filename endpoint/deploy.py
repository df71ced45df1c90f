"""Create or update a Runpod template and endpoint for this worker.

The command line is the whole truth: an endpoint or template of the same name is replaced by what is said here.
`--dry-run` prints what would be sent, secrets masked, and sends nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from endpoint.errors import BadArgument, PlatformRefused
from endpoint.platform.http import ask_account

SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")
GPU_POOL = re.compile(r"[A-Z]+_\d+(_PRO)?|-.+")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DISK_GB = 20
# The platform takes three by priority, and with fewer than five workers all are of the first that can be had.
GPUS = "ADA_24,AMPERE_24,AMPERE_48"
NAME = "runpod-speech"

LIST = "query { myself { endpoints { id name } podTemplates { id name } } }"
SAVE_TEMPLATE = "mutation ($input: SaveTemplateInput!) { saveTemplate(input: $input) { id name } }"
SAVE_ENDPOINT = "mutation ($input: EndpointInput!) { saveEndpoint(input: $input) { id name } }"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--name", default=NAME, help="the endpoint's name; the template is called NAME-template (%(default)s)")
    add("--image", metavar="IMAGE:TAG", help="container image, as the platform pulls it; --dry-run can do without")
    add("--type", choices=("queue", "lb"), default="queue", help="queue worker or load-balancing server (%(default)s)")
    add("--gpu", default=GPUS, type=gpu_pools, help="GPU pools, by preference (%(default)s)")
    add("--cpu", metavar="FLAVOR", help="a CPU instance instead of a GPU: cpu3c-4-8, cpu5c-8-16, ...")
    add("--workers-min", type=int, default=0, help="always running, always paid (%(default)s)")
    add("--workers-max", type=int, default=3, help="(%(default)s)")
    add("--idle-timeout", type=int, default=5, help="seconds a worker waits for the next job (%(default)s)")
    add("--execution-timeout", type=int, default=600, help="seconds one job may take (%(default)s)")
    add("--scaler", type=scaler, metavar="TYPE:VALUE", help="delay:4 (queue's default) or requests:4 (lb's)")
    add("--volume", metavar="ID", help="network volume, mounted at /runpod-volume")
    add("--cached-model", metavar="ORG/NAME", help="Hugging Face model that the platform keeps on its hosts")
    add("--disk", type=int, default=DISK_GB, metavar="GB", help="container disk (%(default)s)")
    add("--env", type=env_pair, action="append", default=[], metavar="KEY=VALUE", help="setting; repeat for more")
    add(
        "--secret",
        type=secret_pair,
        action="append",
        default=[],
        metavar="KEY[=NAME]",
        help="setting taken from the platform's secret NAME (default: KEY)",
    )
    add("--port", type=int, default=8000, help="where an lb server listens (%(default)s)")
    add("--tcp-port", type=int, metavar="PORT", help="open this TCP port of a queue worker, for realtime sessions")
    add("--no-flashboot", action="store_true", help="do not keep snapshots of stopped workers")
    add("--dry-run", action="store_true", help="print what would be sent and send nothing")


async def run(args: argparse.Namespace) -> int:
    if not (args.image or args.dry_run):
        raise BadArgument("--image: which one? Build it with `make image`, push it to a registry, and name it here")
    template, endpoint = template_input(args), endpoint_input(args)
    if args.dry_run:
        print(json.dumps({"saveTemplate": masked(template), "saveEndpoint": endpoint}, indent=2, ensure_ascii=False))
        return 0
    owned = (await ask_account(LIST, {}))["myself"]
    template_id = await save(SAVE_TEMPLATE, template, owned["podTemplates"])
    endpoint_id = await save(SAVE_ENDPOINT, {**endpoint, "templateId": template_id}, owned["endpoints"])
    print(f"endpoint  {endpoint_id}\ntemplate  {template_id}")
    if args.type == "lb":
        print(f"url       https://{endpoint_id}.api.runpod.ai/v1")
    else:
        print(f"try it    python -m endpoint call {endpoint_id} examples/jobs/models-list.json")
    return 0


async def save(mutation: str, wanted: dict[str, Any], owned: list[dict[str, Any]]) -> str:
    """Create `wanted`, or replace the one of the same name; returns its id."""
    # FlashBoot used to be asked for by a suffix that the platform kept in the name.
    found = [item["id"] for item in owned if item["name"].removesuffix(" -fb") == wanted["name"]]
    if len(found) > 1:
        raise PlatformRefused(
            f"{len(found)} are called {wanted['name']!r} ({', '.join(found)}): rename or delete all but one"
        )
    (saved,) = (await ask_account(mutation, {"input": {**wanted, **({"id": found[0]} if found else {})}})).values()
    return str(saved["id"])


def template_input(args: argparse.Namespace) -> dict[str, Any]:
    env = {"MODE_TO_RUN": args.type}
    ports = []
    if args.type == "lb":
        # The platform's default is 80, which a user other than root cannot always bind.
        env["PORT"] = str(args.port)
        ports.append(f"{args.port}/http")
    if args.tcp_port:
        env["WORKER_REALTIME_PORT"] = str(args.tcp_port)
        ports.append(f"{args.tcp_port}/tcp")
    env.update(args.env)
    env.update(args.secret)
    return {
        "name": f"{args.name}-template",
        "imageName": args.image or "<--image>",
        "dockerArgs": "",
        "containerDiskInGb": args.disk,
        "volumeInGb": 0,
        "ports": ",".join(ports),
        "env": [{"key": key, "value": value} for key, value in env.items()],
        "isServerless": True,
        "isPublic": False,
        "readme": "",
    }


def endpoint_input(args: argparse.Namespace) -> dict[str, Any]:
    kind, value = args.scaler or (("QUEUE_DELAY", 4) if args.type == "queue" else ("REQUEST_COUNT", 4))
    if args.type == "lb" and kind != "REQUEST_COUNT":
        raise BadArgument("a load-balancing endpoint has no queue to measure: use --scaler requests:N")
    if args.workers_min > args.workers_max:
        raise BadArgument(f"--workers-min {args.workers_min} is more than --workers-max {args.workers_max}")
    wanted: dict[str, Any] = {
        "name": args.name,
        "templateId": f"<id of {args.name}-template>",
        "type": "LB" if args.type == "lb" else "QB",
        "workersMin": args.workers_min,
        "workersMax": args.workers_max,
        "idleTimeout": args.idle_timeout,
        "executionTimeoutMs": args.execution_timeout * 1000,
        "scalerType": kind,
        "scalerValue": value,
        "flashBootType": "OFF" if args.no_flashboot else "FLASHBOOT",
        "networkVolumeId": args.volume or "",
        "locations": "",
        "modelReferences": [f"https://huggingface.co/{args.cached_model}"] if args.cached_model else [],
    }
    return {**wanted, **({"instanceIds": [args.cpu]} if args.cpu else {"gpuIds": args.gpu, "gpuCount": 1})}


def masked(template: dict[str, Any]) -> dict[str, Any]:
    def hide(key: str, value: str) -> str:
        return "***" if SECRET_NAME.search(key.upper()) and not value.startswith("{{ RUNPOD_SECRET_") else value

    return {**template, "env": [{"key": row["key"], "value": hide(**row)} for row in template["env"]]}


def gpu_pools(text: str) -> str:
    pools = [pool.strip() for pool in text.split(",")]
    if wrong := [pool for pool in pools if not GPU_POOL.fullmatch(pool)]:
        raise argparse.ArgumentTypeError(
            f"no GPU pool: {', '.join(wrong)} (AMPERE_16, AMPERE_24, ADA_24, AMPERE_48, ...)"
        )
    return ",".join(pools)


def scaler(text: str) -> tuple[str, int]:
    kind, _, value = text.partition(":")
    kinds = {"delay": "QUEUE_DELAY", "requests": "REQUEST_COUNT"}
    if kind not in kinds or not value.isdigit() or int(value) < 1:
        raise argparse.ArgumentTypeError("delay:SECONDS or requests:NUMBER")
    return kinds[kind], int(value)


def env_pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not ENV_NAME.fullmatch(key):
        raise argparse.ArgumentTypeError(f"{key!r}: wanted KEY=VALUE")
    return key, value


def secret_pair(text: str) -> tuple[str, str]:
    key, _, name = text.partition("=")
    if not ENV_NAME.fullmatch(key):
        raise argparse.ArgumentTypeError(f"{key!r}: wanted KEY or KEY=NAME of a secret kept in the console")
    return key, f"{{{{ RUNPOD_SECRET_{name or key} }}}}"
