"""A Whisper checkpoint becomes an installed model: converted in a scratch folder of the cache, then published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speech_server.models.conversion.convert import write_converted
from speech_server.models.conversion.weights import Precision
from speech_server.models.disk.cache import Cache, Progress, sha256
from speech_server.models.disk.checkpoints import weight_files
from speech_server.models.disk.recognise import files_in
from speech_server.models.sources.watch import watched

PRECISION: Precision = "float16"  # as conversions on the hub have it: half the space, and GPUs compute in it


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
        write_converted(source, PRECISION, into, lambda done, total, label: None)
    cache.publish(model_id, into, {name: sha256(into / name) for name in files_in(into)}, texts)


def space_for(size: int) -> int:
    """Bytes that a checkpoint of `size` takes while it is converted: its own, and what it becomes beside it."""
    return 2 * size
