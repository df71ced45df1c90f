"""Photographs the page of a running server for the README, light and dark: `python -m tools.page_pictures`.

A conversation of three people is written down on it, with names; `make server` is what has to run.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
CLIP = ROOT / "examples" / "clips" / "conversation.opus"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE: ViewportSize = {"width": 1120, "height": 830}
SHARPNESS, COLOURS = 1.5, 256
NAMES = {"A": "Ada", "B": "Bela", "C": "Chiara"}
PATIENCE = 120_000  # ms; the server may load its models first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--at", metavar="URL", default="http://127.0.0.1:8000", help="the server (%(default)s)")
    url: str = parser.parse_args().at
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        print(f"no browser here: install one of {', '.join(BROWSERS)}", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        for scheme in ("light", "dark"):
            target = PICTURES / f"page-{scheme}.png"
            photograph(browser, url, scheme == "dark", target)
            print(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1000} kB")
        browser.close()
    return 0


def photograph(browser: Browser, url: str, dark: bool, target: Path) -> None:
    page = browser.new_page(
        color_scheme="dark" if dark else "light", viewport=SIZE, device_scale_factor=SHARPNESS, reduced_motion="reduce"
    )
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    write_down(page)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(target, optimize=True)
    page.close()


def write_down(page: Page) -> None:
    page.get_by_label("Tell speakers apart").check()
    page.locator("input[type=file]").set_input_files(CLIP)
    page.get_by_role("button", name="Transcribe").click()
    expect(page.locator("#transcribe form .status")).to_contain_text("words", timeout=PATIENCE)
    for letter, name in NAMES.items():
        page.get_by_label(f"Name of Speaker {letter}").fill(name)
    page.locator(".word", has_text="memory").evaluate("word => word.classList.add('now')")
    # How busy this machine is just now is no part of the picture.
    page.evaluate("document.querySelector('#transcribe .timer').textContent = ''")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


if __name__ == "__main__":
    sys.exit(main())
