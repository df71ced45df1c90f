"""Every sample of README and docs runs as it is written; only where it goes to is changed. Or it says why it cannot."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PIPER, ROOT, WHISPER
from tests.documents.replaying import file_server, run
from tests.endpoint.gateway.conftest import start, stop
from tests.local_runpod.local_platform import LocalPlatform
from tests.stand_in_llm import stand_in_llm
from tests.talking import talk_server

pytestmark = pytest.mark.xdist_group("documents")

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
CLIPS = {"talk.mp3": "english.opus", "talk.wav": "english.opus", "entrevista.mp3": "spanish.opus"}

# Why a sample, named by words in it, is not run.
NOT_RUN = {
    "make run ": "two targets of make: one runs in make's own tests, the other is this",
    "make serve ": "stays in the foreground; the request below it is one of the jobs that are run",
    "deploy --name speech --image": "wants an image in a registry and an account; its dry run is in test_deploy.py",
    "deploy --name speech-lb": "the same",
    "docker run --rm -d -p 4318": "wants Docker and Jaeger's image; tests/test_tracing.py has a collector",
    "docker build": "wants Docker and the image of Speaches",
    "SPEECH_SERVER_COMMAND=env": "settings, of another server's image",
    "AUDIO_STT_ENGINE=openai": "settings of another program",
    '"s3Config"': "wants a bucket; tests/worker/answer has such jobs",
    "wss://ENDPOINT_ID": "two addresses",
    "tools.language_model": "wants the package index; tests/test_spoken_conversation.py is this, where it was done",
    "models pull Systran": "wants the hub",
    "models pull parakeet": "the same; tests/speech_server/models/sources has one that speaks its API",
    "models pull acme": "the same; tests/speech_server/models/sources/test_checkpoint.py pulls one",
    "--model acme": "stays in the foreground; tests/speech_server/test_kubeai.py starts one",
    "kubectl apply": "wants a cluster; tests/test_kubernetes.py checks what is applied",
    "models pull microsoft": "the same; tests/documents has this request",
    "optimum-cli": "wants PyTorch and the hub",
    "- name: speecht5_tts_spanish": "a models file; tests/documents has such a one",
    "- name: kokoro-zh": "a models file; tests/speech_server/engines/kokoro has such a model",
    "support-calls": "wants a bucket; tests/speech_server/models has such files",
    '"narrator"': "a file of aliases; tests/speech_server/models has such files",
    "The quick brown fox jumped": "an answer",
    '"start": 64': "an answer",
    '"status": "FAILED"': "an answer",
    '"status": "IN_PROGRESS"': "an answer",
    '"path": "/v1/realtime"': "holds a session; tests/test_realtime_queue.py does",
}


@dataclass(frozen=True)
class Sample:
    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}"


def samples() -> Iterator[Sample]:
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = file.read_text()
        for found in FENCE.finditer(text):
            inner = "\n".join(line.removeprefix(found[1]) for line in found[3].splitlines())
            yield Sample(file, text.count("\n", 0, found.start()) + 1, found[2], inner)


SAMPLES = list(samples())


def reason(sample: Sample) -> str | None:
    return next((why for words, why in NOT_RUN.items() if words in sample.text), None)


@dataclass
class Places:
    """Where samples are sent instead: their own addresses -> ours."""

    platform: LocalPlatform
    addresses: dict[str, str]

    def here(self, text: str) -> str:
        for theirs, ours in self.addresses.items():
            text = text.replace(theirs, ours)
        return text


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    models = {"PRELOAD_MODELS": f"{WHISPER},{PIPER}"}
    clips_here = file_server(ROOT / "examples/clips")
    with clips_here as files, stand_in_llm("It is late.") as llm, talk_server(**models) as server:
        server.answer("It is late.")
        env = models | {
            "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "true",
            "CHAT_COMPLETION_BASE_URL": llm.url,
            "CHAT_COMPLETION_API_KEY": "any",
        }
        with LocalPlatform([sys.executable, "-u", "handler.py"], env=env) as platform:
            gateway = start(platform.base, RUNPOD_API_KEY="any")
            clips = {f"https://example.com/{name}": f"{files}/{clip}"
                     for name, clip in CLIPS.items()}  # fmt: skip
            v2 = platform.base.removesuffix("/local")
            yield Places(platform, clips | {
                "https://ENDPOINT_ID.api.runpod.ai": server.url,
                "http://127.0.0.1:8000": server.url,
                "http://127.0.0.1:8020": gateway.url,
                "http://127.0.0.1:8010/v2": v2,
                "https://api.runpod.ai/v2/$ENDPOINT_ID": platform.base,
                "https://api.runpod.ai/v2/ENDPOINT_ID": platform.base,
                "runpod.Endpoint(\"ENDPOINT_ID\")": f"(setattr(runpod, 'endpoint_url_base', {v2!r}), "
                                                    "runpod.Endpoint('local'))[1]",
                "--at local": f"--at {platform.base}",
                "call ENDPOINT_ID": f"call {platform.base}",
            })  # fmt: skip
            stop(gateway)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder like the repository's, where a sample may leave files."""
    for name in ("examples", "speech_server", "endpoint", "outgoing", "worker"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("sample", [sample for sample in SAMPLES if reason(sample) is None], ids=str)
def test_a_sample_runs(sample: Sample, places: Places, desk: Path):
    text = places.here(sample.text)
    match sample.language:
        case "json":
            send(text, places.platform)
        case "python":
            run(desk, sys.executable, "-c", text)
        case "js":
            if not shutil.which("node"):
                pytest.skip("no node here")
            run(desk, "node", "--input-type=module", "-e", text)
        case "bash" | "console":
            run(
                desk, "bash", "-e", "-c", commands(text), SPEECH_SERVER_URL=f"{places.here('http://127.0.0.1:8000')}/v1"
            )
        case other:
            raise AssertionError(f"nobody knows how to run {other!r}")


def test_every_reason_is_needed():
    texts = [sample.text for sample in SAMPLES]
    assert [words for words in NOT_RUN if not any(words in text for text in texts)] == []


def send(text: str, platform: LocalPlatform) -> None:
    speech = (ROOT / "examples/clips/english.opus").read_bytes()
    job: dict[str, Any] = json.loads(text.replace("<base64>", base64.b64encode(speech).decode()))
    ended = platform.runsync(**{"job_input" if key == "input" else key: value for key, value in job.items()})
    assert ended["status"] == "COMPLETED", ended


def commands(text: str) -> str:
    """The lines behind $ where there are prompts, else all of them; servers are left out that others run already."""
    lines = text.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    kept = [
        line
        for line in lines
        if not line.startswith(("source ", "export RUNPOD_API_KEY", "python -m endpoint gateway"))
    ]
    return "\n".join(kept)
