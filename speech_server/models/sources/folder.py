"""A model from a folder on this machine: copied into the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from speech_server.errors import ModelNotFound
from speech_server.models.disk.cache import Cache, Progress
from speech_server.models.disk.recognise import engine_of, files_in, wanted


class Folder:
    """`files` are texts to put beside, or over, what the folder holds."""

    def __init__(self, folder: Path, files: Mapping[str, str] = {}) -> None:
        self._folder = folder
        self._files = files

    def offers(self, model_id: str) -> bool:
        return True

    def fetch(self, model_id: str, cache: Cache, progress: Progress) -> None:
        names = files_in(self._folder)
        if engine_of({*names, *self._files}) is None:
            raise ModelNotFound(
                f"{self._folder} holds no complete model: a CTranslate2 Whisper, Kokoro or Piper folder is needed"
            )
        files = {name: self._folder / name for name in wanted({*names, *self._files}) if name in names}
        total = sum(path.stat().st_size for path in files.values())
        cache.require_space(model_id, total)
        with cache.incoming(model_id) as scratch:
            digests = {}
            done = 0
            for name, path in files.items():
                digest = hashlib.sha256()
                (scratch / name).parent.mkdir(exist_ok=True)
                with path.open("rb") as original, (scratch / name).open("wb") as copy:
                    while block := original.read(1 << 20):
                        digest.update(block)
                        copy.write(block)
                        done += len(block)
                        progress(done, total, f"copying {name}")
                digests[name] = digest.hexdigest()
            cache.publish(model_id, scratch, digests, self._files)
