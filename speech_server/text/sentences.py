"""Cuts text into the pieces an engine speaks one by one: sentences, clauses of long ones, a short first piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sentencex import segment

from speech_server.text.markup import plain
from speech_server.text.reading import read_signs
from speech_server.text.signs import signs_of

LONGEST = 300  # letters of one piece: a model's 510 phonemes with room for long readings of numbers
SHORTEST = 15  # letters: alone, shorter sentences come out rushed, so they join the next one
# Letters: a shorter rest of the first sentence is misheard where it was cut off ("were on the table": "we're"), and
# the whole sentence is soon spoken.
SHORTEST_REST = 30
SENTENCE_PAUSE = 0.25  # seconds of silence after a piece, by what it ends with
PARAGRAPH_PAUSE = 0.45
CLAUSE_PAUSE = 0.1

_PARAGRAPH = re.compile(r"\n\s*\n")
_PARAGRAPH_LIMIT = 20_000  # characters; a longer one is cut
_WINDOW = 2_000  # characters handed to the segmenter at once: time grows with their square, and no other thread runs
_CLOSERS = "\"'”’»)]}」』）】"
_SENTENCE_END = re.compile(rf"[.!?…。！？।॥][{re.escape(_CLOSERS)}]*\s*$")
_CLAUSE_END = re.compile(rf"[,;:，、；：—–-][{re.escape(_CLOSERS)}]*\s*$")
_CJK = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]")
# Where a sentence that is too long may be cut, best first; CJK marks need no space after them.
_CUTS = (re.compile(r"[;:—](?=\s)|[；：]"), re.compile(r",(?=\s)|[，、]"), re.compile(r"\s"))


@dataclass(frozen=True, slots=True)
class Piece:
    """Text to speak in one go, and the seconds of silence that follow it."""

    text: str
    pause: float


def cut(text: str, language: str, *, early: bool = True) -> Iterator[Piece]:
    """The pieces of `text`, lazily. With `early` the first one is a few words, so that sound starts soon."""
    held: tuple[str, bool] | None = None
    for part in _parts(text, language, early):
        if held:
            yield Piece(held[0], PARAGRAPH_PAUSE if held[1] else _pause(held[0]))
        held = part
    if held:
        yield Piece(held[0], SENTENCE_PAUSE)


def _parts(text: str, language: str, early: bool) -> Iterator[tuple[str, bool]]:
    """(text of a piece, whether it ends its paragraph)"""
    for paragraph in _paragraphs(plain(text)):
        parts = [part for sentence in _sentences(paragraph, language) for part in _shorten(sentence)]
        if early and parts:
            parts[:1] = _open_early(parts[0], language)
            early = False
        yield from ((part, position == len(parts)) for position, part in enumerate(parts, 1))


def speakable(text: str) -> bool:
    """Whether anything in `text` can be said aloud: a letter or a digit of any script."""
    return any(character.isalnum() for character in text)


def complete_sentences(text: str, language: str) -> tuple[str, str]:
    """Split growing text into (whole sentences, the rest that may still grow)."""
    sentences = list(split(text, language))
    # The last one is whole only when its paragraph is: a later letter could still join "3." and "14".
    rest = "" if text.endswith("\n\n") else (sentences.pop() if sentences else "")
    return "".join(sentences), rest


def _paragraphs(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        found = _PARAGRAPH.search(text, start, start + _PARAGRAPH_LIMIT)
        if found:
            stop, after = found.start(), found.end()
        elif len(text) - start <= _PARAGRAPH_LIMIT:
            stop = after = len(text)
        else:
            space = text.rfind(" ", start, start + _PARAGRAPH_LIMIT)
            stop = after = space + 1 if space > start else start + _PARAGRAPH_LIMIT
        yield text[start:stop]
        start = after


def split(text: str, language: str) -> Iterator[str]:
    """All of `text` in sentences, spaces and all: joined they are the text again.

    A window at a time; the last sentence in a window is read again with what follows it.
    """
    start = 0
    while len(text) - start > _WINDOW:
        *whole, last = segment(language[:2], text[start : start + _WINDOW])
        yield from whole
        start += _WINDOW - len(last)
        if len(last) > _WINDOW // 2:  # no end in sight
            end = last.rfind(" ") + 1 or len(last)
            yield last[:end]
            start += end
    yield from segment(language[:2], text[start:])


def _density(text: str) -> int:
    """How many letters of an alphabet one character stands for: 3 for Chinese and Japanese, else 1."""
    return 3 if len(_CJK.findall(text)) * 2 > len(text) else 1


def _sentences(paragraph: str, language: str) -> Iterator[str]:
    """Sentences with something to say; short ones joined to what follows (or, at the end, precedes)."""
    pending = ""
    for raw in split(paragraph, language):
        sentence = read_signs(raw, language)  # after splitting: the segmenter knows "U.S. Army"
        if not speakable(sentence):
            continue
        joined = f"{pending} {sentence}" if pending else sentence
        if len(joined) * _density(joined) < SHORTEST:
            pending = joined
        else:
            yield joined
            pending = ""
    if pending:
        yield pending


def _shorten(sentence: str) -> Iterator[str]:
    """The sentence in parts of at most LONGEST letters, cut at the mark nearest to equal lengths."""
    longest = LONGEST // _density(sentence)
    while len(sentence) > longest:
        wanted = len(sentence) / -(-len(sentence) // longest)
        at = _best_cut(sentence, wanted, longest)
        head, sentence = sentence[:at].strip(), sentence[at:].strip()
        if speakable(head):
            yield head
    if speakable(sentence):
        yield sentence


def _best_cut(sentence: str, wanted: float, longest: int) -> int:
    for marks in _CUTS:
        ends = [found.end() for found in marks.finditer(sentence, SHORTEST // 3, longest)]
        if ends and abs(best := min(ends, key=lambda end: abs(end - wanted))) >= wanted / 3:
            return best
    return longest


def _open_early(sentence: str, language: str) -> list[str]:
    """The sentence as [a few words, the rest]; whole when it is short or has no good place to cut."""
    words = sentence.split(" ")
    signs = signs_of(language)
    if signs is None or len(words) < 8:
        return [sentence]
    functions = signs.function_words
    bare = [word.strip(_CLOSERS + ".,;:!?¡¿—–…“‘«([").lower() for word in words]
    candidates = []
    for count in range(3, min(7, len(words) - 2)):
        head = " ".join(words[:count])
        if len(head) < SHORTEST - 1 or len(bare[count - 1]) < 2 or bare[count - 1] in functions:
            continue
        if _CLAUSE_END.search(head):
            return [head, " ".join(words[count:])]
        # A phrase tends to end where an article, preposition or conjunction follows.
        if len(" ".join(words[count:])) >= SHORTEST_REST:
            candidates.append((bare[count] not in functions, count))
    if not candidates:
        return [sentence]
    count = min(candidates)[1]
    return [" ".join(words[:count]), " ".join(words[count:])]


def _pause(part: str) -> float:
    if _SENTENCE_END.search(part):
        return SENTENCE_PAUSE
    return CLAUSE_PAUSE if _CLAUSE_END.search(part) else 0.0
