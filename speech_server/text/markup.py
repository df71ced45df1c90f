"""Takes Markdown, HTML and emoji away and leaves the words, with a blank line where a block ends."""

from __future__ import annotations

import html
import re
import unicodedata

_BLANKS = re.compile(r"[^\S\n]+")
_UNREAD = (
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<script\b", re.IGNORECASE), re.compile(r"</script\s{0,9}>", re.IGNORECASE)),
    (re.compile(r"<style\b", re.IGNORECASE), re.compile(r"</style\s{0,9}>", re.IGNORECASE)),
)
_BLOCK_TAG = re.compile(
    r"</?(?:p|div|h[1-6]|li|ul|ol|tr|table|blockquote|section|article|header|footer|pre|hr|title)\b[^<>]{0,500}>",
    re.IGNORECASE,
)
_LINE_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9:-]*(?:\s[^<>]{0,500})?/?>")
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]{0,500})\]\([^()\s]{0,2000}(?:\s[^()]{0,200})?\)")
_REFERENCE = re.compile(r"^\s{0,3}\[[^\[\]]{1,100}\]:\s.*$", re.MULTILINE)
_FENCE = re.compile(r"^\s{0,3}(?:```|~~~).*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE)
_TABLE_RULE = re.compile(r"^[ \t]*(?:\|[ \t]*)?:?--[-:| \t]*$", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]*\|(.*)\|[ \t]*$", re.MULTILINE)
# A line that is a block of its own: heading, list item, quotation.
_BLOCK_START = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•‣◦][ \t]+|(?P<number>\d{1,3})[.)][ \t]+)+", re.MULTILINE
)
_EMPHASIS = re.compile(r"(?<![\w*_~])[*_~]{1,3}(?=[^\s*_~])|(?<=[^\s*_~])[*_~]{1,3}(?![\w*_~])|\*\*|~~|`+")
# html.unescape makes an int of however many digits there are, which Python refuses beyond a limit of its own.
_LEADING_ZEROS = re.compile(r"(?<=&#)(?:0+(?=[0-9])|([xX])0+(?=[0-9A-Fa-f]))")
_NO_CHARACTER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9A-Fa-f]{7,});?")
_JOINERS = "‍︎️⃣"  # parts of emoji: joiner, variation selectors, keycap
_PICTURES = ("So", "Sk", "Cs", "Co", "Cn", "Cf", "Cc")  # Unicode categories
_KEPT_SYMBOLS = frozenset("°№§©®™℃℉←→↑↓")  # symbols that are read, or dropped, elsewhere


def plain(text: str) -> str:
    """`text` without markup. Markup is recognised with care: "2 * 3", "a < b" and "snake_case" stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "<" in text:
        text = _strip_html(text)
    if "&" in text:
        text = _unescape(text)
    text = _strip_markdown(_BLANKS.sub(" ", text))
    return text.translate({ord(sign): None for sign in set(text) if not _is_spoken(sign)})


def _unescape(text: str) -> str:
    """`&amp;` and `&#38;` to the character; a number that is none goes, like every other picture."""
    return html.unescape(_NO_CHARACTER.sub("", _LEADING_ZEROS.sub(r"\1", text)))


def _strip_html(text: str) -> str:
    for opening, closing in _UNREAD:
        text = _cut_out(text, opening, closing)
    return _TAG.sub("", _LINE_TAG.sub("\n", _BLOCK_TAG.sub("\n\n", text)))


def _cut_out(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """One pass: a lazy `.*?` between the two would start over at every opening that is never closed."""
    kept, at = [], 0
    while (start := opening.search(text, at)) and (end := closing.search(text, start.end())):
        kept.append(text[at : start.start()])
        at = end.end()
    return " ".join([*kept, text[at:]])


def _strip_markdown(text: str) -> str:
    text = _IMAGE_OR_LINK.sub(r"\1", _REFERENCE.sub("", _FENCE.sub("", text)))
    text = _TABLE_RULE.sub("", _RULE.sub("\n", text))
    text = _TABLE_ROW.sub(lambda row: "\n" + ", ".join(cell.strip() for cell in row[1].split("|")) + ".\n", text)
    return _EMPHASIS.sub("", _end_blocks(text))


def _end_blocks(text: str) -> str:
    """Headings, list items and other short lines become paragraphs; the lines of wrapped prose stay together."""
    lines: list[str] = []
    for line in text.split("\n"):
        start = _BLOCK_START.match(line)
        if start:
            number = start["number"]
            line = "\n" + (f"{number}. " if number else "") + line[start.end() :] + "\n"
        lines.append(line)
    return "\n".join(lines)


def _is_spoken(character: str) -> bool:
    """False for emoji and other pictures, which a voice would read out by name."""
    if character in _KEPT_SYMBOLS:
        return True
    if character in _JOINERS:
        return False
    return character in "\n\t`^" or unicodedata.category(character) not in _PICTURES
