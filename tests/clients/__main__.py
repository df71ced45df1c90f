"""python -m tests.clients [NAME ...]: other people's clients, unmodified, each in an environment of its own, on the
gateway in front of the real worker under local_runpod. Needs a package index; node for openai-js."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import PIPER, ROOT, WHISPER
from tests.endpoint.gateway.conftest import start, stop
from tests.local_runpod.local_platform import LocalPlatform

HERE = Path(__file__).parent
SECONDS = 300  # for one client, its installation included
CLIENTS = {
    "openai": ["openai==3.57.0"],
    "openai-js": ["openai@6.49.0"],
    "livekit": ["livekit-agents==1.8.9", "livekit-plugins-openai==1.8.9"],
    "pipecat": ["pipecat-ai[openai]==1.14.0"],
    "wyoming": ["wyoming-openai==0.8.0"],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CLIENTS))
    names: list[str] = parser.parse_args().names or list(CLIENTS)
    if unknown := [name for name in names if name not in CLIENTS]:
        parser.error(f"no client {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    if "wyoming" in names and sys.version_info < (3, 12):
        print("wyoming: left out, it wants Python 3.12: make clients PYTHON=python3.13")
        names.remove("wyoming")
    failed = []
    with LocalPlatform([sys.executable, "-u", "handler.py"], env={"PRELOAD_MODELS": f"{WHISPER},{PIPER}"}) as platform:
        gateway = start(platform.base, RUNPOD_API_KEY="any")
        try:
            for name in names:
                print(f"{name}: {', '.join(CLIENTS[name])}", flush=True)
                if not run(name, gateway.url):
                    failed.append(name)
        finally:
            stop(gateway)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(names)} clients work")
    return 1 if failed else 0


def run(name: str, url: str) -> bool:
    env = {**os.environ, "GATEWAY": f"{url}/v1", "CLIPS": str(ROOT / "examples/clips"), "SPEECH_MODEL": PIPER}
    with tempfile.TemporaryDirectory() as folder:
        if name.endswith("-js"):
            install = ["npm", "install", "--silent", "--prefix", folder, *CLIENTS[name]]
            script = Path(folder, "script.mjs")
            script.write_text((HERE / f"{name.replace('-', '_')}.mjs").read_text())
            command = ["node", str(script)]
        else:
            uv, python = str(Path(sys.executable).with_name("uv")), f"{folder}/bin/python"
            made = subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=False)
            if made.returncode:
                return False
            install = [uv, "pip", "install", "--quiet", "--python", python, "av", "numpy", *CLIENTS[name]]
            command = [python, str(HERE / f"on_{name}.py")]
        try:
            for step in (install, command):
                if subprocess.run(step, env=env, cwd=folder, timeout=SECONDS, check=False).returncode:
                    return False
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"  {error}", flush=True)
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
