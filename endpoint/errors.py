"""Why a command on the caller's machine failed; __main__.py turns each into a line and an exit status."""

from __future__ import annotations

REFUSED, NOT_SENT, NO_RESULT, INTERRUPTED = 1, 2, 3, 130  # exit statuses


class EndpointError(Exception):
    """`message` says who, what, and what to do; `status` is that of the HTTP answer it was, 0 where it was none;
    `exit_status` is the command's."""

    exit_status = NOT_SENT

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status

    @property
    def is_for_good(self) -> bool:
        """Whether the same request would be refused again."""
        return False


class BadArgument(EndpointError):
    """What was typed cannot be right; nothing was sent."""

    @property
    def is_for_good(self) -> bool:
        return True


class Unreachable(EndpointError):
    """No answer, or none that is one: the platform or the server is not there."""


class PlatformRefused(EndpointError):
    """The platform answered an error to a call about jobs, templates or endpoints."""

    @property
    def is_for_good(self) -> bool:
        return self.status in (400, 401, 403, 404, 413)


class Refused(EndpointError):
    """The speech API answered an error, over HTTP or as a failed job; the message is its own, `status` 0 if unknown."""

    exit_status = REFUSED

    @property
    def is_for_good(self) -> bool:
        return 400 <= self.status < 500 and self.status not in (408, 429)


class NoResult(EndpointError):
    """The job was still at work when the time was over."""

    exit_status = NO_RESULT
