"""The Hugging Face cache on disk: one folder to write to, others to read from, the layout all tools share.

    hub/models--org--name/blobs/<digest>            the bytes
                          snapshots/<revision>/...  links to them
                          refs/main                 which revision is current

A blob appears by renaming a finished file, a snapshot by renaming a finished folder, the reference last: a process
killed at any point leaves either the whole model or something that is no model yet. One lock per model keeps two
processes from pulling the same one at once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from speech_server.errors import SourceUnavailable, StorageFull
from speech_server.models.catalog.ids import is_model_id, require_model_id
from speech_server.models.disk.reading import folders_of, read_text
from speech_server.models.disk.recognise import recognise
from speech_server.settings import Settings

_PREFIX = "models--"

# Called from the pulling thread: bytes done, bytes in all when known, what is being done.
Progress = Callable[[int, int | None, str], None]


def default_root() -> Path:
    """Where huggingface_hub keeps its cache, without importing it."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{caches}/huggingface").expanduser() / "hub"


def open_cache(settings: Settings) -> Cache:
    return Cache(default_root(), tuple(settings.model_read_caches))


@dataclass(frozen=True, slots=True)
class Cache:
    root: Path  # written to
    others: tuple[Path, ...] = ()  # only read

    def repository(self, model_id: str, root: Path | None = None) -> Path:
        """The model's folder. Refuses names that would leave the cache."""
        return (root or self.root) / (_PREFIX + require_model_id(model_id).replace("/", "--"))

    def snapshots(self, model_id: str) -> Iterator[Path]:
        """Folders that may hold the model, the current revision first."""
        for root in (self.root, *self.others):
            repository = self.repository(model_id, root)
            found = []
            for path in folders_of(repository / "snapshots"):
                with suppress(OSError):  # somebody removes it just now
                    found.append((path.stat().st_mtime, path))
            current = ""
            if len(found) > 1:
                with suppress(OSError, ValueError):
                    current = read_text(repository / "refs" / "main", 1000).strip()
            found.sort(key=lambda entry: (entry[1].name == current, *entry), reverse=True)
            yield from (path for _, path in found)

    def folder(self, model_id: str) -> Path | None:
        """The folder of the installed model: complete, or it does not count."""
        return next((folder for folder in self.snapshots(model_id) if recognise(folder)), None)

    def ids(self) -> list[str]:
        """Every model id that has a folder, complete or not."""
        found: set[str] = set()
        for root in (self.root, *self.others):
            found.update(path.name for path in folders_of(root, _PREFIX))
        ids = (name.removeprefix(_PREFIX).replace("--", "/") for name in found)
        return sorted(model_id for model_id in ids if is_model_id(model_id))

    @contextmanager
    def locked(self, model_id: str, timeout: float) -> Iterator[None]:
        """Hold the model's lock: nobody else pulls or removes it. The lock dies with its process."""
        import filelock

        locks = self.root / ".locks" / self.repository(model_id).name
        lock = filelock.FileLock(locks / "pull.lock")
        try:
            with storage_errors(locks):
                locks.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=timeout)
        except filelock.Timeout as error:
            raise SourceUnavailable(
                f"Model '{model_id}' has been pulled by another process for {timeout:.0f} s: see MODEL_DOWNLOAD_TIMEOUT"
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def incoming(self, model_id: str) -> Iterator[Path]:
        """A scratch folder on the cache's own file system; what earlier, killed pulls left there goes first."""
        repository = self.repository(model_id)
        for stale in repository.glob("incoming-*"):
            shutil.rmtree(stale, ignore_errors=True)
        with storage_errors(repository):
            repository.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix="incoming-", dir=repository))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
                for folder in (repository / "blobs", repository):
                    with suppress(OSError):  # not empty unless nothing came of it
                        folder.rmdir()

    def publish(self, model_id: str, scratch: Path, digests: dict[str, str], texts: Mapping[str, str] = {}) -> None:
        """Make the files of `scratch` (name -> SHA-256), and `texts` beside or over them, the current revision."""
        for name, text in texts.items():
            (scratch / name).write_text(text, "utf-8")
            digests[name] = hashlib.sha256(text.encode()).hexdigest()
        repository = self.repository(model_id)
        blobs = repository / "blobs"
        blobs.mkdir(exist_ok=True)
        listing = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
        revision = hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()
        linked = scratch / "snapshot"
        linked.mkdir()
        for name, digest in digests.items():
            (scratch / name).replace(blobs / digest)
            (linked / name).parent.mkdir(exist_ok=True)
            _link(blobs / digest, linked / name, name.count("/"))
        snapshot = repository / "snapshots" / revision
        snapshot.parent.mkdir(exist_ok=True)
        shutil.rmtree(snapshot, ignore_errors=True)
        linked.rename(snapshot)
        reference = scratch / "main"
        reference.write_text(revision)
        (repository / "refs").mkdir(exist_ok=True)
        reference.replace(repository / "refs" / "main")

    def delete(self, model_id: str) -> None:
        """Remove the model; after the first step it is no longer installed, whatever happens then."""
        repository = self.repository(model_id)
        shutil.rmtree(repository / "refs", ignore_errors=True)
        with suppress(FileNotFoundError):
            (repository / "snapshots").rename(repository / f"incoming-{os.getpid()}")
        shutil.rmtree(repository)

    def require_space(self, model_id: str, needed: int) -> None:
        """Refuse a download that cannot fit, before its first byte."""
        folder = self.repository(model_id)
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StorageFull(
                f"Model '{model_id}' needs {needed / 1e6:.0f} MB, {self.root} has {free / 1e6:.0f} MB free: "
                "remove models, or point HF_HOME at a larger disk"
            )


def _link(blob: Path, link: Path, depth: int) -> None:
    # Relative, so that the cache can be moved and mounted elsewhere; copied where links are not to be had.
    # From where it will be: the folder is renamed to snapshots/<revision>.
    try:
        link.symlink_to(Path("..", "..", *[".."] * depth, "blobs", blob.name))
    except OSError:
        shutil.copyfile(blob, link)


@contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Disks that take no more bytes, or none at all, as StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = f"No space left for models in {where}: remove models, or point HF_HOME at a larger disk"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            reason = f"Models cannot be written to {where} ({error.strerror}): point HF_HOME at a folder that can"
        else:
            raise
        raise StorageFull(reason) from error


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
