"""Whisper models quantised once: an int8 copy beside the cache, for CPUs that would quantise at every load."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from pathlib import Path

from speech_server.engines.device import choose, ctranslate2_fault
from speech_server.errors import ModelBroken
from speech_server.models.catalog.info import ModelInfo

log = logging.getLogger(__name__)

# What CTranslate2 turns into int8 on a CPU; "default" is the engine's own choice there.
_INT8_TYPES = ("default", "auto", "int8", "int8_float32")
_PATIENCE = 300  # seconds to wait for another process that makes the same copy


class Int8Cache:
    """Copies live in `root`/MODEL/KEY; the key names the original's content, so a new revision gets a new copy."""

    def __init__(self, root: Path, *, enabled: bool = True) -> None:
        self._root = root
        self._enabled = enabled

    def folder(self, model: ModelInfo, original: Path) -> Path:
        """The folder to load: an int8 copy of the original, made now if need be, where that loads faster.

        Where no copy can be made (a full or read-only disk) it is the original: slower, the same words.
        """
        if not self._enabled or model.engine != "whisper" or model.args.compute_type not in _INT8_TYPES:
            return original
        if model.args.device == "cuda" or choose(model.args, ctranslate2_fault) != "cpu":
            return original
        from speech_server.engines.whisper.weights import read_weights

        copy = self._copies_of(model.id) / _key(original / "model.bin")
        started = time.monotonic()
        try:
            if copy.is_dir():
                return copy
            if "float" not in read_weights(original / "model.bin").precision:
                return original
            _copy_quantised(original, copy)
        except (OSError, ModelBroken) as error:
            log.warning("model %s is loaded without an int8 copy: %s", model.id, error)
            return original
        log.info("model %s quantised once, in %.1f s: %s", model.id, time.monotonic() - started, copy)
        return copy

    def remove(self, model_id: str) -> None:
        shutil.rmtree(self._copies_of(model_id), ignore_errors=True)

    def _copies_of(self, model_id: str) -> Path:
        return self._root / model_id.replace("/", "--")


def _copy_quantised(original: Path, copy: Path) -> None:
    import filelock

    from speech_server.models.conversion.convert import write_in_precision

    copy.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(copy.parent / "lock", timeout=_PATIENCE):
        if copy.is_dir():  # another process was faster
            return
        for stale in copy.parent.glob("*/"):  # copies of older revisions, and what killed processes left
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=copy.parent, ignore_cleanup_errors=True) as scratch:
            # Not plain int8: what stays float would be widened at every load.
            write_in_precision(original, "int8_float32", Path(scratch))
            Path(scratch).rename(copy)


def _key(weights: Path) -> str:
    """In a hub cache a blob's name is its content's digest; a file of the user's is known by place and time."""
    blob = weights.resolve()
    status = blob.stat()
    place = blob.name if blob.parent.name == "blobs" else f"{blob} {status.st_mtime_ns}"
    return hashlib.sha256(f"{place} {status.st_size}".encode()).hexdigest()[:16]
