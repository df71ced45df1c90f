"""Models from a Hugging Face hub, by huggingface_hub: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from outgoing.door import Door
from outgoing.errors import OutgoingError, UrlRefused
from outgoing.http import transport
from outgoing.lookups import LookUp, system_look_up
from outgoing.url import parse_base
from speech_server.engines.speecht5.files import TOKENIZER
from speech_server.engines.speecht5.voices import ARCTIC, ARCTIC_DATASET, FOLDER, voice_files
from speech_server.errors import ModelGated, ModelNotFound, SourceUnavailable
from speech_server.models.disk.cache import Cache, Progress, storage_errors
from speech_server.models.disk.checkpoints import RUNNABLE, checkpoint_files, is_checkpoint, require_whisper
from speech_server.models.disk.recognise import offered, wanted
from speech_server.models.sources.folder import install_checkpoint, space_for
from speech_server.models.sources.watch import watched

_ANSWER_SECONDS = 60.0  # about a repository
_ABANDONED = 300  # seconds without a byte, far beyond huggingface_hub's own time-outs


class Hub:
    """`env` holds a models file's HF_ENDPOINT and HF_TOKEN; `given` names files the repository need not have."""

    def __init__(
        self, env: Mapping[str, str] = {}, given: Collection[str] = (), look_up: LookUp = system_look_up
    ) -> None:
        # None for huggingface_hub's own: HF_ENDPOINT, HF_TOKEN or the token file, as they were at its import.
        self._named = env.get("HF_ENDPOINT")
        self._token = env.get("HF_TOKEN")
        self._given = given
        self._look_up = look_up

    def offers(self, model_id: str) -> bool:
        return os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE") and "/" in model_id

    def fetch(self, model_id: str, cache: Cache, progress: Progress) -> None:
        """The files an engine needs, the largest last: what is finished when a pull is killed stays."""
        sizes = self.files(model_id)
        names = {*sizes, *self._given}
        engine = offered(model_id, names)
        if engine is None:
            return self._convert(model_id, sizes, cache, progress)
        fetched = sorted(set(wanted(names)) & sizes.keys(), key=sizes.__getitem__)
        total = sum(sizes[name] for name in fetched)
        cache.require_space(model_id, total)
        folder = cache.repository(model_id)
        _sweep(folder / "blobs")
        with watched(folder / "blobs", total, progress, "downloading"), storage_errors(folder):
            for name in fetched:
                file = self._download(model_id, name, cache.root)
                if name == TOKENIZER and engine == "speecht5" and not voice_files(names):
                    self._add_voices(file.parent, cache.root)  # before the large files make it complete
        return None

    @cached_property
    def _endpoint(self) -> str:
        """Raises SourceUnavailable."""
        return open_door(self._named, self._look_up)

    def _convert(self, model_id: str, sizes: Mapping[str, int], cache: Cache, progress: Progress) -> None:
        """Install a repository with a Whisper checkpoint; the checkpoint itself is not kept."""
        fetched = require_checkpoint(model_id, sizes)
        total = sum(sizes[name] for name in fetched)
        cache.require_space(model_id, space_for(total))
        with cache.incoming(model_id) as scratch:
            with watched(scratch, total, progress, "downloading"):
                folder = self.fetch_files(model_id, fetched, scratch)
            install_checkpoint(model_id, folder, scratch, cache, progress)

    def fetch_files(self, repository: str, names: Sequence[str], root: Path) -> Path:
        """The folder of a Whisper checkpoint in a cache at `root`; the first of `names` is its configuration."""
        folder = self._download(repository, names[0], root).parent
        require_whisper(folder, repository)  # before the gigabytes
        for name in names[1:]:
            self._download(repository, name, root)
        return folder

    def files(self, repository: str) -> dict[str, int]:
        from huggingface_hub import HfApi

        with _hub_errors(repository):
            hub = HfApi(endpoint=self._endpoint, token=self._token)
            found = hub.model_info(repository, files_metadata=True, timeout=_ANSWER_SECONDS)
            return {str(file.rfilename): max(int(file.size or 0), 0) for file in found.siblings or []}

    def _add_voices(self, snapshot: Path, root: Path) -> None:
        """The repositories of SpeechT5 hold no voices: those that everybody takes lie in a data set."""
        (snapshot / FOLDER).mkdir(exist_ok=True)
        for name, (_, file) in ARCTIC.items():
            vector = self._download(ARCTIC_DATASET, file, root, "dataset")
            shutil.copyfile(vector, snapshot / FOLDER / f"{name}.bin")

    def _download(self, repository: str, name: str, root: Path, kind: Literal["model", "dataset"] = "model") -> Path:
        from huggingface_hub import hf_hub_download

        with _hub_errors(repository):
            file = hf_hub_download(
                repository, name, repo_type=kind, cache_dir=root, endpoint=self._endpoint, token=self._token
            )
            return Path(file)


def _sweep(blobs: Path) -> None:
    """Remove what killed downloads left: huggingface_hub gives every attempt a file of its own, and forgets it.

    Others may be downloading here without our lock; their files are younger.
    """
    for partial in blobs.glob("*.incomplete"):
        if time.time() - partial.stat().st_mtime > _ABANDONED:
            partial.unlink(missing_ok=True)


def open_door(endpoint: str | None = None, look_up: LookUp = system_look_up) -> str:
    """The hub's checked address; from here on huggingface_hub goes through the door. Raises SourceUnavailable."""
    from huggingface_hub import constants

    try:
        checked = parse_base(endpoint or constants.ENDPOINT)
    except UrlRefused as error:
        raise SourceUnavailable(f"HF_ENDPOINT {error.message}") from None
    _send_through(look_up)
    return checked


@cache  # once in a process: a new client closes the one that others use
def _send_through(look_up: LookUp) -> None:
    import httpx2
    from huggingface_hub import constants, get_session, set_client_factory
    from huggingface_hub.utils.tqdm import disable_progress_bars

    hooks = get_session().event_hooks  # offline mode, request ids

    def client() -> httpx2.Client:
        way = transport(Door.of_operator(look_up), httpx2)
        return httpx2.Client(transport=way, event_hooks=hooks, follow_redirects=True, timeout=_ANSWER_SECONDS)

    set_client_factory(client)
    disable_progress_bars()  # whoever pulls is told by `progress`
    if "HF_HUB_DISABLE_XET" not in os.environ:  # hf_xet opens connections of its own, to wherever the hub says
        constants.HF_HUB_DISABLE_XET = True


def pull_checkpoint(repository: str, cache: Cache) -> Path:
    """The folder of an unconverted Whisper checkpoint, downloaded where it is not in the cache, and kept there."""
    if folder := next(filter(is_checkpoint, cache.snapshots(repository)), None):
        return folder
    hub = Hub()
    return hub.fetch_files(repository, require_checkpoint(repository, hub.files(repository)), cache.root)


def require_checkpoint(repository: str, names: Collection[str]) -> list[str]:
    """The files to take. Raises ModelNotFound."""
    if files := checkpoint_files(names):
        return files
    why = RUNNABLE
    if any(name.startswith("pytorch_model") for name in names):
        why = "its weights are pickled, which is code to run, and only safetensors are read: have it saved as those"
    raise ModelNotFound(f"'{repository}' holds no model this server can run: {why}", param="model")


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    import httpx2  # huggingface_hub's HTTP library
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise ModelGated(f"'{repository}' is gated: accept its terms on the hub and set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"'{repository}' is not on the hub, or private: check the name, or set HF_TOKEN", param="model"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ModelGated(
                f"The hub answered {status} for '{repository}': set HF_TOKEN to one with access"
            ) from error
        raise SourceUnavailable(f"The hub answered {status} for '{repository}': try again later") from error
    except OutgoingError as error:
        raise SourceUnavailable(f"The hub cannot be reached for '{repository}': {error.message}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.TransportError) as error:
        raise SourceUnavailable(f"The hub cannot be reached for '{repository}': see HF_ENDPOINT") from error
    except (ValueError, TypeError, KeyError, AttributeError, httpx2.InvalidURL) as error:
        # Whatever else answers there speaks another language; what it said stays unsaid.
        raise SourceUnavailable(f"The hub's answer for '{repository}' makes no sense: see HF_ENDPOINT") from error
