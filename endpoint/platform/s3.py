"""One question to a bucket, through the door; whoever stops waiting for the answer ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from outgoing.aws import Line
from outgoing.door import Door
from outgoing.errors import OutgoingError
from outgoing.lookups import system_look_up

LINK_SECONDS = 86_400  # as long as the platform keeps a job waiting
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_threads = ThreadPoolExecutor(4, thread_name_prefix="s3")


class BucketFailed(Exception):
    """The question was not answered; its cause says why, in words that may name the bucket and its keys."""


async def ask_bucket(step: Callable[[Any], Any], *, longest_answer: int, **where: Any) -> Any:
    """What `step` makes of an S3 client, in a thread. `where` is boto3's, else AWS's own settings.

    `longest_answer`: bytes. Raises BucketFailed.
    """
    line = Line(Door.of_operator(system_look_up), longest_answer=longest_answer)
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, _step, step, line, where)
    finally:
        line.cut()


def _step(step: Callable[[Any], Any], line: Line, where: dict[str, Any]) -> Any:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = _client(where)
        line.carry(client)
        return step(client)
    except (BotoCoreError, ClientError, Boto3Error, OutgoingError, ValueError) as error:
        raise BucketFailed from error


def link_to(client: Any, bucket: str, key: str) -> str:
    """By which a worker fetches it, without a key."""
    named = {"Bucket": bucket, "Key": key}
    link: str = client.generate_presigned_url("get_object", Params=named, ExpiresIn=LINK_SECONDS)
    return link


def _client(where: dict[str, Any]) -> Any:
    import boto3.session
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"max_attempts": 3, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config, **where)
