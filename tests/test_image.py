"""What can be known of the image without building it: its files, its pins, and start.sh run for real.

`make image` builds it and runs image/check in it.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest

from speech_server.settings import Settings
from tests.conftest import ROOT
from tests.local_runpod.local_platform import eventually
from tests.test_architecture import imported

BIN = Path(sys.executable).parent
TYPES_ONLY = {"mypy_boto3_s3"}  # imported under TYPE_CHECKING
SCRIPTS = ("tools/pythons", "start.sh", "image/install", "image/health")


def copied(stage: str = "") -> list[tuple[list[str], str]]:
    """(sources, target) of each COPY from the build's own folder, in one stage or in all."""
    found, current = [], ""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            current = line.split(" AS ")[-1]
        elif line.startswith("COPY ") and "--from" not in line and stage in ("", current):
            *sources, target = line.split()[1:]
            found.append((sources, target))
    return found


def pins(name: str) -> set[tuple[str, str]]:
    """(package, version), more than one version where Python's own decides."""
    text = (ROOT / "requirements" / name).read_text()
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ;]+)", text, re.MULTILINE))


def test_everything_the_dockerfile_copies_is_there():
    assert [source for sources, _ in copied() for source in sources if not (ROOT / source).exists()] == []


def test_the_build_sees_what_the_dockerfile_copies_and_nothing_else():
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    wanted = [Path(source) for sources, _ in copied() for source in sources]
    assert [path for path in wanted if path.parts[0] not in shown and not any(map(path.match, shown))] == []
    assert not shown & {"tests", "benchmarks", "local_runpod", "docs", ".git", ".venv"}


def test_the_stage_that_bakes_models_in_has_all_the_code_it_needs(tmp_path: Path):
    """It copies only a part of the server, so that other changes do not download the models again."""
    for sources, target in copied("models"):
        for source in sources:
            to = tmp_path / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, to)
    command = [sys.executable, "-m", "speech_server", "models", "list", "--known"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "HF_HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Systran/faster-whisper-base" in done.stdout
    names = [f"speech_server.models.{path.stem}" for path in (ROOT / "speech_server" / "models").glob("[a-z]*.py")]
    every = f"import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", every], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["worker.txt", "gpu.txt"])
def test_one_environment_holds_all_pins(name: str):
    """The image installs the worker's and the GPU's requirements on top of the server's."""
    server, added = pins("server.txt"), pins(name)
    shared = {package for package, _ in server} & {package for package, _ in added}
    assert shared
    assert {pin for pin in added if pin[0] in shared} == {pin for pin in server if pin[0] in shared}


def stages() -> dict[str, list[str]]:
    """name -> its instructions; the last has none."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            current = found.setdefault(line.split(" AS ")[1] if " AS " in line else "", [line])
        elif found:
            current.append(line)
    return found


def test_the_gpu_image_asks_its_host_for_the_card_and_the_cpu_image_for_none():
    """Only NVIDIA's own base images do so by themselves."""
    (gpu,) = [line for line in stages()["system-gpu"] if line.startswith("ENV ")]
    assert dict(pair.split("=") for pair in gpu.split()[1:]) == {
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    assert "ENV NVIDIA_VISIBLE_DEVICES=void" in stages()["system-cpu"]
    assert stages()[""][0] == "FROM system-${DEVICE}"


def test_the_default_voice_is_baked_in_by_whoever_builds():
    """The Hub builds with the Dockerfile's arguments, a release with bake's."""
    voice = Settings.model_fields["default_tts_model"].default
    assert f'ARG MODELS="{voice}"' in stages()["models"]
    assert f'variable "MODELS" {{ default = "{voice}" }}' in (ROOT / "docker-bake.hcl").read_text()


def test_no_requirement_names_an_index():
    assert [path.name for path in (ROOT / "requirements").glob("*.txt") if "://" in path.read_text()] == []


def test_the_dockerfile_is_hadolint_clean():
    done = subprocess.run([BIN / "hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_scripts_are_shellcheck_clean():
    done = subprocess.run([BIN / "shellcheck", *SCRIPTS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert [name for name in SCRIPTS if not os.access(ROOT / name, os.X_OK)] == []


# --- start.sh ---


@pytest.fixture
def probe(tmp_path: Path) -> dict[str, str]:
    """An environment in which `python` says what it was started with: start.sh's whole effect."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/bash\necho "pid $$"; echo "run python $*"; env\n')
    python.chmod(0o755)
    return {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "WORKER_VOLUME": str(tmp_path / "volume")}


def start(env: dict[str, str], *arguments: str) -> tuple[str, dict[str, str], str]:
    """What start.sh became, in which environment, and what it said."""
    process = subprocess.Popen(
        [ROOT / "start.sh", *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/"
    )
    out, _ = process.communicate(timeout=20)
    assert f"pid {process.pid}\n" in out, f"not exec'd, so signals would not arrive:\n{out}"
    said, _, seen = out.partition(f"pid {process.pid}\n")
    command, *rest = seen.splitlines()
    return command.removeprefix("run "), dict(line.split("=", 1) for line in rest if "=" in line), said


def test_a_queue_worker_becomes_the_handler(probe: dict[str, str]):
    assert start(probe)[0] == "python handler.py"


def test_a_load_balancing_worker_becomes_the_server_on_its_port(probe: dict[str, str]):
    command, env, _ = start({**probe, "MODE_TO_RUN": "lb", "PORT": "18000"})
    assert command == "python -m speech_server --host 0.0.0.0 --port 18000"
    assert env["MODEL_MANAGEMENT"] == "on"  # Runpod has asked for its key
    assert (
        start({**probe, "MODE_TO_RUN": "lb", "PORT": "18000", "MODEL_MANAGEMENT": "off"})[1]["MODEL_MANAGEMENT"]
        == "off"
    )


def test_a_gateway_stands_before_the_endpoint_that_is_named(probe: dict[str, str]):
    named = {**probe, "MODE_TO_RUN": "gateway", "GATEWAY_ENDPOINT": "abc123"}
    assert start(named)[0] == "python -m endpoint gateway abc123 --host 0.0.0.0 --port 8020"
    del named["GATEWAY_ENDPOINT"]
    done = subprocess.run([ROOT / "start.sh"], env=named, capture_output=True, text=True)
    assert done.returncode == 64
    assert "GATEWAY_ENDPOINT" in done.stderr


def test_a_pod_says_how_to_try_it(probe: dict[str, str]):
    command, env, said = start({**probe, "MODE_TO_RUN": "pod", "RUNPOD_POD_ID": "abc123"})
    assert command == "python -m speech_server --host 0.0.0.0 --port 8000"
    assert "https://abc123-8000.proxy.runpod.net/v1/audio/transcriptions -F model=whisper-1" in said
    assert "set API_KEY" in said
    assert "MODEL_MANAGEMENT" not in env  # the server itself decides by the key


def test_a_pods_own_page_may_use_it_whatever_its_proxy_calls_it(probe: dict[str, str]):
    pod = {**probe, "MODE_TO_RUN": "pod", "RUNPOD_POD_ID": "abc123"}
    assert start(pod)[1]["ALLOW_ORIGINS"] == "https://abc123-8000.proxy.runpod.net"
    assert start({**pod, "ALLOW_ORIGINS": "https://a.example"})[1]["ALLOW_ORIGINS"] == "https://a.example"


def test_where_runpod_asks_for_its_key_first_the_server_answers_under_any_name(probe: dict[str, str]):
    lb = {**probe, "MODE_TO_RUN": "lb", "PORT": "18000"}
    assert start({**lb, "RUNPOD_ENDPOINT_ID": "abc123"})[1]["ALLOWED_HOSTS"] == "*"
    assert "ALLOWED_HOSTS" not in start(lb)[1]


@pytest.mark.parametrize("mode", ["lb", "pod"])
def test_a_server_alone_never_sees_the_platforms_keys(probe: dict[str, str], mode: str):
    platform = {"RUNPOD_AI_API_KEY": "1", "RUNPOD_WEBHOOK_GET_JOB": "2", "BUCKET_SECRET_ACCESS_KEY": "3"}
    own = {"API_KEY": "4", "HF_TOKEN": "5", "AWS_SECRET_ACCESS_KEY": "6", "RUNPOD_POD_ID": "7"}
    env = {**probe, **platform, **own, "MODE_TO_RUN": mode, "PORT": "18000"}
    seen = start(env)[1]
    assert {name: seen[name] for name in seen if name in (*platform, *own)} == own
    assert "BUCKET_SECRET_ACCESS_KEY" in start({**env, "SPEECH_SERVER_PASS_ENV": "A,BUCKET_SECRET_ACCESS_KEY"})[1]


KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "WHISPER__MODEL": "acme/whisper", "ENABLE_UI": "false"}


@pytest.mark.parametrize("mode", ["queue", "lb"])
def test_what_the_driver_compiles_stays_on_the_volume(probe: dict[str, str], mode: str):
    gpu = {**probe, "MODE_TO_RUN": mode, "PORT": "18000", "RUNPOD_GPU_COUNT": "1"}
    assert "CUDA_CACHE_PATH" not in start(gpu)[1]  # no volume
    volume = Path(probe["WORKER_VOLUME"])
    volume.mkdir()
    assert start(gpu)[1]["CUDA_CACHE_PATH"] == str(volume / "cuda-cache")
    assert start({**gpu, "CUDA_CACHE_PATH": "/elsewhere"})[1]["CUDA_CACHE_PATH"] == "/elsewhere"
    if not Path("/dev/nvidiactl").exists():
        del gpu["RUNPOD_GPU_COUNT"]
        assert "CUDA_CACHE_PATH" not in start(gpu)[1]


def test_as_kubeai_starts_it_it_is_a_server_on_port_8000(probe: dict[str, str]):
    command, env, _ = start({**probe, **KUBERNETES})
    assert command == "python -m speech_server --host 0.0.0.0 --port 8000"
    assert (env["WHISPER__MODEL"], env["ENABLE_UI"]) == ("acme/whisper", "false")
    assert "MODEL_MANAGEMENT" not in env


def test_a_models_own_args_are_the_servers(probe: dict[str, str]):
    command, *_ = start({**probe, **KUBERNETES}, "--log-level", "debug")
    assert command == "python -m speech_server --host 0.0.0.0 --port 8000 --log-level debug"
    assert start(probe, "--model", "a/b")[0] == "python -m speech_server --host 0.0.0.0 --port 8000 --model a/b"
    lb = {**probe, "MODE_TO_RUN": "lb", "PORT": "18000"}
    assert start(lb, "--model", "a/b")[0] == "python -m speech_server --host 0.0.0.0 --port 18000 --model a/b"


def test_what_a_mode_says_counts_in_kubernetes_too(probe: dict[str, str]):
    assert start({**probe, **KUBERNETES, "MODE_TO_RUN": "queue"})[0] == "python handler.py"
    assert start({**probe, **KUBERNETES, "RUNPOD_POD_ID": "abc"})[0] == "python handler.py"


def test_options_where_no_server_is_started_are_refused(probe: dict[str, str]):
    env = {**probe, "MODE_TO_RUN": "queue"}
    done = subprocess.run([ROOT / "start.sh", "--model", "a/b"], env=env, capture_output=True, text=True)
    assert done.returncode == 64
    assert "MODE_TO_RUN=queue starts no server that options like --model are for" in done.stderr


def test_a_pod_with_a_key_does_not_warn(probe: dict[str, str]):
    assert "set API_KEY" not in start({**probe, "MODE_TO_RUN": "pod", "API_KEY": "k"})[2]


def test_without_a_volume_models_go_to_the_home_folder(probe: dict[str, str]):
    _, env, said = start(probe)
    assert env["HF_HOME"] == f"{probe['HOME']}/.cache/huggingface"
    assert said == ""


def test_a_volume_takes_the_models_and_all_caches_are_read(probe: dict[str, str], tmp_path: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    _, env, _ = start(probe)
    assert env["HF_HOME"] == f"{volume}/huggingface"
    assert env["MODEL_READ_CACHES"] == f"{volume}/huggingface-cache/hub,/opt/models/hub"


def test_a_volume_that_cannot_be_written_is_said_and_still_read(probe: dict[str, str], tmp_path: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "huggingface").write_text("in the way: root, whom tests may run as, can write to any folder")
    _, env, said = start(probe)
    assert env["HF_HOME"] == f"{probe['HOME']}/.cache/huggingface"
    assert "cannot write to" in said
    assert env["MODEL_READ_CACHES"].startswith(str(volume))


def test_what_the_user_sets_wins(probe: dict[str, str]):
    _, env, _ = start({**probe, "HF_HOME": "/elsewhere", "MODEL_READ_CACHES": "/a,/b"})
    assert (env["HF_HOME"], env["MODEL_READ_CACHES"]) == ("/elsewhere", "/a,/b")


def test_an_unknown_mode_is_refused_by_name(probe: dict[str, str]):
    done = subprocess.run([ROOT / "start.sh"], env={**probe, "MODE_TO_RUN": "dance"}, capture_output=True, text=True)
    assert done.returncode == 64
    assert "queue, lb, pod or gateway, not 'dance'" in done.stderr


def test_a_port_the_user_may_not_have_is_explained(probe: dict[str, str]):
    """`id` answers for a user who is not root, whoever runs the tests."""
    fake = Path(probe["HOME"], "bin", "id")
    fake.write_text("#!/bin/bash\necho 1000\n")
    fake.chmod(0o755)
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    env = {**probe, "MODE_TO_RUN": "lb", "PORT": str(lowest - 1)}
    done = subprocess.run([ROOT / "start.sh"], env=env, capture_output=True, text=True)
    assert done.returncode == 64
    assert f"may not listen on port {lowest - 1} here: set PORT to {lowest} or more" in done.stderr


def test_load_balancing_serves_and_stops_on_sigterm():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "MODE_TO_RUN": "lb", "PORT": str(port)}
    process = subprocess.Popen([ROOT / "start.sh"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/ping"), 60, "the server answers")
        assert subprocess.run([ROOT / "image" / "health"], env=env).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert subprocess.run([ROOT / "image" / "health"], env=env, stderr=subprocess.DEVNULL).returncode != 0
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


CALLS = {"call.py", "track.py"}


def test_a_queue_worker_has_no_port_to_ask_after():
    assert subprocess.run([ROOT / "image" / "health"], env={"PATH": "/usr/bin:/bin"}).returncode == 0


def test_start_sh_becomes_what_it_is_given(probe: dict[str, str]):
    done = subprocess.run([ROOT / "start.sh", "env"], env=probe, capture_output=True, text=True, check=True)
    assert f"HF_HOME={probe['HOME']}/.cache/huggingface\n" in done.stdout


def test_every_library_the_code_imports_is_pinned_where_it_runs():
    """A package that is only on a developer's machine breaks the image at its first import."""
    packages = packages_distributions()
    for room, name in (("speech_server", "server.txt"), ("worker", "worker.txt")):
        always = {re.sub(r"[-_.]+", "-", package) for package, _ in pins(name)}
        calls = {re.sub(r"[-_.]+", "-", package) for package, _ in pins("webrtc.txt")}
        for path in (ROOT / room).rglob("*.py"):
            pinned = always | (calls if path.name in CALLS else set())  # imported where `make webrtc` was
            names = {library for library in imported(ast.parse(path.read_text())) if library in packages}
            missing = {lib for lib in names if not pinned & {re.sub(r"[-_.]+", "-", p.lower()) for p in packages[lib]}}
            assert missing - TYPES_ONLY == set(), path
