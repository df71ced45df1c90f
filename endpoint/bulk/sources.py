"""What was named on the command line -> recordings, each with a place for its text that no other has."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from endpoint.bulk.bucket import Object, objects_in
from endpoint.errors import BadArgument

# What is taken of a folder or below a prefix; what is named itself is taken whatever its name.
_AUDIO = "aac ac3 aif aiff amr ape au caf dts flac m4a m4b mka mp2 mp3 mpga oga ogg opus ra spx voc w64 wav wma wv"
_VIDEO = "3gp avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
ENDINGS = frozenset(f"{_AUDIO} {_VIDEO}".split())


@dataclass(frozen=True, slots=True)
class Source:
    """A recording: a local `path`, or a URL that a worker fetches (`link`). `mark` changes when its content does."""

    name: str
    path: Path | None
    url: str | None
    mark: tuple[str | int, ...]
    output: Path


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    path: Path | None
    url: str | None
    mark: tuple[str | int, ...]
    place: PurePosixPath  # below the folder for results, without its ending
    beside: Path  # where results are without one


async def find(named: Sequence[str], out: Path | None, ending: str) -> list[Source]:
    """Folders with all below them, patterns, files, URLs, s3://BUCKET/PREFIX. Raises BadArgument."""
    found: list[_Found] = []
    for name in named:
        if name.startswith("s3://"):
            found += await _in_bucket(name)
        elif "://" in name:
            found.append(_of_url(name))
        else:
            found += _of_path(name)
    unique = list({(each.path or each.url): each for each in found}.values())
    return list(_placed(unique, out, ending))


def _of_path(name: str) -> Iterator[_Found]:
    path = Path(name)
    if path.is_dir():
        below = [file for file in sorted(path.rglob("*")) if _is_recording(file.name) and file.is_file()]
        if not below:
            raise BadArgument(f"{name}: no recordings in this folder (known by their ending: mp3, wav, m4a, mp4, ...)")
        for file in below:
            yield _of_file(file, PurePosixPath(file.relative_to(path).as_posix()))
    elif path.is_file():
        yield _of_file(path, PurePosixPath(path.name))
    elif files := [Path(file) for file in sorted(glob.glob(name, recursive=True)) if Path(file).is_file()]:  # noqa: PTH207
        yield from (_of_file(file, PurePosixPath(file.name)) for file in files)
    else:
        raise BadArgument(f"{name}: no such file")


def _is_recording(name: str) -> bool:
    return name.rpartition(".")[2].lower() in ENDINGS and not name.startswith(".")


def _of_file(path: Path, place: PurePosixPath) -> _Found:
    path = path.absolute()
    seen = path.stat()
    return _Found(str(place), path, None, (str(path), seen.st_size, seen.st_mtime_ns), place, path.parent)


def _of_url(url: str) -> _Found:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadArgument(f"{url!r}: a URL of a recording begins with http:// or https://, a bucket's with s3://")
    name = _safe(unquote(parts.path).rpartition("/")[2]) or _safe(parts.hostname)
    return _Found(name, None, url, (url,), PurePosixPath(name), Path.cwd())


def _safe(name: str) -> str:
    """A file name out of what somebody else has written."""
    cleaned = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).strip(". ")
    return cleaned.encode()[:200].decode(errors="ignore")


async def _in_bucket(name: str) -> list[_Found]:
    objects = await objects_in(name)
    taken = [each for each in objects if each.key == each.prefix or _is_recording(each.key.rpartition("/")[2])]
    if not taken:
        raise BadArgument(f"{name}: no recordings there ({len(objects)} other objects)")
    return [_of_object(each) for each in taken]


def _of_object(each: Object) -> _Found:
    below = each.key.removeprefix(each.prefix.rpartition("/")[0]).lstrip("/")
    place = PurePosixPath(*(_safe(part) or "_" for part in below.split("/")))
    return _Found(
        each.key, None, each.link, (f"s3://{each.bucket}/{each.key}", each.size, each.etag), place, Path.cwd()
    )


def _placed(found: Iterable[_Found], out: Path | None, ending: str) -> Iterator[Source]:
    """Each with a place of its own: talk.srt, talk.mp3.srt beside a talk.wav, and a number where even that is taken."""
    found = list(found)

    def where(each: _Found, name: str) -> Path:
        folder = each.beside if out is None else out.joinpath(*each.place.parts[:-1])
        return folder / name

    short = {id(each): where(each, f"{each.place.stem}.{ending}") for each in found}
    wanted = Counter(_one(path) for path in short.values())
    taken: set[str] = set()
    sounds = {_one(each.path) for each in found if each.path}
    for each in found:
        path, number = short[id(each)], 1
        if wanted[_one(path)] > 1 or _one(path) in sounds:
            path = where(each, f"{each.place.name}.{ending}")
        while _one(path) in taken:
            number += 1
            path = where(each, f"{each.place.name}-{number}.{ending}")
        taken.add(_one(path))
        yield Source(each.name, each.path, each.url, each.mark, path)


def _one(path: Path) -> str:
    """What two paths share that are one file on some system."""
    return str(path.absolute()).casefold()
