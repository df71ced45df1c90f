"""Puts a result that is too large for the platform into an S3 bucket, and makes a link to it."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Any
from urllib.parse import urlsplit

from outgoing.aws import Line
from outgoing.door import Door
from outgoing.errors import AddressRefused, OutgoingError, UrlRefused, reason_in
from outgoing.lookups import LookUp, system_look_up
from worker.answer.reply import Link, Store
from worker.errors import BucketUnavailable
from worker.job.download import door_for, refusal
from worker.job.media import suffix_of
from worker.job.parse import Bucket, JobInput
from worker.settings import Settings

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_PART = 8 << 20
_LONGEST_ANSWER = 1 << 20  # what S3 says to an upload is some hundred bytes of XML
# Uploads at once. Their own threads: one that an end point holds up must not be missing elsewhere.
_threads = ThreadPoolExecutor(16, thread_name_prefix="bucket")


def bucket_of(settings: Settings) -> Bucket | None:
    """The endpoint's own bucket; all four settings or none."""
    values = (
        settings.bucket_endpoint_url,
        settings.bucket_name,
        settings.bucket_access_key_id,
        settings.bucket_secret_access_key,
    )
    return Bucket(*values, where="BUCKET_*", trusted=True) if all(values) else None


def store_for(job: JobInput, job_id: str, settings: Settings, look_up: LookUp = system_look_up) -> Store | None:
    """How this job's result is stored, if it can be: the job's own bucket comes before the endpoint's."""
    bucket = job.bucket or bucket_of(settings)
    if bucket is None:
        return None

    async def store(body: IO[bytes], content_type: str) -> Link:
        return await _upload(bucket, body, content_type, _key(job_id, content_type), settings, look_up)

    return store


def _key(job_id: str, content_type: str) -> str:
    folder = re.sub(r"[^\w.-]", "_", job_id)[:100] or "job"
    return f"{folder}/{uuid.uuid4().hex[:12]}{suffix_of(content_type) or '.bin'}"


async def _upload(
    bucket: Bucket, body: IO[bytes], content_type: str, key: str, settings: Settings, look_up: LookUp
) -> Link:
    door = Door.of_operator(look_up) if bucket.trusted else door_for(settings, look_up)
    line = Line(door, longest_answer=_LONGEST_ANSWER)
    put = partial(_put, bucket, line, body, content_type, key, settings.bucket_link_expiry)
    try:
        try:
            running = asyncio.get_running_loop().run_in_executor(_threads, put)
        except RuntimeError:  # it may be run all the same, by a thread that comes free: over a line that is cut
            raise _untaken(bucket, "no thread can be started for it") from None
        return await running
    finally:
        line.cut()  # cancelled: whatever the thread waits for ends


def _put(bucket: Bucket, line: Line, body: IO[bytes], content_type: str, key: str, expiry: int) -> Link:
    # Half a second and 30 MB to import: only when a result is really too large.
    from boto3.exceptions import Boto3Error
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = _client(bucket)
        line.carry(client)
        client.upload_fileobj(
            body,
            bucket.name,
            key,
            ExtraArgs={"ContentType": content_type},
            Config=TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, use_threads=False),
        )
        link: str = client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket.name, "Key": key}, ExpiresIn=expiry
        )
    except (BotoCoreError, ClientError, Boto3Error, OutgoingError, ValueError) as error:
        if isinstance(known := reason_in(error), (UrlRefused, AddressRefused)):
            raise refusal(f"{bucket.where}.endpointUrl", known) from None
        raise _untaken(bucket, _reason(error)) from None
    return Link(link, int(time.time()) + expiry)


def _untaken(bucket: Bucket, why: str) -> BucketUnavailable:
    return BucketUnavailable(
        f"the result is too large for the platform, and bucket {bucket.name!r} ({bucket.where}) did not take it: {why}"
    )


def _client(bucket: Bucket) -> Any:
    import boto3.session
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=bucket.endpoint_url,
        aws_access_key_id=bucket.access_key_id,
        aws_secret_access_key=bucket.secret_access_key,
        region_name=region_of(bucket.endpoint_url),
        config=Config(
            signature_version="s3v4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"max_attempts": 3, "mode": "standard"},
            # A stranger's address could not be pinned through a proxy; None is the environment's.
            proxies=None if bucket.trusted else {},
            # R2, MinIO and older Ceph refuse the checksums that botocore adds since 1.36.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _reason(error: Exception) -> str:
    if known := reason_in(error):
        return known.message
    # upload_fileobj hides S3's answer in a message of its own.
    cause = error.__context__ or error
    response = getattr(cause, "response", None)
    # A word like NoSuchBucket; whatever else stands there may be the answer of something that is no S3 at all.
    if isinstance(response, dict) and re.fullmatch(r"[\w.]{1,60}", said := str(response.get("Error", {}).get("Code"))):
        return f"S3 said {said}"
    return type(cause).__name__


def region_of(endpoint_url: str) -> str:
    """https://s3.eu-west-1.amazonaws.com, https://s3api-eu-ro-1.runpod.io, https://ams3.digitaloceanspaces.com; most
    others take any."""
    host = urlsplit(endpoint_url).hostname or ""
    if found := re.search(r"(?:^|\.)s3(?:api)?[.-]([a-z0-9-]+)\.", host):
        return found[1] if found[1] != "amazonaws" else "us-east-1"
    if host.endswith(".digitaloceanspaces.com"):
        return host.split(".")[-3]
    return "us-east-1"
