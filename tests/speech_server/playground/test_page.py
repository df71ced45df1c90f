"""The page in a browser, on real servers: each tab's main way, an error on each, a reload in between."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import PIPER, ROOT, ServerProcess
from tests.speech_server.conftest import ENGLISH, SPANISH
from tests.speech_server.playground.conftest import OWN_MODEL, Open, Visit, recorded
from tests.stand_in_llm import Reply
from tests.talking import TalkServer, nearly, plain, understood

pytestmark = pytest.mark.xdist_group("page")

WORDS = "the quick brown fox jumps over the lazy dog speech on demand paid by the second"
CONVERSATION = ROOT / "examples/clips/conversation.opus"
ENGLISH_OF_IT = re.compile(r"Spain|Spanish")  # of "Madrid es la capital de España"
LONG_ANSWER = "Listen, this is a long story and it goes on and on. " * 12


def transcribed(visit: Visit, file: Path | None = None) -> str:
    """What the page has written down of a file, or of what it holds already, once all of it is there."""
    tab = visit.tab("Transcribe")
    if file:
        tab.locator("input[type=file]").set_input_files(file)
    tab.get_by_role("button", name="Transcribe").click()
    expect(tab.locator("form .status")).to_contain_text("words")
    return plain(" ".join(tab.locator(".segments p").all_inner_texts()))


def saved(page: Page, button: str, target: Path) -> str:
    with page.expect_download() as download:
        page.get_by_role("tabpanel").get_by_role("button", name=button, exact=True).click()
    download.value.save_as(target)
    return target.read_text()


def test_a_file_is_written_down_and_a_click_on_a_word_plays_it(visit: Open, server_url: str, tmp_path: Path):
    visitor = visit(server_url)
    page = visitor.page
    assert transcribed(visitor, ENGLISH) == nearly(WORDS)
    page.reload()
    assert transcribed(visitor, ENGLISH) == nearly(WORDS)
    word = page.locator(".word", has_text="lazy")
    word.click()
    played_from = page.locator("audio.heard").evaluate("sound => sound.currentTime")
    assert played_from >= float(word.get_attribute("data-at") or "nan")
    expect(page.locator(".word.now", has_text="lazy")).to_be_visible()
    assert saved(page, "Save .txt", tmp_path / "a.txt").count("\n") == 1
    assert saved(page, ".vtt", tmp_path / "a.vtt").startswith("WEBVTT\n\n00:00:0")
    words = json.loads(saved(page, ".json", tmp_path / "a.json"))["segments"][0]["words"]
    assert plain(words[0]["word"]) == "the"
    page.get_by_role("button", name="Copy").first.click()
    assert plain(page.evaluate("navigator.clipboard.readText()")) == nearly(WORDS)


def test_speakers_are_told_apart_and_get_names(visit: Open, server_url: str, tmp_path: Path):
    visitor = visit(server_url)
    page = visitor.page
    visitor.tab("Transcribe").get_by_label("Tell speakers apart").check()
    transcribed(visitor, CONVERSATION)
    expect(page.locator(".speaker")).to_have_count(3)
    page.get_by_label("Name of Speaker B").fill("Anna & Co")
    expect(page.locator(".segments li", has_text="rain").locator(".who")).to_have_text("Anna & Co")
    assert "Anna & Co: I would rather wait" in saved(page, ".srt", tmp_path / "a.srt")
    assert "<v Anna &amp; Co>I would rather wait" in saved(page, ".vtt", tmp_path / "a.vtt")
    cues = (tmp_path / "a.srt").read_text().strip().split("\n\n")
    assert all(len(line) <= 60 for cue in cues for line in cue.split("\n")[2:])


def test_segments_come_while_the_rest_is_still_heard_and_it_can_be_cancelled(
    visit: Open, server_url: str, tmp_path: Path
):
    visitor = visit(server_url)
    tab = visitor.tab("Transcribe")
    tab.locator("input[type=file]").set_input_files(recorded(CONVERSATION, tmp_path / "long.wav", times=12, silence=2))
    tab.get_by_role("button", name="Transcribe").click()
    expect(tab.locator(".segments li").first).to_be_visible()
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.locator("form .status")).to_have_text("Cancelled")
    assert tab.locator(".segments li").count() < 60  # all of it has more than 80


def test_what_is_no_sound_is_an_error_until_the_next_try(visit: Open, server_url: str, tmp_path: Path):
    visitor = visit(server_url)
    visitor.expects("415")
    tab = visitor.tab("Transcribe")
    tab.get_by_role("button", name="Transcribe").click()
    expect(tab.get_by_role("alert")).to_contain_text("Choose a file")
    (tmp_path / "notes.txt").write_text("not a sound")
    tab.locator("input[type=file]").set_input_files(tmp_path / "notes.txt")
    tab.get_by_role("button", name="Transcribe").click()
    expect(tab.get_by_role("alert")).to_contain_text("audio")
    assert transcribed(visitor, ENGLISH) == nearly(WORDS)
    expect(tab.get_by_role("alert")).to_be_hidden()


def test_the_microphone_is_recorded_and_written_down(visit: Open, server_url: str):
    visitor = visit(server_url)
    tab = visitor.tab("Transcribe")
    tab.get_by_role("button", name="Record").click()
    expect(tab.get_by_role("button", name="Stop (0:06)")).to_be_visible()
    tab.get_by_role("button", name="Stop").click()
    expect(tab.locator(".name")).to_contain_text("recording.wav")
    assert "lazy dog" in transcribed(visitor)


def test_a_text_is_spoken_while_it_is_made_and_saved(visit: Open, server_url: str, tmp_path: Path):
    visitor = visit(server_url)
    tab = visitor.tab("Speak")
    voices = tab.get_by_label("Voice")
    assert voices.locator("optgroup").count() > 5
    tab.get_by_label("Model").select_option(PIPER)
    assert voices.input_value() == "joe"
    text = "The weather is fine today. We could walk to the river."
    tab.get_by_role("textbox", name="Text").fill(text)
    tab.get_by_role("button", name="Speak").click()
    expect(tab.locator(".status")).to_contain_text("Sounds after")
    expect(tab.locator(".status")).to_contain_text("kB")
    saved_as = tmp_path / "speech.wav"
    with visitor.page.expect_download() as download:
        tab.get_by_role("button", name="Save the sound").click()
    download.value.save_as(saved_as)
    assert understood(server_url, saved_as.read_bytes()) == nearly(text)
    tab.get_by_role("button", name="Hear a sample").click()
    expect(tab.locator("audio")).to_have_js_property("paused", False)
    assert tab.get_by_role("textbox", name="Text").input_value() == text


def test_an_empty_text_is_refused_by_the_servers_own_words(visit: Open, server_url: str):
    visitor = visit(server_url)
    visitor.expects("400")
    tab = visitor.tab("Speak")
    tab.get_by_role("textbox", name="Text").fill("  ")
    tab.get_by_role("button", name="Speak").click()
    expect(tab.get_by_role("alert")).to_contain_text("input is empty")


def test_a_conversation_is_heard_answered_and_interrupted_by_speaking(visit: Open, talk: TalkServer):
    talk.answer(LONG_ANSWER)
    visitor = visit(talk.url)
    tab = visitor.tab("Talk")
    tab.get_by_label("Speaks with").select_option(PIPER)
    tab.get_by_role("button", name="Start talking").click()
    expect(tab.locator("li.user p").first).to_contain_text("lazy dog")
    expect(tab.locator("li.assistant p").first).to_contain_text("long story")
    expect(tab.locator(".it .level")).to_have_attribute("style", re.compile(r"--level: ?(0\.[3-9]|1)"))
    expect(tab.locator("li.assistant.cut").first).to_be_visible()  # the clip begins again, over the answer
    expect(tab.locator("li.assistant").nth(1)).to_be_visible()
    told = [message["content"] for message in talk.asked["messages"] if message["role"] == "assistant"]
    assert 0 < len(told[0]) < len(LONG_ANSWER) / 2
    tab.get_by_role("button", name="End").click()
    expect(tab.locator(".state")).to_have_text("Ended")


def test_a_language_model_that_fails_or_is_not_there_is_said(visit: Open, talk: TalkServer, server_url: str):
    talk.answer(Reply(status=503))
    visitor = visit(talk.url)
    tab = visitor.tab("Talk")
    tab.get_by_role("button", name="Start talking").click()
    expect(tab.get_by_role("alert")).to_contain_text("answered 503")
    tab.get_by_role("button", name="End").click()
    tab = visit(server_url).tab("Talk")
    expect(tab.get_by_text("CHAT_COMPLETION_BASE_URL")).to_be_visible()
    expect(tab.get_by_role("button", name="Start talking")).to_be_disabled()


def test_captions_come_as_it_is_spoken_and_in_english_too(visit: Open, talk: TalkServer, tmp_path: Path):
    visitor = visit(talk.url, clip=SPANISH)
    translated: list[str] = []  # by other ways than the session's
    visitor.page.on("request", lambda sent: "/v1/audio/" in sent.url and translated.append(sent.url))
    for reloaded in (False, True):
        if reloaded:
            visitor.page.reload()
        tab = visitor.tab("Captions")
        tab.get_by_label("Language").select_option("es")
        tab.get_by_label("English beneath").check()
        tab.get_by_role("button", name="Start captions").click()
        expect(tab.locator(".said").first).not_to_be_empty()
    # What a microphone hears before it is listened to is lost: of the first turn perhaps a syllable.
    expect(tab.locator(".said").first).to_contain_text("capital")
    expect(tab.locator(".english").first).to_have_text(ENGLISH_OF_IT)
    expect(tab.locator(".english").nth(1)).to_have_text(ENGLISH_OF_IT)  # the clip again: a line of its own
    assert translated == []
    second = visit(talk.url)
    second.expects("429")
    other = second.tab("Captions")
    other.get_by_role("button", name="Start captions").click()
    expect(other.get_by_role("alert")).to_contain_text("refused the session")
    tab.get_by_role("button", name="Stop").click()
    text = saved(visitor.page, ".srt", tmp_path / "captions.srt")
    assert "-->" in text
    assert re.search("capital.*\n.*Spa", text)  # in both languages


def test_what_is_stopped_before_it_has_begun_is_no_error(visit: Open, server_url: str):
    tab = visit(server_url).tab("Captions")
    tab.get_by_role("button", name="Start captions").evaluate("button => { button.click(); button.click(); }")
    expect(tab.locator(".state")).to_have_text("Stopped")
    tab.get_by_role("button", name="Start captions").click()
    expect(tab.locator(".said").first).not_to_be_empty()
    expect(tab.get_by_role("alert")).to_be_hidden()


def test_models_are_installed_loaded_unloaded_and_removed(visit: Open, talk: TalkServer):
    visitor = visit(talk.url)
    visitor.expects("404")
    visitor.page.on("dialog", lambda dialog: dialog.accept())
    tab = visitor.tab("Models")
    row = tab.get_by_role("row", name=OWN_MODEL)
    tab.get_by_label("Install a model").fill(OWN_MODEL)
    tab.get_by_role("button", name="Install").click()
    expect(tab.get_by_text(f"{OWN_MODEL} is installed")).to_be_visible()
    tab.get_by_role("button", name=f"Load {OWN_MODEL}", exact=True).click()
    expect(row).to_contain_text("in memory")
    unload = tab.get_by_role("button", name=f"Unload {OWN_MODEL}")
    expect(unload).to_be_focused()
    visitor.page.reload()
    unload.click()
    expect(row).to_contain_text("on disk")
    tab.get_by_role("button", name=f"Remove {OWN_MODEL}").click()
    expect(row).to_have_count(0)
    tab.get_by_label("Install a model").fill("nobody/nothing")
    tab.get_by_role("button", name="Install").click()
    expect(tab.get_by_role("alert")).to_contain_text("nobody/nothing")


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServerProcess]:
    process = ServerProcess({"API_KEY": "open-sesame", "MODEL_MANAGEMENT": "off"})
    yield process
    process.stop()


def test_the_key_is_asked_for_kept_for_the_tab_and_sent_everywhere(visit: Open, guarded: ServerProcess):
    visitor = visit(guarded.url)
    page = visitor.page
    key = page.get_by_label("API key")
    expect(page.get_by_text("This server wants an API key.")).to_be_visible()
    visitor.expects("403")
    for secret in ("wrong", "open-sesame"):
        key.fill(secret)
        page.get_by_role("button", name="Use it").click()
        if secret == "wrong":
            expect(page.get_by_text("The server does not take this key.")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.reload()
    assert transcribed(visitor, ENGLISH) == nearly(WORDS)
    tab = visitor.tab("Captions")
    tab.get_by_role("button", name="Start captions").click()
    expect(tab.locator(".said").first).not_to_be_empty()
    tab.get_by_text("As a request").click()
    assert "open-sesame" not in page.content()
    assert page.evaluate("localStorage.length") == 0
    tab = visitor.tab("Models")
    expect(tab.get_by_text("MODEL_MANAGEMENT=on")).to_be_visible()
    expect(tab.get_by_role("button", name="Unload").first).to_be_disabled()


def test_a_server_that_went_away_is_said(visit: Open):
    process = ServerProcess()
    visitor = visit(process.url)
    process.stop()
    visitor.expects("ERR_CONNECTION_REFUSED")
    tab = visitor.tab("Speak")
    tab.get_by_role("button", name="Speak").click()
    expect(tab.get_by_role("alert")).to_contain_text("does not answer")
