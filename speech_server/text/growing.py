"""The sentences of a text that is still being written, each as soon as it is whole: what a language model streams."""

from __future__ import annotations

from speech_server.text.sentences import complete_sentences

# Characters without the end of a sentence after which what is there is handed over all the same; also the most that
# is looked at in one go.
LONGEST_WAIT = 400
_MARKS = frozenset(".!?…。！？।॥:;\n")


class GrowingText:
    def __init__(self) -> None:
        self._pending = ""

    def add(self, delta: str) -> str:
        """The sentences that are whole now; often none."""
        parts = (delta[start : start + LONGEST_WAIT] for start in range(0, len(delta), LONGEST_WAIT))
        return "".join(map(self._add, parts))

    def _add(self, delta: str) -> str:
        self._pending += delta
        whole = ""
        # The segmenter takes a while, and without a mark before the new words there is nothing for it to find.
        if not _MARKS.isdisjoint(self._pending[: -len(delta)]):
            whole, self._pending = complete_sentences(self._pending, "en")
        if len(self._pending) > LONGEST_WAIT:
            end = self._pending.rfind(" ") + 1 or len(self._pending)
            whole, self._pending = whole + self._pending[:end], self._pending[end:]
        return whole

    def finish(self) -> str:
        """What is left."""
        rest, self._pending = self._pending, ""
        return rest
