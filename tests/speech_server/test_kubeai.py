"""As KubeAI's Whisper engine: its environment, its probes, and requests as its proxy hands them on.

KubeAI takes /openai off the path, parses the form and writes it anew without its `model`, and leaves Host as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import WHISPER, ServerProcess
from tests.speech_server.conftest import ENGLISH, ENGLISH_WORDS, SPANISH
from tests.speech_server.models.checkpoints import tiny_checkpoint
from tests.speech_server.models.conftest import real_folder
from tests.speech_server.models.hub import FakeHub, running_hub
from tests.speech_server.transcribing import words_of

BOUNDARY = "kubeai-keeps-it"
# Only here: the container listens on all addresses, this server on loopback, which asks who is meant.
ENGINE = {"ENABLE_UI": "false", "ALLOWED_HOSTS": "kubeai"}


def handed_on(client: httpx.Client, path: str, *parts: tuple[str, bytes]) -> httpx.Response:
    """What KubeAI's proxy sends for a form with `model=audiomodel-123zxc` in it."""
    body = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), head.encode(), value) for head, value in parts)
    headers = {"Host": "kubeai", "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return client.post(path, content=body + f"--{BOUNDARY}--\r\n".encode(), headers=headers)


def file(clip: Path) -> tuple[str, bytes]:
    head = (
        'Content-Disposition: form-data; name="file"; filename="kubeai.mp4"\r\nContent-Type: application/octet-stream'
    )
    return head, clip.read_bytes()


def field(name: str, value: str) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{name}"', value.encode()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    server = ServerProcess({**ENGINE, "WHISPER__MODEL": WHISPER})
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while client.get("/health").status_code == 503:
            pass
        yield client
    server.stop()


def test_the_model_is_in_memory_when_the_probe_says_so(client: httpx.Client):
    assert client.get("/health", headers={"Host": "10.1.2.3:8000"}).json()["status"] == "ok"
    assert client.get("/api/ps").json()["models"] == [WHISPER]


def test_there_is_no_page(client: httpx.Client):
    refused = client.get("/")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "http_404")
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
def test_a_form_without_its_model_is_transcribed_by_the_one_there_is(client: httpx.Client, prefix: str):
    heard = handed_on(client, f"{prefix}/audio/transcriptions", file(ENGLISH), field("language", "en"))
    assert heard.status_code == 200, heard.text
    assert words_of(heard.json()["text"]) == ENGLISH_WORDS


def test_kubeais_documents_own_path_without_audio_answers(client: httpx.Client):
    heard = handed_on(client, "/v1/transcriptions", field("response_format", "text"), file(ENGLISH))
    assert words_of(heard.text) == ENGLISH_WORDS


def test_a_form_without_its_model_is_translated_and_streamed(client: httpx.Client):
    english = handed_on(client, "/v1/audio/translations", file(SPANISH))
    assert "Madrid" in english.json()["text"]
    streamed = handed_on(client, "/v1/audio/transcriptions", file(ENGLISH), field("stream", "true"))
    assert '"transcript.text.done"' in streamed.text


def test_a_model_that_is_named_is_still_asked_for(client: httpx.Client):
    refused = handed_on(client, "/v1/audio/transcriptions", field("model", "nobody/nothing"), file(ENGLISH))
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_a_server_for_many_models_says_what_is_to_be_done_about_a_missing_one(server: ServerProcess):
    with httpx.Client(base_url=server.url, timeout=60) as many:
        refused = many.post("/v1/audio/transcriptions", files={"file": ENGLISH.read_bytes()})
    assert refused.status_code == 422
    assert "WHISPER__MODEL" in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == "model"


def test_a_replica_is_not_ready_while_its_model_is_on_its_way_and_then_answers(tmp_path: Path):
    """hf://acme/whisper-calls: not in any list, a checkpoint, and nobody may pull models over HTTP."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    tiny_checkpoint(real_folder(WHISPER), checkpoint)
    with running_hub() as hub:
        hub.offer("acme/whisper-calls", checkpoint)
        hub.stall_at = 1_000_000
        env = {"WHISPER__MODEL": "acme/whisper-calls", "MODEL_MANAGEMENT": "off", "HF_HOME": str(tmp_path / "hf")}
        server = ServerProcess({**ENGINE, **hub.env, **env, "MODEL_READ_CACHES": ""})
        try:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                assert hub.stalled.wait(30)
                waiting = client.get("/health")
                assert (waiting.status_code, waiting.json()["status"]) == (503, "loading")
                assert client.get("/ping").status_code == 204
                resume(hub)
                while client.get("/health").status_code == 503:
                    pass
                assert client.get("/health").json()["status"] == "ok"
                assert client.get("/api/ps").json()["models"] == ["acme/whisper-calls"]
        finally:
            server.stop()


def resume(hub: FakeHub) -> None:
    """The file breaks off, and huggingface_hub asks for the rest."""
    hub.stall_at = None
    hub.resumed.set()


def test_a_cached_model_is_a_folder(tmp_path: Path):
    """cacheProfile: KubeAI has put the repository into a folder, and names that."""
    folder = tmp_path / "models" / "audiomodel-8a1c"
    folder.parent.mkdir()
    folder.symlink_to(real_folder(WHISPER))
    server = ServerProcess({**ENGINE, "WHISPER__MODEL": str(folder)})
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            heard = handed_on(client, "/v1/audio/transcriptions", file(ENGLISH))
            assert words_of(heard.json()["text"]) == ENGLISH_WORDS
            assert client.get("/v1/models/whisper-1").json()["id"] == "audiomodel-8a1c"
    finally:
        server.stop()


@pytest.mark.parametrize("model", ["speaches-ai/piper-en_US-joe-medium", "acme/unknown"])
def test_a_server_whose_one_model_cannot_be_had_or_cannot_hear_ends(model: str):
    server = ServerProcess(ENGINE | {"WHISPER__MODEL": model})
    try:
        assert server.process.wait(60) == 1
        assert any("preloading failed" in line for line in server.lines)
    finally:
        server.stop()


def test_easydels_command_names_the_model_as_an_option():
    server = ServerProcess(ENGINE, "--model", "openai/whisper-base")
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            heard = handed_on(client, "/v1/audio/transcriptions", file(ENGLISH))
            assert words_of(heard.json()["text"]) == ENGLISH_WORDS
            assert client.get("/api/ps").json()["models"] == [WHISPER, "silero_vad_v6"]
    finally:
        server.stop()
