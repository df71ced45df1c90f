"""Where an upload waits for its worker when no job can hold it: the endpoint's network volume, or a bucket.

A volume's S3 API knows no presigned links: what is put there the worker sees under /runpod-volume.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from endpoint.errors import BadArgument, Unreachable
from endpoint.gateway.options import Options
from endpoint.platform.s3 import BucketFailed, ask_bucket, link_to

log = logging.getLogger("endpoint.gateway")

FOLDER = "gateway-uploads"
_PART = 8 << 20  # bytes
_MOUNT = "/runpod-volume"
_LONGEST_ANSWER = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A file that was left: how a job names it (`url` or `path`, and its value), and where it is to be removed."""

    kind: str
    value: str
    key: str


@dataclass(frozen=True, slots=True)
class Store:
    bucket: str
    url: str
    key_id: str
    secret: str
    is_volume: bool

    def __repr__(self) -> str:
        return f"Store({self.name})"

    @property
    def name(self) -> str:
        return f"{'volume' if self.is_volume else 'bucket'} {self.bucket}"

    async def put(self, file: BinaryIO, name: str) -> Place:
        """Raises Unreachable."""
        ending = "".join(c for c in name.rpartition(".")[2] if c.isascii() and c.isalnum())[:8] or "bin"
        key = f"{FOLDER}/{uuid.uuid4().hex}.{ending}"
        place: Place = await self._do(lambda client: self._put(client, file, key))
        return place

    async def remove(self, place: Place) -> None:
        """Says in the log what it could not remove."""
        try:
            await self._do(lambda client: client.delete_object(Bucket=self.bucket, Key=place.key))
        except Unreachable as error:
            log.warning("%s is left on %s: %s", place.key, self.name, error.message)

    async def _do(self, step: Callable[[Any], Any]) -> Any:
        try:
            return await ask_bucket(
                step, longest_answer=_LONGEST_ANSWER, endpoint_url=self.url, region_name=_region(self.url),
                aws_access_key_id=self.key_id, aws_secret_access_key=self.secret,
            )  # fmt: skip
        except BucketFailed as error:
            raise Unreachable(f"{self.name} did not take the upload: {type(error.__cause__).__name__}") from None

    def _put(self, client: Any, file: BinaryIO, key: str) -> Place:
        from boto3.s3.transfer import TransferConfig

        file.seek(0)
        config = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, use_threads=False)
        client.upload_fileobj(file, self.bucket, key, Config=config)
        if self.is_volume:
            return Place("path", f"{_MOUNT}/{key}", key)
        return Place("url", link_to(client, self.bucket, key), key)


def store_of(options: Options, environ: Mapping[str, str]) -> Store | None:
    """The volume before the bucket. Keys are in the environment alone. Raises BadArgument for half a setting."""
    for kind, bucket, url in (
        ("VOLUME", options.volume, options.volume_url),
        ("BUCKET", options.bucket, options.bucket_url),
    ):
        if bucket:
            names = (f"GATEWAY_{kind}_ACCESS_KEY_ID", f"GATEWAY_{kind}_SECRET_ACCESS_KEY")
            keys = [environ.get(name, "") for name in names]
            if not url or not all(keys):
                raise BadArgument(f"GATEWAY_{kind} wants GATEWAY_{kind}_URL, {' and '.join(names)} too")
            return Store(bucket, url, keys[0], keys[1], is_volume=kind == "VOLUME")
    return None


def _region(url: str) -> str:
    """https://s3api-eu-ro-1.runpod.io, https://s3.eu-west-1.amazonaws.com; most others take any."""
    first, *rest = (urlsplit(url).hostname or "").split(".")
    if first.startswith("s3api-"):
        return first.removeprefix("s3api-")
    return rest[0] if first == "s3" and len(rest) == 3 else "us-east-1"
