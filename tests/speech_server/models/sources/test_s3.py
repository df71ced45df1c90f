"""Models from an S3 server: the real protocol, by moto, with connections that break and objects that are damaged."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from mypy_boto3_s3 import S3Client

from speech_server.errors import ModelNotFound, SourceUnavailable
from speech_server.models.disk.cache import Cache
from speech_server.models.library.store import in_silence
from speech_server.models.sources.folder import Folder
from speech_server.models.sources.s3 import S3
from tests.conftest import ROOT
from tests.speech_server.engines.speecht5.tiny import write_model
from tests.speech_server.networks import pyannote_folder

ID = "acme-calls"
WEIGHTS = bytes(range(256)) * 48_000  # 12 MB: three parts of a multipart upload


@pytest.fixture
def env(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(env: dict[str, str]) -> Iterator[S3Client]:
    """A bucket `models` that holds a Whisper model under calls/v1."""
    client = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="models")
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        client.put_object(Bucket="models", Key=f"calls/v1/{name}", Body=b"{}")
    client.put_object(Bucket="models", Key="calls/v1/model.bin", Body=WEIGHTS)
    client.put_object(Bucket="models", Key="calls/v1/notes/readme.txt", Body=b"not wanted")
    yield client
    for item in client.list_objects_v2(Bucket="models").get("Contents", []):
        client.delete_object(Bucket="models", Key=item["Key"])
    client.delete_bucket(Bucket="models")
    client.close()


def content(cache: Cache) -> dict[str, bytes]:
    folder = cache.folder(ID)
    assert folder is not None
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def upload_in_parts(client: S3Client) -> None:
    size = 5 << 20
    upload = client.create_multipart_upload(Bucket="models", Key="calls/v1/model.bin")["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(
                Bucket="models",
                Key="calls/v1/model.bin",
                UploadId=upload,
                PartNumber=number,
                Body=WEIGHTS[start : start + size],
            )["ETag"],
        }
        for number, start in enumerate(range(0, len(WEIGHTS), size), 1)
    ]
    client.complete_multipart_upload(
        Bucket="models",
        Key="calls/v1/model.bin",
        UploadId=upload,
        MultipartUpload={"Parts": parts},
    )


def incomplete(cache: Cache) -> Path:
    """Where the bytes of model.bin gather."""
    return max((cache.repository(ID) / "blobs").glob("*.incomplete"), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("url", ["s3://models/calls/v1", "s3://models/calls/v1/"])
def test_a_prefix_becomes_a_model(bucket: S3Client, env: dict[str, str], cache: Cache, url: str):
    seen: list[tuple[int, int | None]] = []
    S3(url, env).fetch(ID, cache, lambda done, total, label: seen.append((done, total)))
    assert content(cache) == {
        "model.bin": WEIGHTS, "config.json": b"{}", "tokenizer.json": b"{}", "vocabulary.json": b"{}"
    }  # fmt: skip
    assert seen[-1] == (len(WEIGHTS) + 6, len(WEIGHTS) + 6)
    assert [step[0] for step in seen] == sorted(step[0] for step in seen)


def test_a_model_keeps_its_folders(bucket: S3Client, env: dict[str, str], cache: Cache, tmp_path: Path):
    made = write_model(tmp_path / "made")
    for file in made.rglob("*.*"):
        bucket.upload_file(str(file), "models", f"speecht5/{file.relative_to(made)}")
    S3("s3://models/speecht5", env).fetch("speecht5", cache, in_silence)
    folder = cache.folder("speecht5")
    assert folder is not None
    assert {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*")} == {
        str(file.relative_to(made)): file.read_bytes() for file in made.rglob("*.*")
    }


def test_a_model_with_a_folder_of_its_own_keeps_it(bucket: S3Client, env: dict[str, str], cache: Cache, tmp_path: Path):
    made = pyannote_folder(tmp_path / "made")
    for name in ("onnx/model.onnx", "preprocessor_config.json"):
        bucket.put_object(Bucket="models", Key=f"segmentation/{name}", Body=(made / name).read_bytes())
    S3("s3://models/segmentation", env).fetch("by-s3", cache, in_silence)
    Folder(made).fetch("by-folder", cache, in_silence)
    for model_id in ("by-s3", "by-folder"):
        folder = cache.folder(model_id)
        assert folder is not None
        assert (folder / "onnx/model.onnx").read_bytes() == (made / "onnx/model.onnx").read_bytes()
        assert (folder / "onnx/model.onnx").is_symlink()


def test_an_object_uploaded_in_parts_is_checked_too(bucket: S3Client, env: dict[str, str], cache: Cache):
    upload_in_parts(bucket)
    S3("s3://models/calls/v1", env).fetch(ID, cache, in_silence)
    assert content(cache)["model.bin"] == WEIGHTS


def test_files_of_the_user_stand_in_for_missing_ones(bucket: S3Client, env: dict[str, str], cache: Cache):
    bucket.delete_object(Bucket="models", Key="calls/v1/tokenizer.json")
    with pytest.raises(ModelNotFound, match="holds no model"):
        S3("s3://models/calls/v1", env).fetch(ID, cache, in_silence)
    S3("s3://models/calls/v1", env, {"tokenizer.json": '{"mine": 1}'}).fetch(ID, cache, in_silence)
    assert content(cache)["tokenizer.json"] == b'{"mine": 1}'


class Cutter:
    """A way to the S3 server that breaks the first connection that carries more than `limit` bytes."""

    def __init__(self, endpoint: str, limit: int) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._limit = limit
        self.cuts = 0
        self.carried = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            threading.Thread(target=self._carry, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, self._limit), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        try:
            carried = 0
            while block := source.recv(65536):
                target.sendall(block)
                carried += len(block)
                if limit is not None:
                    self.carried += len(block)
                if limit is not None and carried > limit and not self.cuts:
                    self.cuts += 1
                    break
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            finally:
                end.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def cutter(endpoint: str) -> Iterator[Cutter]:
    proxy = Cutter(endpoint, limit=4_000_000)
    yield proxy
    proxy.close()


def test_a_broken_connection_is_continued_where_it_broke(
    bucket: S3Client, env: dict[str, str], cache: Cache, cutter: Cutter
):
    S3("s3://models/calls/v1", {**env, "AWS_ENDPOINT_URL": cutter.endpoint}).fetch(ID, cache, in_silence)
    assert cutter.cuts == 1
    assert content(cache)["model.bin"] == WEIGHTS
    assert cutter.carried < 1.25 * len(WEIGHTS)  # nothing came twice but what was on its way


_PULL = """
import json, sys
from pathlib import Path
from speech_server.models.disk.cache import Cache
from speech_server.models.sources.s3 import S3

def show(done, total, label):
    print(done, flush=True)
    if done > 3_000_000:
        sys.stdin.readline()

S3("s3://models/calls/v1", json.loads(sys.argv[2])).fetch("acme-calls", Cache(Path(sys.argv[1])), show)
"""


def test_a_killed_download_is_continued_by_the_next(bucket: S3Client, env: dict[str, str], cache: Cache):
    import json

    command = [sys.executable, "-c", _PULL, str(cache.root), json.dumps(env)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout
        arrived = next(int(line) for line in victim.stdout if int(line) > 3_000_000)
        victim.kill()
    assert cache.folder(ID) is None
    assert incomplete(cache).stat().st_size >= arrived - 10
    seen: list[int] = []
    S3("s3://models/calls/v1", env).fetch(ID, cache, lambda done, total, label: seen.append(done))
    assert [done for done in seen if 6 < done < arrived - 10] == []  # the three small files have 6 bytes
    assert content(cache)["model.bin"] == WEIGHTS
    assert list((cache.repository(ID) / "blobs").glob("*.incomplete")) == []


@pytest.mark.parametrize("in_parts", [False, True])
def test_damaged_bytes_are_refused_and_not_kept(bucket: S3Client, env: dict[str, str], cache: Cache, in_parts: bool):
    if in_parts:
        upload_in_parts(bucket)
    source = S3("s3://models/calls/v1", env)
    with pytest.raises(ZeroDivisionError):
        source.fetch(ID, cache, stop_after(3_000_000))
    partial = incomplete(cache)
    partial.write_bytes(b"?" + partial.read_bytes()[1:])
    with pytest.raises(SourceUnavailable, match=r"model\.bin arrived damaged"):
        source.fetch(ID, cache, in_silence)
    assert cache.folder(ID) is None
    source.fetch(ID, cache, in_silence)
    assert content(cache)["model.bin"] == WEIGHTS


def stop_after(limit: int):
    def stop(done: int, total: int | None, label: str) -> None:
        if done > limit:
            raise ZeroDivisionError

    return stop


def test_an_object_that_changed_meanwhile_starts_anew(bucket: S3Client, env: dict[str, str], cache: Cache):
    source = S3("s3://models/calls/v1", env)
    with pytest.raises(ZeroDivisionError):
        source.fetch(ID, cache, stop_after(3_000_000))
    bucket.put_object(Bucket="models", Key="calls/v1/model.bin", Body=WEIGHTS[::-1])
    source.fetch(ID, cache, in_silence)
    assert content(cache)["model.bin"] == WEIGHTS[::-1]


def test_a_blob_is_named_by_its_content(bucket: S3Client, env: dict[str, str], cache: Cache):
    S3("s3://models/calls/v1", env).fetch(ID, cache, in_silence)
    assert (cache.repository(ID) / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()).is_file()


def test_a_prefix_or_bucket_that_is_not_there_is_no_model(bucket: S3Client, env: dict[str, str], cache: Cache):
    with pytest.raises(ModelNotFound):
        S3("s3://models/other", env).fetch(ID, cache, in_silence)
    with pytest.raises(ModelNotFound):
        S3("s3://nowhere/calls", env).fetch(ID, cache, in_silence)
    assert not cache.repository(ID).exists()


def test_a_server_that_is_not_there_is_out_of_reach(env: dict[str, str], cache: Cache):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(SourceUnavailable, match="AWS_ENDPOINT_URL"):
        S3("s3://models/calls/v1", {**env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).fetch(ID, cache, in_silence)


def test_a_password_in_the_end_points_address_stays_unsaid(env: dict[str, str], cache: Cache):
    with pytest.raises(SourceUnavailable, match="AWS_ENDPOINT_URL has a user name") as refused:
        S3("s3://models/calls/v1", {**env, "AWS_ENDPOINT_URL": "http://user:a-secret@127.0.0.1:1"}).fetch(
            ID, cache, in_silence
        )
    assert "a-secret" not in refused.value.message
