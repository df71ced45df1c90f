"""Characters to numbers, from the file as it is published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_server.engines.speecht5.characters import LONGEST, Characters, read_characters
from speech_server.errors import ModelBroken
from tests.speech_server.engines.speecht5.tiny import TOKENIZER, VOCABULARY

KNOWN = Characters(VOCABULARY)
NAMES = {number: character for character, number in VOCABULARY.items()}


def read(text: str) -> str:
    """The parts' characters, without their ends."""
    parts = list(KNOWN.encode(text))
    assert all(part[-1] == VOCABULARY["</s>"] for part in parts)
    return "|".join("".join(NAMES[number] for number in part[:-1]) for part in parts)


def test_words_begin_with_their_mark_and_the_text_has_an_end(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    assert list(read_characters(tmp_path / "tokenizer.json").encode("Hello, you")) == [
        [4, 35, 5, 15, 15, 8, 23, 4, 22, 8, 16, 2]
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a \n b ", "▁a▁b"),
        ("café Ñandú œuvre", "▁café▁Nandu▁œuvre"),  # what it has stays
        ("“Don’t” – he said…", '▁"Don\'t"▁-▁he▁said.'),
        ("¡Hola!", "▁Hola!"),
        ("ﬁne ½", "▁fine"),
        ("<s> ▁x", "▁s▁x"),  # no text is a token of control
        ("日本", ""),
        ("", ""),
    ],
)
def test_what_it_lacks_is_read_in_its_nearest_form(text: str, expected: str):
    assert read(text) == expected


def test_a_long_text_is_cut_between_words_and_a_long_word_anywhere():
    words = "word " * 150 + "x" * (2 * LONGEST)
    parts = read(words).split("|")
    assert [len(part) for part in parts] == [500, 250, 500, 500, 1]
    assert parts[0].endswith("▁word")
    assert "".join(parts).replace("▁", " ").strip() == words


@given(st.text())
def test_no_text_makes_an_unknown_or_a_too_long_part(text: str):
    for part in KNOWN.encode(text):
        assert 2 <= len(part) <= LONGEST + 1
        assert VOCABULARY["<unk>"] not in part
        assert part[:-1].count(VOCABULARY["</s>"]) == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"[1]", "cannot be"),
        (b'{"model": {}}', "cannot be: model.vocab: Field required"),
        (b'{"model": {"vocab": {"a": -1}}}', "cannot be: model.vocab.a"),
        (b'{"model": {"vocab": {"a": 1}}}', "lacks </s> and ▁: it is no list of SpeechT5's characters"),
        (b" " * (1 << 20) + b"{}", "has more than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_list_of_characters_says_what_is_wrong(tmp_path: Path, content: bytes, complaint: str):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelBroken) as broken:
        read_characters(tmp_path / "tokenizer.json")
    assert complaint in broken.value.message


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ModelBroken, match=r"tokenizer\.json cannot be read"):
        read_characters(tmp_path / "tokenizer.json")
