"""Models from an S3 bucket, at any end point: streamed, continued where an earlier attempt stopped, checked."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outgoing.aws import Line
from outgoing.door import Door
from outgoing.errors import OutgoingError, UrlRefused, reason_in
from outgoing.lookups import LookUp, system_look_up
from outgoing.url import parse_base
from speech_server.errors import ModelGated, ModelNotFound, SourceUnavailable
from speech_server.models.disk.cache import Cache, Progress
from speech_server.models.disk.checkpoints import checkpoint_files, require_whisper
from speech_server.models.disk.recognise import engine_of, wanted
from speech_server.models.sources.folder import install_checkpoint, space_for
from speech_server.redaction import redact

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BLOCK = 1 << 20
_ATTEMPTS = 5  # in a row without a byte of progress


@dataclass(frozen=True, slots=True)
class _Object:
    key: str
    size: int
    etag: str

    @property
    def partial(self) -> str:
        """Where its bytes gather; the content is part of the name, a changed object starts anew."""
        return hashlib.sha256(f"{self.key} {self.size} {self.etag}".encode()).hexdigest() + ".incomplete"


class S3:
    """`url` is s3://bucket/prefix; `env` goes before the process's own AWS_* variables; `files` are texts to add.

    AWS_ENDPOINT_URL (or ..._S3) names a server that is not Amazon's. Without any key, requests are anonymous.
    """

    def __init__(
        self,
        url: str,
        env: Mapping[str, str] = {},
        files: Mapping[str, str] = {},
        look_up: LookUp = system_look_up,
    ) -> None:
        self._url = url
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = prefix.rstrip("/") + "/" if prefix else ""
        self._env = env
        self._files = files
        self._look_up = look_up

    def offers(self, model_id: str) -> bool:
        return True

    def fetch(self, model_id: str, cache: Cache, progress: Progress) -> None:
        shown = redact(self._url)
        with _s3_errors(shown), closing(self._client()) as client, self._line(client):
            objects = self._list(client)
            names = {*objects, *self._files}
            checkpoint = checkpoint_files(names) if engine_of(names) is None else []
            taken = checkpoint or wanted(names)
            if not taken:
                raise ModelNotFound(f"{shown} holds no model this server can run", param="model")
            fetched = sorted({*taken} & objects.keys(), key=lambda name: objects[name].size)
            total = sum(objects[name].size for name in fetched)
            cache.require_space(model_id, space_for(total) if checkpoint else total)
            with cache.incoming(model_id) as scratch:
                blobs = cache.repository(model_id) / "blobs"
                blobs.mkdir(exist_ok=True)
                done, digests = 0, {}
                for name in fetched:
                    partial = blobs / objects[name].partial
                    for arrived in self._download(client, objects[name], partial):
                        progress(done + arrived, total, "downloading")
                    done += objects[name].size
                    digests[name] = self._check(client, objects[name], partial)
                    (scratch / name).parent.mkdir(exist_ok=True)
                    partial.replace(scratch / name)
                if not checkpoint:
                    return cache.publish(model_id, scratch, digests, self._files)
                require_whisper(scratch, shown)
                return install_checkpoint(model_id, scratch, scratch, cache, progress, self._files)

    def _client(self) -> S3Client:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config

        session = boto3.Session(
            aws_access_key_id=self._env.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=self._env.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=self._env.get("AWS_SESSION_TOKEN"),
            region_name=self._env.get("AWS_REGION") or self._env.get("AWS_DEFAULT_REGION"),
        )
        options: dict[str, Any] = {} if session.get_credentials() else {"signature_version": UNSIGNED}
        variables = {**os.environ, **self._env}
        endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
        try:
            endpoint = endpoint and parse_base(endpoint)
        except UrlRefused as error:
            raise SourceUnavailable(f"AWS_ENDPOINT_URL {error.message}") from None
        if endpoint:  # names of the form bucket.host are Amazon's
            options["s3"] = {"addressing_style": "path"}
        return session.client(
            "s3",
            endpoint_url=endpoint,
            config=Config(
                connect_timeout=10,
                read_timeout=60,
                response_checksum_validation="when_required",  # not every S3 has them; sizes and ETags are checked
                **options,
            ),
        )

    @contextmanager
    def _line(self, client: S3Client) -> Iterator[None]:
        line = Line(Door.of_operator(self._look_up))
        try:
            line.carry(client)
            yield
        finally:
            line.cut()

    def _list(self, client: S3Client) -> dict[str, _Object]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return {
            item["Key"].removeprefix(self._prefix): _Object(item["Key"], item["Size"], item["ETag"])
            for page in pages
            for item in page.get("Contents", [])
        }

    def _download(self, client: S3Client, item: _Object, partial: Path) -> Iterator[int]:
        """Append to `partial` until it has all bytes; yields how many it has."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        failures = 0
        while (have := partial.stat().st_size if partial.exists() else 0) < item.size:
            yield have
            try:
                reply = client.get_object(
                    Bucket=self._bucket, Key=item.key, IfMatch=item.etag, Range=f"bytes={have}-{item.size - 1}"
                )
                with partial.open("ab") as file:
                    for block in reply["Body"].iter_chunks(_BLOCK):
                        file.write(block)
                        have += len(block)
                        failures = 0
                        yield have
            except (HTTPClientError, IncompleteReadError):  # the connection broke: go on where it stopped
                failures += 1
                if failures == _ATTEMPTS:
                    raise
                time.sleep(0.2 * 2**failures)

    def _check(self, client: S3Client, item: _Object, partial: Path) -> str:
        """The content's SHA-256, after comparing size and, where it is made of MD5s, the ETag."""
        head = client.head_object(Bucket=self._bucket, Key=item.key, PartNumber=1)
        encrypted = head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head
        expected = re.fullmatch(r'"([0-9a-f]{32})(-\d+)?"', item.etag)
        part_size = head["ContentLength"] if expected and expected[2] else item.size
        sha256, etag = _digests(partial, part_size, multipart=bool(expected and expected[2]))
        # Parts of unequal sizes give another count, or the first part is not told: then the size has to do.
        comparable = expected and not encrypted and etag.partition("-")[2] == (expected[2] or "")[1:]
        if partial.stat().st_size != item.size or (comparable and f'"{etag}"' != item.etag):
            partial.unlink()
            raise SourceUnavailable(f"s3://{self._bucket}/{item.key} arrived damaged: try again")
        return sha256


def _digests(path: Path, part_size: int, *, multipart: bool) -> tuple[str, str]:
    """The SHA-256 of a file, and the ETag S3 gives it when it is uploaded whole or in parts of this size."""
    sha256 = hashlib.sha256()
    parts: list[bytes] = []
    with path.open("rb") as file:
        for start in range(0, path.stat().st_size, max(part_size, 1)):
            md5 = hashlib.md5(usedforsecurity=False)
            while block := file.read(min(_BLOCK, start + part_size - file.tell())):
                sha256.update(block)
                md5.update(block)
            parts.append(md5.digest())
    if not multipart:
        return sha256.hexdigest(), b"".join(parts).hex()
    return sha256.hexdigest(), f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


@contextmanager
def _s3_errors(url: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "an error")
        if status == 404:
            raise ModelNotFound(f"{url} does not exist", param="model") from error
        if status in (401, 403):
            raise ModelGated(f"{url} answered {status}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        raise SourceUnavailable(f"{url} answered {status}: try again later") from error
    except (BotoCoreError, OutgoingError) as error:
        # Not botocore's words: of an answer that is no XML they hold all of it.
        known = reason_in(error)
        why = known.message if known else type(error).__name__
        raise SourceUnavailable(f"{url} cannot be reached: see AWS_ENDPOINT_URL ({why})") from error
