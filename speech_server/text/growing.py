"""The sentences of a text that is still being written, each as soon as it is whole: what a language model streams."""

from __future__ import annotations

from speech_server.text.sentences import complete_sentences

# Characters without the end of a sentence after which what is there is handed over all the same.
LONGEST_WAIT = 400
_MARKS = frozenset(".!?…。！？।॥:;\n")


class GrowingText:
    def __init__(self, language: str = "en") -> None:
        self._language = language
        self._pending = ""

    def add(self, delta: str) -> str:
        """The sentences that are whole now; often none."""
        self._pending += delta
        whole = ""
        # The segmenter takes a while, and without a mark before the new words there is nothing for it to find.
        if not _MARKS.isdisjoint(self._pending[: -len(delta) or None]):
            whole, self._pending = complete_sentences(self._pending, self._language)
        if not whole and len(self._pending) > LONGEST_WAIT and (space := self._pending.rfind(" ")) > 0:
            whole, self._pending = self._pending[: space + 1], self._pending[space + 1 :]
        return whole

    def finish(self) -> str:
        """What is left."""
        rest, self._pending = self._pending, ""
        return rest
