"""What the platform answers when it does not do what it was asked."""

from __future__ import annotations


class Refused(Exception):
    """An HTTP error answer; `message` is what the caller reads under `error`."""

    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(Refused):
    pass


class TooLarge(Refused):
    """A body over the limit of its kind. The platform answers 400, not 413."""


class NotHeld(Refused):
    """A worker reported on a job that has ended or that another worker holds now."""


class Unauthorized(Refused):
    status = 401


class NotFound(Refused):
    status = 404


class TooMany(Refused):
    status = 429
