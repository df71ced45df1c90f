"""Models on this machine: list them, pull them, remove them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from speech_server.errors import SpeechError
from speech_server.models.conversion.weights import Precision
from speech_server.models.disk.cache import Progress, open_cache
from speech_server.models.library.catalog import Catalog, ModelInfo
from speech_server.models.library.store import Store
from speech_server.models.sources import Source
from speech_server.models.sources.hub import pull_checkpoint
from speech_server.settings import get_settings

_CONVERT = """SOURCE is a Hugging Face Whisper checkpoint (safetensors) or a CTranslate2 Whisper folder. The result is
installed under NAME; give it shorter names in model_aliases.json."""
_CONVERT_EXAMPLE = "example: python -m speech_server models convert ./my-whisper --weight-format int8 --name acme/calls"
_ALSO_KNOWN = "; --known lists those that could be installed as well"
INTERRUPTED = 130  # the shell's convention for Ctrl-C


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="what is installed")
    listing.add_argument("words", nargs="?", default="", metavar="TEXT", help="only models whose line has this text")
    listing.add_argument("--known", action="store_true", help="what could be installed as well")
    listing.set_defaults(command=_list)
    add_pull_arguments(commands.add_parser("pull", help="download models; installed ones cost no network"))
    remove = commands.add_parser("remove", help="delete models from disk")
    remove.add_argument("models", nargs="+", metavar="ID", help="model ids or aliases")
    remove.set_defaults(command=_remove)
    convert = commands.add_parser(
        "convert", help="make a Whisper model in another precision", description=_CONVERT, epilog=_CONVERT_EXAMPLE
    )
    convert.add_argument("source", metavar="SOURCE", help="a folder, an installed model, or a checkpoint on the hub")
    convert.add_argument("--weight-format", required=True, choices=get_args(Precision))
    convert.add_argument("--name", required=True, help="the new model's id, as clients will send it")
    convert.set_defaults(command=_convert)


def add_pull_arguments(pull: argparse.ArgumentParser) -> None:
    pull.add_argument("models", nargs="*", metavar="ID", help="model ids or aliases")
    pull.add_argument("--default", action="store_true", help="Whisper base, Kokoro and Piper joe, about 300 MB")
    pull.add_argument("--quiet-if-installed", action="store_true", help="say nothing about models that are there")
    pull.set_defaults(command=_pull)


def run(arguments: argparse.Namespace, sources: Mapping[str, Source] | None = None) -> int:
    """0; 1 with the reason on stderr; 130 when interrupted (a pull continues where it can the next time)."""
    settings = get_settings()
    command: Callable[[argparse.Namespace, Catalog, Store], int] = arguments.command
    try:
        catalog = Catalog(settings)
        return command(arguments, catalog, Store(settings, catalog, sources))
    except SpeechError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing is broken, run it again to go on", file=sys.stderr)
        return INTERRUPTED


def _list(arguments: argparse.Namespace, catalog: Catalog, store: Store) -> int:
    installed = catalog.installed()
    lines = [_describe(model) for model in installed]
    if arguments.known:
        present = {model.id for model in installed}
        lines += [_describe(model) + ", not installed" for model in catalog.known() if model.id not in present]
    found = [line for line in lines if arguments.words.lower() in line.lower()]
    print(*found, sep="\n", end="\n" if found else "")
    if not found:
        print(f"no model has '{arguments.words}' in its line" + _ALSO_KNOWN * (not arguments.known), file=sys.stderr)
    return 0 if found else 1


def _pull(arguments: argparse.Namespace, catalog: Catalog, store: Store) -> int:
    names = [*(catalog.default if arguments.default else ()), *arguments.models]
    if not names:
        print("error: name the models to pull, or say --default", file=sys.stderr)
        return 2
    for name in names:
        model_id = catalog.resolve(name)
        if store.folder(model_id):
            if not arguments.quiet_if_installed:
                print(f"{model_id} is installed")
            continue
        known = catalog.find(model_id)
        print(f"pulling {_describe(known) if known else model_id}", flush=True)
        with _progress_bar(model_id) as progress:
            model = store.pull(model_id, progress)
            progress(model.size_bytes, model.size_bytes, "preparing")
            store.loadable_folder(model)  # the int8 copy, so that not even the first load pays for it
        print(f"{model_id} is installed, {model.size_bytes / 1e6:,.0f} MB")
    return 0


def _remove(arguments: argparse.Namespace, catalog: Catalog, store: Store) -> int:
    for name in arguments.models:
        model_id = catalog.resolve(name)
        store.remove(model_id)
        print(f"{model_id} removed")
    return 0


def _convert(arguments: argparse.Namespace, catalog: Catalog, store: Store) -> int:
    from speech_server.models.conversion.convert import write_converted

    with _progress_bar(arguments.name) as progress:
        source = Path(arguments.source)
        if not source.is_dir():
            source = store.folder(catalog.resolve(arguments.source)) or pull_checkpoint(
                arguments.source, open_cache(get_settings())
            )
        progress(0, None, f"writing {arguments.weight_format}")
        model = store.add(arguments.name, lambda into: write_converted(source, arguments.weight_format, into))
    print(_describe(model))
    return 0


def _describe(model: ModelInfo) -> str:
    return f"{model.id}: {model.task}, {model.size_bytes / 1e6:,.0f} MB, licence {model.licence}"


@contextmanager
def _progress_bar(model_id: str) -> Iterator[Progress]:
    from tqdm import tqdm

    # disable=None: only on a terminal.
    with tqdm(desc=model_id, unit="B", unit_scale=True, leave=False, mininterval=0.2, disable=None) as bar:

        def show(done: int, total: int | None, label: str) -> None:
            bar.total = total
            bar.set_postfix_str(label, refresh=False)
            bar.update(done - bar.n)

        yield show
