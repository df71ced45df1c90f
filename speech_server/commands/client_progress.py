"""A progress bar for one transcription: bytes sent, then seconds of audio done, which the server is asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import httpx
from tqdm import tqdm

if TYPE_CHECKING:
    Bar = tqdm[NoReturn]

POLL_SECONDS = 0.5


class Counted:
    """A file to upload; every read moves the bar."""

    def __init__(self, file: BinaryIO, bar: Bar) -> None:
        self._file = file
        self._bar = bar
        self.seek, self.tell = file.seek, file.tell  # httpx asks for the length with these

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._bar.update(len(data))
        return data


class TranscriptionBar:
    """Shown on a terminal only, and gone when the block is left."""

    def __init__(self, client: httpx.Client, file: BinaryIO, size: int, request_id: str) -> None:
        self._client = client
        self._path = f"/api/progress/{request_id}"
        self._bar: Bar = tqdm(total=size, unit="B", unit_scale=True, desc="sending", disable=None, leave=False)
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.upload = Counted(file, self._bar)

    def __enter__(self) -> TranscriptionBar:
        if not self._bar.disable:
            self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._bar.close()

    def _watch(self) -> None:
        heard = False
        while not self._closed.wait(POLL_SECONDS):
            try:
                reply = self._client.get(self._path, timeout=POLL_SECONDS * 4)
                done = float(reply.json()["seconds_done"]) if reply.is_success else None
            except (httpx.HTTPError, ValueError, KeyError):
                continue
            if done is None or self._closed.is_set():
                continue
            if not heard:
                heard = True
                self._bar.reset(total=None)
                self._bar.unit, self._bar.unit_scale = " s", False
                self._bar.set_description("heard", refresh=False)
            self._bar.update(round(done) - self._bar.n)
