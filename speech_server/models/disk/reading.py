"""Reads model folders that nobody vouches for: regular files only, never more of them than a model has."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from speech_server.errors import ModelBroken

ONNX = "onnx"  # where the repositories for Transformers.js have their networks
_MOST_FILES = 10_000  # in one folder
_LOOKED_INTO = (ONNX, "voices")
_MOST_MEMBERS = 2_000  # of an archive
LONGEST_CONFIG = 1 << 20  # bytes; Piper's largest, with 904 speakers, has 20 kB
_LONGEST_READ = 2 << 20  # bytes; an archive's list of members may take as many


@dataclass(frozen=True, slots=True)
class File:
    size: int
    mtime_ns: int


def files_of(folder: Path) -> Mapping[str, File]:
    """The regular files that are there and not empty, by name; links count as what they lead to. Of the folders below
    only those that engines look into."""
    found = dict(_files_of(folder))
    for name in _LOOKED_INTO:
        found |= {f"{name}/{file}": known for file, known in _files_of(folder / name)}
    return found


def _files_of(folder: Path) -> Iterator[tuple[str, File]]:
    for entry in _entries(folder):
        with suppress(OSError):  # a link to nowhere, or to itself
            status = entry.stat()
            if stat.S_ISREG(status.st_mode) and status.st_size:
                yield entry.name, File(status.st_size, status.st_mtime_ns)


def folders_of(folder: Path, prefix: str = "") -> list[Path]:
    """The folders directly below, by name; an empty list where nothing can be read."""
    found: list[Path] = []
    for entry in _entries(folder):
        with suppress(OSError):  # a link to itself
            if entry.name.startswith(prefix) and entry.is_dir():
                found.append(folder / entry.name)
    return sorted(found)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    # not there, not readable, or no path at all
    with suppress(OSError, ValueError), os.scandir(folder) as entries:
        yield from islice(entries, _MOST_FILES)


def read_text(path: Path, most: int) -> str:
    """A short text file's content. Raises OSError, ValueError."""
    with _open(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most} bytes")
    return content.decode()


def require_text(path: Path, most: int) -> str:
    """The same. Raises ModelBroken."""
    try:
        return read_text(path, most)
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path} cannot be read: {error}") from error


def read_config(path: Path) -> Any:
    """A JSON file's content. Raises ModelBroken.

    Not the json module: what it takes depends on the interpreter's own limits, and its failures are of many kinds.
    """
    try:
        return from_json(read_text(path, LONGEST_CONFIG))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path} cannot be read as JSON: {error}") from error


def member_names(path: Path) -> list[str]:
    """The members of a zip archive. Raises ModelBroken."""
    try:
        with _open(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelBroken(f"{path} is no archive: {error}") from error
    if len(names) > _MOST_MEMBERS:
        raise ModelBroken(f"{path} has {len(names)} members, more than {_MOST_MEMBERS}")
    return names


class _Sparing(io.BufferedReader):
    """A file of which nobody reads much at a time: an archive's list of members may claim any length."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = -1 if size is None else size
        if wanted > _LONGEST_READ:
            raise ValueError(f"a part of {wanted} bytes")
        return super().read(_LONGEST_READ if wanted < 0 else wanted)


def _open(path: Path) -> _Sparing:
    """Opens without waiting: a pipe under a file's name has no writer."""
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is no regular file")
    return _Sparing(file)
