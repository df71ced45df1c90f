"""The page for everybody: no finding of axe, every way by keyboard, nothing beyond the edge of a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import ROOT
from tests.speech_server.conftest import ENGLISH
from tests.speech_server.playground.conftest import Open

pytestmark = pytest.mark.xdist_group("page")

TABS = ("Transcribe", "Speak", "Talk", "Captions", "Models")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
AXE = ROOT / "build/node_modules/axe-core/axe.min.js"
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def axe() -> Path:
    if not AXE.exists():
        pytest.skip("no axe-core here: `make axe` fetches it (needs npm)")
    return AXE


def fill_with_a_transcript(page: Page) -> None:
    page.get_by_label("Tell speakers apart").check()
    page.locator("input[type=file]").set_input_files(ENGLISH)
    page.get_by_role("button", name="Transcribe").click()
    expect(page.locator("#transcribe .speaker")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Open, server_url: str, axe: Path, scheme: str):
    # The page's own policy lets no script of another in: that is what the test does here.
    visitor = visit(server_url, color_scheme=scheme, viewport=DESKTOP, bypass_csp=True)
    page = visitor.page
    page.add_script_tag(path=axe)
    fill_with_a_transcript(page)
    found = []
    for name in TABS:
        panel = visitor.tab(name)
        panel.get_by_text("As a request").click()
        if name == "Models":
            expect(panel.get_by_role("row").nth(1)).to_be_visible()
        report = page.evaluate("axe.run()")
        assert len(report["passes"]) > 20
        found += [
            (name, fault["id"], node["html"]) for fault in report["violations"] if fault["impact"] in SERIOUS
            for node in fault["nodes"]
        ]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_crosses_the_edge_of_the_screen(visit: Open, server_url: str, viewport: dict[str, int]):
    visitor = visit(server_url, viewport=viewport)
    fill_with_a_transcript(visitor.page)
    for name in TABS:
        panel = visitor.tab(name)
        panel.get_by_text("As a request").click()
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
        beyond = panel.evaluate(
            """(panel, width) => [...panel.querySelectorAll('*')].filter((part) => {
                 const box = part.getBoundingClientRect();
                 return box.width > 1 && (box.right > width || box.left < 0);
               }).map((part) => part.outerHTML.slice(0, 80))""",
            viewport["width"],
        )
        assert beyond == [], name
        small = panel.locator("button:visible, select:visible").evaluate_all(
            "buttons => buttons.filter(b => b.getBoundingClientRect().height < 40).map(b => b.outerHTML)"
        )
        assert small == [], name


def test_all_of_it_goes_by_keyboard(visit: Open, server_url: str):
    page = visit(server_url).page
    press = page.keyboard.press
    page.get_by_role("tab", name="Transcribe").focus()
    press("ArrowLeft")
    expect(page.get_by_role("tab", name="Models")).to_be_focused()
    expect(page).to_have_url(f"{server_url}/#models")
    press("ArrowRight")
    fill_with_a_transcript(page)
    expect(page.get_by_role("button", name="Transcribe")).to_be_focused()  # not lost while it worked
    page.get_by_role("button", name="Play from 0:00").focus()
    for _ in range(3):
        press("ArrowRight")
    expect(page.locator(".word", has_text="brown")).to_be_focused()
    press("Enter")
    expect(page.locator("audio.heard")).to_have_js_property("paused", False)
    press("Tab")
    assert page.evaluate("document.activeElement.className") != "word"  # one stop a segment, not one a word
