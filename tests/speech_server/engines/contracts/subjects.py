"""The engines that are tried: with their real weights where `make models` brings them, else on networks of the real
names and shapes, a few kilobytes large; and the examples."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from speech_server.engines.interfaces import EngineArgs

T = TypeVar("T")


@dataclass
class Subject:
    """`name` begins its threads' names; `files` are those of its folder that it cannot do without."""

    name: str
    load: Callable[[Path, EngineArgs], Any]
    folder: Path
    files: tuple[str, ...] = ()

    @cached_property
    def engine(self) -> Any:
        return self.open(workers=2)

    def open(self, **args: Any) -> Any:
        return self.load(self.folder, EngineArgs(**args))

    def ask(self, engine: Any) -> AsyncGenerator[Any, None]:
        """A request with more results than are worked on at once."""
        raise NotImplementedError


Make = Callable[[Path], Subject]  # in a folder of its own


async def given(things: Iterable[T]) -> AsyncIterator[T]:
    for thing in things:
        yield thing


async def all_of(results: AsyncIterator[T]) -> list[T]:
    return [result async for result in results]


def linked(folder: Path, source: Path, **changed: bytes | None) -> Path:
    """A folder like `source`, some of its files with another content, or missing. / is written __ in their names."""
    instead = {name.replace("__", "/"): content for name, content in changed.items()}
    for file in source.rglob("*"):
        name = str(file.relative_to(source))
        if file.is_file() and name not in instead:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(file.resolve())
    for name, content in instead.items():
        if content is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return folder
