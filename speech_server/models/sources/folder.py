"""A model from a folder on this machine: copied into the cache, or converted where it is a Whisper checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from speech_server.errors import ModelNotFound
from speech_server.models.conversion.convert import write_converted
from speech_server.models.conversion.weights import Precision
from speech_server.models.disk.cache import Cache, Progress, sha256
from speech_server.models.disk.checkpoints import RUNNABLE, SOURCE, is_checkpoint, state_of, weight_files
from speech_server.models.disk.recognise import engine_of, files_in, wanted
from speech_server.models.sources.watch import watched

PRECISION: Precision = "float16"  # as conversions on the hub have it: half the space, and GPUs compute in it


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
            return self._convert(model_id, names, cache, progress)
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
        return None

    def _convert(self, model_id: str, names: Collection[str], cache: Cache, progress: Progress) -> None:
        if not is_checkpoint(self._folder):
            raise ModelNotFound(f"{self._folder} holds no complete model: {RUNNABLE}")
        cache.require_space(model_id, sum((self._folder / name).stat().st_size for name in weight_files(names)))
        with cache.incoming(model_id) as scratch:
            texts = {**self._files, SOURCE: state_of(self._folder)}
            install_checkpoint(model_id, self._folder, scratch, cache, progress, texts)


def install_checkpoint(
    model_id: str, source: Path, scratch: Path, cache: Cache, progress: Progress, texts: Mapping[str, str] = {}
) -> None:
    """Publish what the checkpoint in `source` becomes, with `texts` beside or over it. Raises ModelBroken, StorageFull.

    `scratch` is a folder of `cache.incoming`: whatever fails, nothing is left.
    """
    into = scratch / "converted"
    into.mkdir()
    size = sum((source / name).stat().st_size for name in weight_files(files_in(source)))
    with watched(into, size, progress, "converting"):
        write_converted(source, PRECISION, into)
    cache.publish(model_id, into, {name: sha256(into / name) for name in files_in(into)}, texts)


def space_for(size: int) -> int:
    """Bytes that a checkpoint of `size` takes while it is converted: its own, and what it becomes beside it."""
    return 2 * size
