"""What the page gives to be copied works: in a shell, in Python, as a job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.conftest import PIPER, ROOT
from tests.speech_server.conftest import ENGLISH
from tests.speech_server.playground.conftest import Open, Visit
from tests.talking import plain
from worker.job.parse import parse_job

TYPED = 'nobody/it\'s "a" $(touch stray); touch stray2 & x?y#z'

pytestmark = pytest.mark.xdist_group("page")


def written(visit: Visit, tab: str) -> dict[str, str]:
    """The three requests that a tab shows, each as it is copied."""
    panel = visit.tab(tab)
    panel.get_by_text("As a request").click()
    texts = {}
    for name in ("curl", "Python", "Runpod job"):
        panel.get_by_label(name).check()
        panel.get_by_role("button", name="Copy").last.click()
        texts[name] = visit.page.evaluate("navigator.clipboard.readText()")
    return texts


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder where the samples' file lies, and the project's own command is found."""
    shutil.copy(ENGLISH, tmp_path / "talk.mp3")
    for name in ("endpoint", "outgoing", "speech_server"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(desk: Path, *command: str) -> str:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CURL_HOME": str(desk)}
    (desk / ".curlrc").write_text("fail-with-body\nsilent\n")
    done = subprocess.run(command, cwd=desk, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_transcription(visit: Open, server_url: str, desk: Path):
    visitor = visit(server_url)
    form = visitor.tab("Transcribe")
    form.get_by_label("Words to expect").fill("fox's den, 'quoted'")
    form.get_by_label("Tell speakers apart").check()
    form.get_by_label("How many").fill("1")
    texts = written(visitor, "Transcribe")
    heard = json.loads(run(desk, "bash", "-c", texts["curl"]))
    assert plain(heard["text"]).startswith("the quick brown fox")
    assert heard["words"][0]["speaker"] == "A"
    assert plain(run(desk, sys.executable, "-c", texts["Python"])).startswith("the quick brown fox")
    job = parse_job(json.loads(texts["Runpod job"]))
    assert job.path == "/v1/audio/transcriptions"


def test_a_speech(visit: Open, server_url: str, desk: Path):
    visitor = visit(server_url)
    form = visitor.tab("Speak")
    form.get_by_label("Model").select_option(PIPER)
    form.get_by_role("textbox", name="Text").fill('It\'s "quoted",\nand über two lines.')
    texts = written(visitor, "Speak")
    for command in (("bash", "-c", texts["curl"]), (sys.executable, "-c", texts["Python"])):
        run(desk, *command)
        assert (desk / "speech.wav").read_bytes().startswith(b"RIFF")
        (desk / "speech.wav").unlink()
    assert parse_job(json.loads(texts["Runpod job"])).path == "/v1/audio/speech"


def test_sessions_and_models(visit: Open, server_url: str, desk: Path):
    visitor = visit(server_url)
    captions, talk, models = (written(visitor, name) for name in ("Captions", "Talk", "Models"))
    assert "quick brown fox" in plain(run(desk, "bash", "-c", f"{captions['curl']} --fast"))
    assert "--intent conversation --model gpt-4o-mini" in talk["curl"]
    for texts in (captions, talk, models):
        compile(texts["Python"], "shown", "exec")
    visitor.page.get_by_label("Install a model").fill("Systran/faster-whisper-base")
    assert "already exists" in run(desk, "bash", "-c", written_again(visitor))
    paths = [parse_job(json.loads(texts["Runpod job"])).path for texts in (captions, talk, models)]
    assert paths == ["/v1/realtime", "/v1/realtime", "/v1/models/Systran/faster-whisper-small"]


def test_captions_with_their_english_are_a_translation(visit: Open, server_url: str, desk: Path):
    visitor = visit(server_url)
    visitor.tab("Captions").get_by_label("English beneath").check()
    texts = written(visitor, "Captions")
    assert "quick brown fox" in plain(run(desk, "bash", "-c", f"{texts['curl']} --fast"))
    compile(texts["Python"], "shown", "exec")
    assert "client.realtime.translations.connect(" in texts["Python"]
    assert parse_job(json.loads(texts["Runpod job"])).path == "/v1/realtime/translations"


def test_a_typed_id_is_quoted_for_the_shell_for_python_and_in_the_address(visit: Open, server_url: str, desk: Path):
    visitor = visit(server_url)
    visitor.tab("Models").get_by_label("Install a model").fill(TYPED)
    texts = written(visitor, "Models")
    (desk / ".curlrc").write_text("silent\n")
    told = subprocess.run(
        ["bash", "-c", texts["curl"]], cwd=desk, env={**os.environ, "CURL_HOME": str(desk)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert TYPED in json.loads(told.stdout)["error"]["message"]
    assert [found.name for found in desk.glob("stray*")] == []
    failed = subprocess.run(
        [sys.executable, "-c", texts["Python"]], capture_output=True, text=True, timeout=60, check=False
    )
    assert "NotFoundError" in failed.stderr
    assert TYPED in failed.stderr
    assert unquote(parse_job(json.loads(texts["Runpod job"])).path) == f"/v1/models/{TYPED}"
    visitor.tab("Talk").get_by_label("Language model").fill("")
    assert "undefined" not in visitor.page.content()


def written_again(visit: Visit) -> str:
    panel = visit.page.get_by_role("tabpanel", name="Models")
    panel.get_by_label("curl").check()
    return panel.locator("pre").inner_text()
