"""python -m endpoint deploy, against a stand-in for Runpod's GraphQL API that knows only documented fields."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from endpoint.__main__ import main

KEY = "rpa_test"
# From the mutations of runpod 1.12 and of Runpod's own command line tool.
TEMPLATE_FIELDS = {
    "id", "name", "imageName", "dockerArgs", "containerDiskInGb", "volumeInGb", "volumeMountPath", "ports", "env",
    "isServerless", "isPublic", "readme", "containerRegistryAuthId", "startSsh",
}  # fmt: skip
ENDPOINT_FIELDS = {
    "id", "name", "templateId", "type", "gpuIds", "gpuCount", "instanceIds", "networkVolumeId", "locations",
    "idleTimeout", "scalerType", "scalerValue", "workersMin", "workersMax", "executionTimeoutMs", "flashBootType",
    "modelReferences", "allowedCudaVersions",
}  # fmt: skip


class Console(ThreadingHTTPServer):
    """An account: what it owns, and every mutation it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.templates: dict[str, dict[str, Any]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "saveTemplate" in query:
            return {"saveTemplate": self.save(self.templates, variables["input"], TEMPLATE_FIELDS, "tpl")}
        if "saveEndpoint" in query:
            if variables["input"]["templateId"] not in self.templates:
                raise ValueError("template not found")
            return {"saveEndpoint": self.save(self.endpoints, variables["input"], ENDPOINT_FIELDS, "ep")}
        return {"myself": {"endpoints": list(self.endpoints.values()), "podTemplates": list(self.templates.values())}}

    def save(self, owned: dict[str, Any], given: dict[str, Any], fields: set[str], prefix: str) -> dict[str, Any]:
        if unknown := set(given) - fields:
            raise ValueError(f"Field {unknown} is not defined")
        if any(item["name"] == given["name"] and key != given.get("id") for key, item in owned.items()):
            raise ValueError(f"{given['name']} exists")
        key = given.get("id") or f"{prefix}{len(owned) + 1}"
        owned[key] = {**given, "id": key}
        return owned[key]


class Handler(BaseHTTPRequestHandler):
    server: Console

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/graphql" or self.headers["Authorization"] != f"Bearer {KEY}":
            self.send_response(401)
            self.end_headers()
            return
        self.server.calls.append(body["query"])
        try:
            answer = {"data": self.server.answer(body["query"], body["variables"])}
        except ValueError as error:
            answer = {"errors": [{"message": str(error)}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    server = Console()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("RUNPOD_API_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def deploy(*flags: str) -> int:
    return main(["deploy", "--name", "speech", "--image", "me/speech:1", *flags])


def environment(template: dict[str, Any]) -> dict[str, str]:
    return {row["key"]: row["value"] for row in template["env"]}


def test_a_first_deploy_creates_the_template_and_an_endpoint_that_uses_it(console: Console, capsys):
    assert deploy("--workers-max", "5", "--idle-timeout", "30", "--volume", "vol1", "--gpu", "ADA_24,AMPERE_24") == 0
    (template,), (endpoint,) = console.templates.values(), console.endpoints.values()
    assert (template["name"], template["imageName"], template["isServerless"]) == (
        "speech-template",
        "me/speech:1",
        True,
    )
    assert endpoint["templateId"] == template["id"]
    assert (endpoint["workersMin"], endpoint["workersMax"], endpoint["idleTimeout"]) == (0, 5, 30)
    assert (endpoint["networkVolumeId"], endpoint["gpuIds"]) == ("vol1", "ADA_24,AMPERE_24")
    assert (endpoint["type"], endpoint["scalerType"], endpoint["scalerValue"]) == ("QB", "QUEUE_DELAY", 4)
    assert f"python -m endpoint call {endpoint['id']}" in capsys.readouterr().out


def test_a_second_deploy_replaces_the_first(console: Console):
    deploy("--env", "LOG_LEVEL=debug")
    deploy("--env", "LOG_LEVEL=info", "--workers-max", "9")
    (template,), (endpoint,) = console.templates.values(), console.endpoints.values()
    assert environment(template)["LOG_LEVEL"] == "info"
    assert endpoint["workersMax"] == 9


def test_an_endpoint_of_the_flashboot_name_is_the_same_endpoint(console: Console):
    console.endpoints["old"] = {"id": "old", "name": "speech -fb"}
    deploy()
    assert list(console.endpoints) == ["old"]


def test_values_arrive_as_they_were_given(console: Console):
    value = 'a "quoted" \\ value\nwith a second line, { braces } and ünïcode'
    deploy("--env", f"PROMPT={value}")
    (template,) = console.templates.values()
    assert environment(template)["PROMPT"] == value


def test_a_secret_is_sent_as_a_reference_to_the_platforms_own(console: Console):
    deploy("--secret", "HF_TOKEN", "--secret", "CHAT_COMPLETION_API_KEY=openai")
    (template,) = console.templates.values()
    assert environment(template)["HF_TOKEN"] == "{{ RUNPOD_SECRET_HF_TOKEN }}"
    assert environment(template)["CHAT_COMPLETION_API_KEY"] == "{{ RUNPOD_SECRET_openai }}"


def test_a_load_balancing_endpoint_gets_its_mode_port_and_scaler(console: Console, capsys):
    deploy("--type", "lb")
    (template,), (endpoint,) = console.templates.values(), console.endpoints.values()
    assert environment(template) == {"MODE_TO_RUN": "lb", "PORT": "8000"}
    assert template["ports"] == "8000/http"
    assert (endpoint["type"], endpoint["scalerType"]) == ("LB", "REQUEST_COUNT")
    assert f"https://{endpoint['id']}.api.runpod.ai/v1" in capsys.readouterr().out


def test_a_realtime_port_is_opened_and_told_to_the_worker(console: Console):
    deploy("--tcp-port", "8765")
    (template,) = console.templates.values()
    assert template["ports"] == "8765/tcp"
    assert environment(template)["WORKER_REALTIME_PORT"] == "8765"


def test_a_cpu_endpoint_asks_for_no_gpu(console: Console):
    deploy("--cpu", "cpu5c-4-8")
    (endpoint,) = console.endpoints.values()
    assert endpoint["instanceIds"] == ["cpu5c-4-8"]
    assert "gpuIds" not in endpoint


def test_a_cached_model_is_named_by_its_page(console: Console):
    deploy("--cached-model", "Systran/faster-whisper-large-v3")
    (endpoint,) = console.endpoints.values()
    assert endpoint["modelReferences"] == ["https://huggingface.co/Systran/faster-whisper-large-v3"]


def test_a_dry_run_prints_what_would_be_sent_and_sends_nothing(console: Console, capsys, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY")
    flags = ("--type", "lb", "--env", "API_KEY=hunter2", "--env", "LOG_LEVEL=debug", "--secret", "HF_TOKEN")
    assert deploy(*flags, "--dry-run") == 0
    out = capsys.readouterr().out
    shown = json.loads(out)
    assert console.calls == []
    assert "hunter2" not in out
    assert environment(shown["saveTemplate"]) == {
        "MODE_TO_RUN": "lb",
        "PORT": "8000",
        "API_KEY": "***",
        "LOG_LEVEL": "debug",
        "HF_TOKEN": "{{ RUNPOD_SECRET_HF_TOKEN }}",
    }
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    deploy(*flags)
    (endpoint,), (template,) = console.endpoints.values(), console.templates.values()
    assert {**shown["saveEndpoint"], "templateId": template["id"], "id": endpoint["id"]} == endpoint


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--gpu", "RTX_4090x"), "no GPU pool: RTX_4090x"),
        (("--env", "novalue"), "wanted KEY=VALUE"),
        (("--env", "a-b=1"), "wanted KEY=VALUE"),
        (("--secret", "1A"), "wanted KEY or KEY=NAME"),
        (("--scaler", "delay"), "delay:SECONDS or requests:NUMBER"),
        (("--scaler", "delay:0"), "delay:SECONDS or requests:NUMBER"),
    ],
)
def test_a_flag_that_cannot_be_right_is_named(flags: tuple[str, ...], complaint: str, capsys):
    with pytest.raises(SystemExit) as stopped:
        deploy(*flags, "--dry-run")
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--type", "lb", "--scaler", "delay:4"), "use --scaler requests:N"),
        (("--workers-min", "4", "--workers-max", "3"), "--workers-min 4 is more than --workers-max 3"),
    ],
)
def test_flags_that_contradict_each_other_are_named(flags: tuple[str, ...], complaint: str, capsys):
    assert deploy(*flags, "--dry-run") == 2
    assert complaint in capsys.readouterr().err


def test_what_the_platform_refuses_is_said_in_its_words(console: Console, capsys):
    console.endpoints |= {key: {"id": key, "name": "speech"} for key in ("a", "b")}
    assert deploy() == 2
    assert "2 are called 'speech' (a, b)" in capsys.readouterr().err
    del console.endpoints["a"], console.endpoints["b"]
    console.save = refuse  # type: ignore[method-assign]  # the platform in a bad mood
    assert deploy() == 2
    assert "error: quota exceeded" in capsys.readouterr().err


def refuse(*_: object) -> dict[str, Any]:
    raise ValueError("quota exceeded")


def test_a_missing_key_is_explained_before_anything_is_sent(console: Console, capsys, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert deploy() == 2
    assert "RUNPOD_API_KEY is not set" in capsys.readouterr().err
    assert console.calls == []


def test_a_wrong_key_is_explained(console: Console, capsys, monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "other")
    assert deploy() == 2
    assert "not allowed to do this" in capsys.readouterr().err
