"""What lies in a bucket below a prefix, each with a link by which a worker fetches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from endpoint.errors import BadArgument
from endpoint.platform.s3 import BucketFailed, ask_bucket, link_to

_LONGEST_LIST = 100 << 20  # bytes of all its pages


@dataclass(frozen=True, slots=True)
class Object:
    bucket: str
    prefix: str
    key: str
    size: int
    etag: str
    link: str


async def objects_in(name: str) -> list[Object]:
    """Of s3://BUCKET/PREFIX; keys and region are AWS's own settings. Raises BadArgument."""
    bucket, _, prefix = name.removeprefix("s3://").partition("/")

    def listed(client: Any) -> list[Object]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [
            Object(bucket, prefix, item["Key"], item["Size"], item["ETag"], link_to(client, bucket, item["Key"]))
            for page in pages
            for item in page.get("Contents", ())
        ]

    try:
        found: list[Object] = await ask_bucket(listed, longest_answer=_LONGEST_LIST)
    except BucketFailed as error:
        raise BadArgument(
            f"{name}: {error.__cause__}. Keys and region come from AWS's own settings (AWS_ACCESS_KEY_ID, ~/.aws), "
            "another service's address from AWS_ENDPOINT_URL_S3"
        ) from None
    return found
