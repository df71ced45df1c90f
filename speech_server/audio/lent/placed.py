"""A file that is read by place, for whoever wants to be somewhere in it."""

from __future__ import annotations

import io


class Placed(io.RawIOBase):
    """`size` is known; a reader moves `_at` on by what it read."""

    size: int
    _at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at
