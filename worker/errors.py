"""Every failure the worker can report; handler.py turns them into the job's error."""

from __future__ import annotations


class WorkerError(Exception):
    """A job failed. The message is for whoever sent the job: who, what, and what to do.

    `status` is the HTTP status such a failure would have, `type` and `code` are OpenAI's words for it, and `source`
    tells whether the worker or the server said so.
    """

    status = 500
    type = "worker_error"
    code = "internal_error"
    source = "worker"

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.code


class BadSetting(WorkerError):
    """An environment variable that cannot be right; the worker does not start."""

    code = "bad_setting"


class InvalidJob(WorkerError):
    """The job's input cannot be right, whatever the server's state. The message begins with the field's name."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_job"


class MediaUnavailable(WorkerError):
    """A file the job names could not be had: refused address, HTTP error, too slow, too large."""

    status = 422
    type = "invalid_request_error"
    code = "media_unavailable"


class StorageFull(WorkerError):
    status = 507
    code = "storage_full"


class ServerUnavailable(WorkerError):
    """The speech server is not there: it does not start, or the connection to it broke."""

    status = 503
    type = "server_error"
    code = "server_unavailable"


class ServerDied(ServerUnavailable):
    """The speech server ended while it held the job; the message has its exit status and last words."""

    status = 502
    code = "server_died"


class ServerError(WorkerError):
    """The speech server answered with a status of 300 or more; type, code and message are the server's."""

    source = "server"

    def __init__(self, message: str, *, status: int, type: str, code: str) -> None:  # noqa: A002 (OpenAI's name)
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code


class BadReply(WorkerError):
    """The speech server's answer cannot become a job output."""

    status = 502
    type = "server_error"
    code = "bad_reply"


class ReplyBrokeOff(BadReply):
    """The speech server began its answer and ended it in the middle; the same request may well end so again."""

    code = "reply_broke_off"


class ReplyTooLarge(WorkerError):
    """More than the platform takes as a result, and no bucket to put it in; or more than any answer may have."""

    status = 413
    type = "invalid_request_error"
    code = "reply_too_large"


class BucketUnavailable(WorkerError):
    """The result had to go to a bucket, and the bucket did not take it."""

    status = 502
    code = "bucket_unavailable"


class ResultRefused(WorkerError):
    """The platform did not take a result that was ready."""

    status = 502
    code = "result_refused"


class JobTimeout(WorkerError):
    status = 504
    type = "timeout_error"
    code = "job_timeout"


class WorkerStopping(WorkerError):
    """The platform stops this worker, and the job did not finish in the time that was left."""

    status = 503
    type = "service_unavailable_error"
    code = "worker_stopping"


class RealtimeUnavailable(WorkerError):
    """This worker cannot take a realtime session: no port, or one that cannot be opened."""

    status = 501
    type = "not_implemented_error"
    code = "realtime_unavailable"
