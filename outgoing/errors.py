"""Why a URL is not opened; callers say whose URL it was and turn these into errors of their own."""

from __future__ import annotations


class OutgoingError(Exception):
    @property
    def message(self) -> str:
        return str(self.args[0])


class UrlRefused(OutgoingError, ValueError):
    """The text is no URL that every parser reads alike; no name was looked up."""


class AddressRefused(OutgoingError):
    """The name belongs to an address where this caller's URLs may not lead."""


class HostUnknown(OutgoingError):
    """The name has no address, or none that was told in time."""


class CollectorRefused(OutgoingError):
    """What the environment says of a collector of traces cannot be."""


class AnswerTooLarge(OutgoingError):
    pass


class LineCut(OutgoingError):
    """The work was given up while its connections were open."""


def reason_in(error: BaseException) -> OutgoingError | None:
    """What the door said, where a client's library has wrapped it into errors of its own."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None or isinstance(seen, OutgoingError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
