"""What was named on the command line -> recordings, each with a place for its text that no other has."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from endpoint.errors import BadArgument
from endpoint.platform.s3 import BucketFailed, ask_bucket, link_to

_LONGEST_LIST = 100 << 20  # bytes of all the pages that list a bucket

# What is taken of a folder or below a prefix; what is named itself is taken whatever its name.
_AUDIO = "aac ac3 aif aiff amr ape au caf dts flac m4a m4b mka mp2 mp3 mpga oga ogg opus ra spx voc w64 wav wma wv"
_VIDEO = "3gp avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
ENDINGS = frozenset(f"{_AUDIO} {_VIDEO}".split())


@dataclass(frozen=True, slots=True)
class Source:
    """A recording: a local `path`, or a URL that a worker fetches. `mark` changes when its content does. `output` is
    where its text goes; until all are found, the recording's own name there."""

    name: str
    path: Path | None
    url: str | None
    mark: tuple[str | int, ...]
    output: Path


async def find(named: Sequence[str], out: Path | None, ending: str) -> list[Source]:
    """Folders with all below them, patterns, files, URLs, s3://BUCKET/PREFIX. Raises BadArgument."""
    found: list[Source] = []
    for name in named:
        if name.startswith("s3://"):
            found += await _in_bucket(name, out or Path.cwd())
        elif "://" in name:
            found.append(_of_url(name, out or Path.cwd()))
        else:
            found += _of_path(name, out)
    unique = list({(each.path or each.url): each for each in found}.values())
    return list(_placed(unique, ending))


def _of_path(name: str, out: Path | None) -> Iterator[Source]:
    path = Path(name)
    if path.is_dir():
        below = [file for file in sorted(path.rglob("*")) if _is_recording(file.name) and file.is_file()]
        if not below:
            raise BadArgument(f"{name}: no recordings in this folder (known by their ending: mp3, wav, m4a, mp4, ...)")
        for file in below:
            yield _of_file(file, file.relative_to(path), out)
    elif path.is_file():
        yield _of_file(path, Path(path.name), out)
    elif files := [Path(file) for file in sorted(glob.glob(name, recursive=True)) if Path(file).is_file()]:  # noqa: PTH207
        yield from (_of_file(file, Path(file.name), out) for file in files)
    else:
        raise BadArgument(f"{name}: no such file")


def _is_recording(name: str) -> bool:
    return name.rpartition(".")[2].lower() in ENDINGS and not name.startswith(".")


def _of_file(path: Path, place: Path, out: Path | None) -> Source:
    path = path.absolute()
    seen = path.stat()
    mark = str(path), seen.st_size, seen.st_mtime_ns
    return Source(place.as_posix(), path, None, mark, out / place if out else path)


def _of_url(url: str, out: Path) -> Source:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadArgument(f"{url!r}: a URL of a recording begins with http:// or https://, a bucket's with s3://")
    name = _safe(unquote(parts.path).rpartition("/")[2]) or _safe(parts.hostname)
    return Source(name, None, url, (url,), out / name)


def _safe(name: str) -> str:
    """A file name out of what somebody else has written."""
    cleaned = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).strip(". ")
    return cleaned.encode()[:200].decode(errors="ignore")


async def _in_bucket(name: str, out: Path) -> list[Source]:
    """Each with a link by which a worker fetches it. Keys and region are AWS's own settings."""
    bucket, _, prefix = name.removeprefix("s3://").partition("/")
    folder = prefix.rpartition("/")[0]

    def source(client: Any, key: str, *version: str | int) -> Source:
        below = key.removeprefix(folder).lstrip("/").split("/")
        output = out.joinpath(*(_safe(part) or "_" for part in below))
        return Source(key, None, link_to(client, bucket, key), (f"s3://{bucket}/{key}", *version), output)

    def listed(client: Any) -> list[Source]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        objects = [item for page in pages for item in page.get("Contents", ())]
        taken = [item for item in objects if item["Key"] == prefix or _is_recording(item["Key"].rpartition("/")[2])]
        if not taken:
            raise BadArgument(f"{name}: no recordings there ({len(objects)} other objects)")
        return [source(client, item["Key"], item["Size"], item["ETag"]) for item in taken]

    try:
        found: list[Source] = await ask_bucket(listed, longest_answer=_LONGEST_LIST)
    except BucketFailed as error:
        raise BadArgument(
            f"{name}: {error.__cause__}. Keys and region come from AWS's own settings (AWS_ACCESS_KEY_ID, ~/.aws), "
            "another service's address from AWS_ENDPOINT_URL_S3"
        ) from None
    return found


def _placed(found: Sequence[Source], ending: str) -> Iterator[Source]:
    """Each with a place of its own: talk.srt, talk.mp3.srt beside a talk.wav, and a number where even that is taken."""
    wanted = Counter(_one(_short(each, ending)) for each in found)
    taken: set[str] = set()
    sounds = {_one(each.path) for each in found if each.path}
    for each in found:
        path, number = _short(each, ending), 1
        if wanted[_one(path)] > 1 or _one(path) in sounds:
            path = each.output.with_name(f"{each.output.name}.{ending}")
        while _one(path) in taken:
            number += 1
            path = each.output.with_name(f"{each.output.name}-{number}.{ending}")
        taken.add(_one(path))
        yield replace(each, output=path)


def _short(each: Source, ending: str) -> Path:
    return each.output.with_name(f"{each.output.stem}.{ending}")


def _one(path: Path) -> str:
    """What two paths share that are one file on some system."""
    return str(path.absolute()).casefold()
