from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.text.markup import plain

CASES = {
    "**bold**, *italic*, __both__, ~~gone~~ and `code`": "bold, italic, both, gone and code",
    'see [the docs](https://example.com "title") now': "see the docs now",
    "![a cat](cat.png) sits": "a cat sits",
    "<p>One &amp; two</p><b>three</b>": "One & two three",
    "a<br>b": "a b",
    "before <!-- not this --> after": "before after",
    "x <script>alert(1)</script> y <STYLE>p{}</STYLE> z": "x y z",
    "2 * 3 is 6, a < b > c, snake_case": "2 * 3 is 6, a < b > c, snake_case",
    "```python\nprint(1)\n```": "print(1)",
    "Hi 😀👍🏽 there 🇩🇪 5️⃣": "Hi there 5",
    "25 °C and § 5": "25 °C and § 5",
    "&#65;&#x42;&#0000000000067; &#x000000000000044;": "ABC D",
    "a &#99999999; &#x110000; &#55357; &#0; b &#": "a b &#",
    "a &#" + "1" * 5000 + "; b &#x" + "0" * 5000 + "41 c &#" + "0" * 5000 + ";": "a b A c",
}


@pytest.mark.parametrize("text", CASES)
def test_markup_goes_and_words_stay(text: str):
    assert " ".join(plain(text).split()) == CASES[text]


def test_headings_items_and_rows_are_paragraphs_of_their_own():
    text = (
        "# Title\nIntro runs\nover two lines.\n- one\n- two\n1. first\n> quoted\n\n"
        "| a | b |\n|---|---|\n| c | d |\n---\nend"
    )
    paragraphs = [" ".join(part.split()) for part in plain(text).split("\n\n") if part.strip()]
    assert paragraphs == [
        "Title", "Intro runs over two lines.", "one", "two", "1. first", "quoted", "a, b.", "c, d.", "end",
    ]  # fmt: skip


@given(st.text(st.characters(categories=["L", "Nd"]), min_size=1))
def test_text_without_markup_is_left_alone(text: str):
    assert plain(text) == text


@pytest.mark.parametrize(
    "text",
    [" " * 200_000, "<!--" * 50_000, "<script" * 30_000, "[(" * 50_000, "*" * 200_000, "<a " * 50_000, "| " * 50_000],
    ids=lambda text: text[:7],
)
def test_hostile_text_takes_time_in_proportion_to_its_length(text: str):
    plain(text)  # the quadratic forms of these expressions take minutes: the test's time limit tells
