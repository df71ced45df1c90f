"""examples/kubernetes: held against Kubernetes' own schema, and against the server that the manifests start."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from speech_server.models.disk.cache import default_root
from speech_server.settings import Settings
from tests.conftest import ROOT, WHISPER, ServerProcess
from tests.settings_tables import FOREIGN, server_rows
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS
from tests.speech_server.transcribing import words_of

FOLDER = ROOT / "examples" / "kubernetes"
SCHEMA = json.loads((ROOT / "tests/schemas/kubernetes.json").read_text())
VALUES = "kubeai-values.yaml"

Manifest = dict[str, Any]
MANIFESTS: list[tuple[str, Manifest]] = [
    (path.name, manifest)
    for path in sorted(FOLDER.glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text("utf-8"))
]


def kind_of(name: str, manifest: Manifest) -> str:
    return "KubeaiValues" if name == VALUES else str(manifest["kind"])


def found(kind: str) -> Manifest:
    return next(manifest for name, manifest in MANIFESTS if kind_of(name, manifest) == kind)


def faults(kind: str, manifest: Manifest) -> list[str]:
    assert kind in SCHEMA["$defs"], f"no schema of a {kind}"
    validator = Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})
    return [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in validator.iter_errors(manifest)]


@pytest.fixture
def container() -> Manifest:
    (only,) = found("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_the_schema_is_one_itself():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("name", "manifest"), MANIFESTS, ids=[f"{name} {kind_of(name, manifest)}" for name, manifest in MANIFESTS]
)
def test_a_manifest_is_as_its_kind_wants_it(name: str, manifest: Manifest):
    assert faults(kind_of(name, manifest), manifest) == []


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinesProbe"), {}),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "resources", "limits", "memory"), "4 GB"),
        ("Deployment", ("spec", "selector"), None),
        ("Deployment", ("apiVersion",), "apps/v1beta1"),
        ("Service", ("spec", "ports", 0, "port"), "eighty"),
        ("ScaledObject", ("spec", "triggers", 0, "metadata", "threshold"), 8),
        ("Model", ("spec", "engine"), "Whisper"),
        ("Model", ("spec", "env", "STT_MODEL_TTL"), -1),
        ("KubeaiValues", ("modelServers", "FasterWhisper", "image"), "a"),
    ],
)
def test_the_schema_sees_what_is_wrong(kind: str, place: tuple[str | int, ...], value: object):
    manifest = json.loads(json.dumps(found(kind)))
    node = manifest
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    assert faults(kind, manifest) != []


def test_the_service_the_probes_and_the_autoscaler_lead_to_the_deployment(container: Manifest):
    deployment, service, scaler = found("Deployment"), found("Service"), found("ScaledObject")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    (port,) = container["ports"]
    assert [entry["targetPort"] for entry in service["spec"]["ports"]] == [port["name"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": port["name"]}
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # applied again, it would undo the autoscaler's
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert port["containerPort"] == 8000  # start.sh's in Kubernetes


def test_every_variable_is_one_that_is_read(container: Manifest):
    names = {entry["name"] for entry in container["env"]} | set(found("Model")["spec"]["env"])
    assert names <= {row.env for row in server_rows()} | {name for name, *_ in FOREIGN}


def test_a_pod_has_the_time_to_end_what_it_has_begun(container: Manifest):
    spec = found("Deployment")["spec"]["template"]["spec"]
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= waits + 2 * Settings().shutdown_timeout


def test_nothing_runs_as_root_or_writes_beside_its_volumes(container: Manifest):
    spec = found("Deployment")["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    mounted = {entry["name"]: entry["mountPath"] for entry in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in spec["volumes"]}
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert mounted == {"models": variables["HF_HOME"], "tmp": "/tmp"}  # the container's


READ_ONLY = """
mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro / && ! touch "$1/written" 2>/dev/null &&
exec "${@:2}"
"""


def can_mount() -> bool:
    """A mount namespace of one's own is not to be had everywhere."""
    command = ["unshare", "-m", "mount", "--make-rprivate", "/"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, httpx.Client]]:
    """The server with the Deployment's variables, and where it can be had under a root that nobody may write to."""
    folder = tmp_path_factory.mktemp("volumes")
    (only,) = found("Deployment")["spec"]["template"]["spec"]["containers"]
    env = {entry["name"]: entry["value"] for entry in only["env"] if "value" in entry}
    env |= {"WHISPER__MODEL": WHISPER, "HF_HOME": str(folder / "models"), "TMPDIR": str(folder)}
    within = ("unshare", "-m", "bash", "-c", READ_ONLY, str(folder), str(ROOT)) if can_mount() else ()
    server = ServerProcess({**env, "MODEL_READ_CACHES": str(default_root())}, within=within)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while client.get("/health").status_code == 503:
            pass
        yield server, client
    server.stop()
    assert not (ROOT / "written").exists()


def test_a_replica_with_these_variables_hears(replica: tuple[ServerProcess, httpx.Client]):
    _, client = replica
    heard = client.post("/v1/audio/transcriptions", files={"file": ENGLISH.read_bytes()})
    assert words_of(heard.json()["text"]) == ENGLISH_WORDS
    spooled = client.post("/v1/audio/transcriptions", files={"file": ENGLISH.read_bytes() + bytes(8_000_000)})
    assert spooled.status_code == 200
    assert client.post("/v1/models/Systran/faster-whisper-tiny").status_code == 403
    assert client.get("/").status_code == 404


def test_what_the_autoscaler_asks_for_is_what_the_metrics_have(replica: tuple[ServerProcess, httpx.Client]):
    _, client = replica
    (trigger,) = found("ScaledObject")["spec"]["triggers"]
    (asked,) = re.findall(r"speech_\w+", trigger["metadata"]["query"])
    lines = client.get("/metrics").text.splitlines()
    assert f"# TYPE {asked} gauge" in lines
    assert f'{asked}{{model="{WHISPER}"}} 0.0' in lines
