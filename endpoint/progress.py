"""What a terminal shows meanwhile: bytes sent, then seconds of audio heard, with percent and time left."""

from __future__ import annotations

from typing import BinaryIO, NoReturn

from tqdm import tqdm
from tqdm.utils import CallbackIOWrapper


class Progress:
    """One bar, on a terminal only, gone when the block is left."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        disable = True if is_quiet else None
        self._bar: tqdm[NoReturn] = tqdm(unit="B", unit_scale=True, desc="sending", disable=disable, leave=False)
        self._hears = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._bar.close()

    @property
    def is_shown(self) -> bool:
        return not self._bar.disable

    def say(self, what: str) -> None:
        self._bar.set_description(what)

    def sending(self, file: BinaryIO, size: int) -> BinaryIO:
        """The file, every read of which moves the bar."""
        self._bar.reset(total=size)
        return CallbackIOWrapper(self._bar.update, file, "read")  # type: ignore[return-value]  # what httpx asks of it

    def heard(self, done: float, total: float | None) -> None:
        """Seconds of audio that have been transcribed, and how many there are where that is known."""
        if not self._hears:
            self._hears = True
            self._bar.unit, self._bar.unit_scale = "s", False
            self._bar.reset(total=total and round(total))
            self.say("heard")
        if total and self._bar.total != round(total):
            self._bar.total = round(total)
        self._bar.update(round(done) - self._bar.n)

    def received(self, size: int) -> None:
        self._bar.update(size)
