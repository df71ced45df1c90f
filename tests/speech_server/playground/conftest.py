"""A real browser with a microphone that plays a clip, and real servers for it to open."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest
from huggingface_hub.constants import HF_HUB_CACHE
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect, sync_playwright

from tests.conftest import PIPER, WHISPER
from tests.speech_server.conftest import ENGLISH
from tests.speech_server.models.conftest import real_folder
from tests.talking import TalkServer, talk_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60_000  # ms for whatever is waited for: a busy machine takes its time
MICROPHONE_RATE = 48_000
SILENCE = 10  # seconds after the clip, before it begins again: a turn is answered in it
OWN_MODEL = "own-voice"

expect.set_options(timeout=PATIENCE)


def recorded(clip: Path, target: Path, *, times: int = 1, silence: int = SILENCE) -> Path:
    """The clip as WAV, with silence after each time."""
    with av.open(str(clip)) as container:
        resampler = av.AudioResampler("s16", "mono", MICROPHONE_RATE)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    samples = b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_RATE)
        file.writeframes((samples + bytes(2 * MICROPHONE_RATE * silence)) * times)
    return target


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Not for the session: it keeps an event loop running, in which other tests could start none."""
    with sync_playwright() as driver:
        yield driver


Launch = Callable[[Path], Browser]


@pytest.fixture(scope="module")
def launch(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """A browser for each clip its microphone plays."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser here: install one of {', '.join(BROWSERS)} (apt-get install chromium)")
    folder = tmp_path_factory.mktemp("microphone")
    running: dict[Path, Browser] = {}

    def launched(clip: Path) -> Browser:
        if clip not in running:
            sound = recorded(clip, folder / f"{clip.stem}.wav")
            running[clip] = playwright.chromium.launch(
                executable_path=program,
                args=[
                    "--use-fake-device-for-media-stream",
                    "--use-fake-ui-for-media-stream",
                    f"--use-file-for-fake-audio-capture={sound}",
                ],
            )
        return running[clip]

    yield launched
    for browser in running.values():
        browser.close()


@dataclass
class Visit:
    """Somebody on the page. What the browser complains of is an error, unless `expects` was told some words of it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"not caught: {error}"))

    def expects(self, *words: str) -> None:
        self.expected += words

    @property
    def unexpected(self) -> list[str]:
        return [said for said in self.complaints if not any(words in said for words in self.expected)]

    def tab(self, name: str) -> Locator:
        self.page.get_by_role("tab", name=name).click()
        return self.page.get_by_role("tabpanel", name=name)


Open = Callable[..., Visit]


@pytest.fixture
def visit(launch: Launch) -> Iterator[Open]:
    """Opens a server's page as one person with one browser; afterwards nothing may have been complained of."""
    visits: list[Visit] = []
    with ExitStack() as stack:

        def opened(url: str, *, clip: Path = ENGLISH, **options: object) -> Visit:
            context: BrowserContext = launch(clip).new_context(**options)  # type: ignore[arg-type]
            stack.callback(context.close)
            context.grant_permissions(["microphone", "clipboard-read", "clipboard-write"])
            made = Visit(context.new_page())
            visits.append(made)
            made.listen()
            made.page.goto(url)
            return made

        yield opened
        assert [said for made in visits for said in made.unexpected] == []


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkServer]:
    """A server with a language model, one session at a time, and a model that is not installed yet."""
    own = [{"name": OWN_MODEL, "url": real_folder(PIPER).as_uri(), "task": "text-to-speech",
            "files": {"preprocessor_config.json": "{}"}}]  # fmt: skip
    env = {
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "MODEL_READ_CACHES": HF_HUB_CACHE,
        "MODELS": json.dumps(own),
        "REALTIME_MAX_SESSIONS": "1",
        "PRELOAD_MODELS": f"{WHISPER},{PIPER}",
    }
    with talk_server(**env) as server:
        yield server
