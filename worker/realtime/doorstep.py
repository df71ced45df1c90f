"""A listening socket with room for a few strangers: who waits longest without a token makes room for the next."""

from __future__ import annotations

import socket
from contextlib import suppress


class Doorstep(socket.socket):
    """Counts connections from the moment they are accepted, before any handshake, TLS's included.

    The oldest goes, not the newest: people show their token at once, and those who fill the place up do not. So a
    flood makes itself room, and the door stays open for guests.
    """

    def __init__(self, family: int, room: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._room = room
        self._strangers: list[tuple[socket.socket, object]] = []  # with the address they come from

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        stranger, address = super().accept()
        self._strangers = [one for one in self._strangers if one[0].fileno() != -1]  # the others have gone
        self._strangers.append((stranger, address))
        self._make_room()
        return stranger, address

    def let_in(self, address: object) -> None:
        """Who came from there is a guest now, and no longer counted."""
        self._strangers = [one for one in self._strangers if one[1] != address]

    def clear(self) -> None:
        """All who are still waiting go, and whoever comes."""
        self._room = 0
        self._make_room()

    def _make_room(self) -> None:
        while len(self._strangers) > self._room:
            stranger, _ = self._strangers.pop(0)
            with suppress(OSError):
                stranger.shutdown(socket.SHUT_RDWR)  # the event loop owns it, sees its end, and closes it


def open_doorstep(host: str, port: int, room: int) -> Doorstep:
    """Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    doorstep = Doorstep(family, room)
    try:
        doorstep.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        doorstep.bind(address)
    except OSError:
        doorstep.close()
        raise
    return doorstep
