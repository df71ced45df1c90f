"""A Hugging Face inference endpoint of Whisper: one model that nobody names, under /api/v1, by curl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.documents.replaying import ENGLISH_WORDS, recording, shell
from tests.talking import nearly, plain

# As written, but for the host, the name of the file, which the document leaves out, and the : between a field and its
# value, which no curl takes.
TRANSCRIBE = """
curl {url}/api/v1/audio/transcriptions \\
--request POST \\
--header 'Content-Type: multipart/form-data' \\
-F file=@speech.wav \\
-F "response_format=%s"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "speech.wav").write_bytes(recording("wav"))
    return tmp_path


def transcribe(url: str, folder: Path, response_format: str) -> str:
    return shell(folder, (TRANSCRIBE % response_format).replace("{url}", url))


def test_text_output(server_url: str, folder: Path):
    assert plain(transcribe(server_url, folder, "text")) == nearly(ENGLISH_WORDS)


def test_json_output(server_url: str, folder: Path):
    assert plain(json.loads(transcribe(server_url, folder, "json"))["text"]) == nearly(ENGLISH_WORDS)


def test_segmented_json_output(server_url: str, folder: Path):
    answered = json.loads(transcribe(server_url, folder, "verbose_json"))
    assert plain(" ".join(segment["text"] for segment in answered["segments"])) == nearly(ENGLISH_WORDS)
    assert all(0 <= segment["start"] < segment["end"] <= answered["duration"] for segment in answered["segments"])


def test_visual_documentation(server_url: str, tmp_path: Path):
    page = shell(tmp_path, f"curl {server_url}/docs")
    assert "swagger" in page.lower()


@pytest.mark.parametrize("response_format", ["text", "json", "verbose_json"])
def test_the_command_to_the_letter_is_refused_by_curl_itself(server_url: str, folder: Path, response_format: str):
    form = ["-F", "file=@speech.wav", "-F", "response_format:", response_format]
    command = ["curl", "--silent", f"{server_url}/api/v1/audio/transcriptions", *form]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, ""), "a newer curl takes it: replay it as written"
