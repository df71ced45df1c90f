"""The items of one conversation, in order, and never more than a bounded amount of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from speech_server.realtime.protocol.events import ProtocolError
from speech_server.realtime.protocol.items import AnyItem, FunctionCall, Message

# What a session of hours keeps; the oldest items are forgotten, as OpenAI's `truncation: auto` does.
MAX_ITEMS = 256
MAX_CHARACTERS = 1_000_000
PART = 200  # what each further part counts beside its texts: a message may have any number of empty ones


class Conversation:
    def __init__(self) -> None:
        self._items: list[AnyItem] = []

    def __iter__(self) -> Iterator[AnyItem]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: AnyItem, after: str | None = None) -> str | None:
        """Insert behind the item `after` ("root": at the beginning, None: at the end); the id before it.

        Raises ProtocolError for an unknown `after` and for an id that is taken.
        """
        if any(known.id == item.id for known in self._items):
            raise ProtocolError(f"An item with id '{item.id}' exists already", code="item_exists", param="item.id")
        check_size([item], "item")
        place = (
            len(self._items) if after is None else 0 if after == "root" else self._index(after, "previous_item_id") + 1
        )
        self._items.insert(place, item)
        while len(self._items) > MAX_ITEMS or sum(map(_size, self._items)) > MAX_CHARACTERS:
            del self._items[1 if self._items[0] is item else 0]  # the oldest that was there before
        place = next(place for place, known in enumerate(self._items) if known is item)
        return self._items[place - 1].id if place else None

    def get(self, item_id: str) -> AnyItem:
        """Raises ProtocolError when there is no such item."""
        return self._items[self._index(item_id, "item_id")]

    def delete(self, item_id: str) -> None:
        del self._items[self._index(item_id, "item_id")]

    def _index(self, item_id: str, param: str) -> int:
        for index, item in enumerate(self._items):
            if item.id == item_id:
                return index
        raise ProtocolError(
            f"There is no item '{item_id[:100]}' in the conversation", code="item_not_found", param=param
        )


def check_size(items: Sequence[AnyItem], param: str) -> None:
    """Raises ProtocolError for items that together are more than a conversation holds."""
    if sum(map(_size, items)) > MAX_CHARACTERS:
        raise ProtocolError(
            f"The {param} has more than {MAX_CHARACTERS} characters", code="item_too_large", param=param
        )


def _size(item: AnyItem) -> int:
    """Characters of everything the item keeps; its audio is taken out when it comes in."""
    if isinstance(item, Message):
        texts = sum(_length(part.text, part.transcript, part.image_url) for part in item.content)
        return texts + PART * max(0, len(item.content) - 1)
    if isinstance(item, FunctionCall):
        return _length(item.call_id, item.name, item.arguments)
    return _length(item.call_id, item.output)


def _length(*texts: str | None) -> int:
    return sum(len(text) for text in texts if text)
