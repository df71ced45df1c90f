"""Which models are installed: read from disk once per change, remembered for those who must not wait for a disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from speech_server.errors import ModelBroken
from speech_server.models.catalog.info import ModelInfo
from speech_server.models.disk.reading import File, files_of

log = logging.getLogger(__name__)

Files = Mapping[str, File]
# A model's id, its folder and the files there -> what is known of it; None for a folder of something else.
Describe = Callable[[str, Path, Files], ModelInfo | None]


@dataclass(frozen=True, slots=True)
class Installed:
    """A complete model on disk."""

    info: ModelInfo
    folder: Path


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a folder's files were when they were read, and what they made: None for no model, or a broken one."""

    files: Files
    found: Installed | None
    broken: bool = False


class Inventory:
    """`look` and `scan` read the disk: blocking, from any thread. `get` answers from memory.

    A folder is read again only when the names, sizes or times of its files have changed. One that is complete but
    cannot be read is no model; a warning says so, once per change.
    """

    def __init__(self, folders: Callable[[str], Iterable[Path]], describe: Describe) -> None:
        self._folders = folders
        self._describe = describe
        self._installed: dict[str, Installed] = {}
        self._readings: dict[str, dict[Path, _Reading]] = {}
        self._lock = threading.Lock()

    def get(self, model_id: str) -> Installed | None:
        return self._installed.get(model_id)

    def all(self) -> list[Installed]:
        return list(self._installed.values())

    def is_broken(self, model_id: str) -> bool:
        """Whether the last look found a model there that cannot be read."""
        return any(reading.broken for reading in self._readings.get(model_id, {}).values())

    def look(self, model_id: str) -> Installed | None:
        """The model as it is on disk now: the first complete folder of those it may have."""
        with self._lock:
            found = self._read(model_id)
            others = {other: installed for other, installed in self._installed.items() if other != model_id}
            self._installed = {**others, model_id: found} if found else others
            return found

    def scan(self, model_ids: Iterable[str]) -> list[Installed]:
        """All of these models that are complete on disk now; others are forgotten."""
        with self._lock:
            ids = list(dict.fromkeys(model_ids))
            found = {model_id: installed for model_id in ids if (installed := self._read(model_id))}
            self._readings = {model_id: self._readings[model_id] for model_id in ids if model_id in self._readings}
            self._installed = found
            return list(found.values())

    def _read(self, model_id: str) -> Installed | None:
        before = self._readings.pop(model_id, {})
        now: dict[Path, _Reading] = {}
        for folder in self._folders(model_id):
            files = files_of(folder)
            known = before.get(folder)
            now[folder] = known if known and known.files == files else self._read_anew(model_id, folder, files)
            if now[folder].found:
                break
        if now:
            self._readings[model_id] = now
        return next((reading.found for reading in now.values() if reading.found), None)

    def _read_anew(self, model_id: str, folder: Path, files: Files) -> _Reading:
        try:
            info = self._describe(model_id, folder, files)
        except ModelBroken as error:
            log.warning("model %s is left out: %s", model_id, error.message)
            return _Reading(files, None, broken=True)
        return _Reading(files, Installed(info, folder) if info else None)
