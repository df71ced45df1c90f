"""The items of one conversation, in order, and never more than a bounded amount of them."""

from __future__ import annotations

from collections.abc import Iterator

from speech_server.realtime.events import ProtocolError
from speech_server.realtime.items import FunctionCall, FunctionCallOutput, Message

AnyItem = Message | FunctionCall | FunctionCallOutput

# What a session of hours keeps; the oldest items are forgotten, as OpenAI's `truncation: auto` does.
MAX_ITEMS = 256
MAX_CHARACTERS = 1_000_000


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
        if _size(item) > MAX_CHARACTERS:
            raise ProtocolError(
                f"The item has more than {MAX_CHARACTERS} characters", code="item_too_large", param="item"
            )
        place = (
            len(self._items) if after is None else 0 if after == "root" else self._index(after, "previous_item_id") + 1
        )
        self._items.insert(place, item)
        previous = self._items[place - 1].id if place else None
        while len(self._items) > MAX_ITEMS or sum(map(_size, self._items)) > MAX_CHARACTERS:
            del self._items[0]
        return previous

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


def _size(item: AnyItem) -> int:
    if isinstance(item, Message):
        return sum(len(part.words) + len(part.image_url or "") for part in item.content)
    return len(item.arguments) if isinstance(item, FunctionCall) else len(item.output)
