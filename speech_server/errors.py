"""Every failure the speech server can report; app.py turns them into replies."""

from __future__ import annotations


class SpeechError(Exception):
    """A failure with an HTTP status; `message` is meant for the client and says what to do.

    `type`, `code` and `param` fill OpenAI's error envelope.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class Unavailable(SpeechError):
    """This server cannot, now; another one, or this one later, can."""

    status = 503
    type = "service_unavailable_error"


class ConfigurationInvalid(SpeechError):
    """A file the server reads at start is not as it should be; the server does not start."""

    code = "configuration_invalid"


class InvalidRequest(SpeechError):
    """The request cannot be right, whatever the server's state."""

    status = 400
    type = "invalid_request_error"


class AudioUnreadable(InvalidRequest):
    """The upload is no audio any decoder here can read, or has no bytes."""

    status = 415
    code = "unsupported_audio"


class LenderFailed(SpeechError):
    """A part of a file that was lent, not uploaded, could not be had."""

    status = 502
    code = "lender_failed"


class RequestTooLarge(InvalidRequest):
    status = 413
    code = "too_large"


class HeadersTooLarge(InvalidRequest):
    status = 431
    code = "headers_too_large"


class RequestTimeout(InvalidRequest):
    """The client did not send its request in time."""

    status = 408
    code = "request_timeout"


class Forbidden(SpeechError):
    """Missing or wrong API key. `status` is AUTH_FAILURE_STATUS (403, or OpenAI's 401)."""

    status = 403
    type = "authentication_error"
    code = "invalid_api_key"


class SecretRefused(Forbidden):
    """A client secret that opens nothing: forged, expired, or used."""

    status = 401
    code = "invalid_client_secret"


class NotAllowed(SpeechError):
    """What the server's operator lets no caller do, whatever key they have."""

    status = 403
    type = "permission_error"


class ManagementOff(NotAllowed):
    code = "model_management_off"


class OwnerNotAllowed(NotAllowed):
    code = "model_owner_not_allowed"


class OriginRefused(NotAllowed):
    """A web page of somebody else's asks a server that has no key."""

    code = "origin_not_allowed"


class HostRefused(OriginRefused):
    """The server is asked for under a name that is not its own."""

    code = "host_not_allowed"


class NotFound(InvalidRequest):
    status = 404
    type = "not_found_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """No such model: neither installed, nor in a catalog, nor on the hub."""

    code = "model_not_found"


class ModelNotInstalled(ModelNotFound):
    """A model that may exist, but is not on this machine; `reason` is why asking for it would not help."""

    def __init__(self, model_id: str, reason: str = "") -> None:
        advice = f". You can download the model using `POST /v1/models/{model_id}`"
        super().__init__(
            f"Model '{model_id}' is not installed locally" + (f": {reason}" if reason else advice), param="model"
        )


class WrongTask(ModelNotFound):
    """The model exists, but does something else than the route needs."""

    def __init__(self, model_id: str, task: str, wanted: str) -> None:
        super().__init__(
            f"Model '{model_id}' is not supported here: it does {task}, this route needs {wanted}",
            param="model",
        )


class ModelGated(SpeechError):
    """The hub wants a token with access to this model."""

    status = 401
    type = "authentication_error"
    code = "model_gated"


class Conflict(SpeechError):
    status = 409
    type = "conflict_error"


class ModelLoaded(Conflict):
    """Asked to load what is in memory already: Speaches' answer is 409."""

    code = "model_loaded"


class RequestIdNotUnique(Conflict):
    """Asked how far a request is whose X-Request-ID another one carries too."""

    code = "request_id_not_unique"


class ModelInUse(Conflict):
    code = "model_in_use"


class ModelNotRemovable(Conflict):
    """The model's files belong to somebody else: a package, a read-only cache, a folder of the user's."""

    code = "model_not_removable"


class SourceUnavailable(SpeechError):
    """A place models come from cannot be reached, or gave bytes that fail their checksum."""

    status = 502
    type = "upstream_error"
    code = "model_source_unavailable"


class ModelBroken(SpeechError):
    """A model on disk that its engine cannot load."""

    code = "model_broken"


class GpuUnavailable(Unavailable):
    """A GPU is needed, and there is none here, or one that cannot be computed on; the message says why."""

    code = "gpu_unavailable"


class LoadTimeout(SpeechError):
    status = 504
    code = "model_load_timeout"


class StorageFull(SpeechError):
    status = 507
    code = "storage_full"


class ModelTooLarge(SpeechError):
    """A model alone exceeds the memory budget."""

    status = 507
    code = "model_too_large"


class OutOfMemory(SpeechError):
    """A piece of work that finds no memory even when it is done alone, or a model that finds none to be loaded."""

    status = 507
    code = "out_of_memory"


class Busy(SpeechError):
    """A bounded queue is full; `retry_after` seconds is a guess at when it will not be."""

    status = 429
    type = "rate_limit_error"
    code = "busy"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ThreadsExhausted(Unavailable):
    """The system starts no more threads for this process (a limit on its pids)."""

    code = "threads_exhausted"


class Overloaded(Busy):
    """The server as a whole has no more room for requests, connections or bodies."""

    status = 503
    type = "service_unavailable_error"
    code = "overloaded"


class ShuttingDown(Unavailable):
    code = "shutting_down"


class DeviceFailed(Unavailable):
    """The GPU is lost to this process, which ends; `reason` is for its log."""

    code = "device_failed"

    def __init__(self, said: str) -> None:
        self.reason = f"the GPU failed ({said})"
        super().__init__(f"{self.reason}, and a new server takes this one's place: send the request again")


class NotSetUp(SpeechError):
    status = 501
    type = "not_implemented_error"


class LanguageModelUnset(NotSetUp):
    """Voice chat and realtime conversations need a language model, and none is configured."""

    code = "llm_not_configured"


class CallsUnavailable(NotSetUp):
    """Realtime over WebRTC is off, or its libraries are not installed."""

    code = "webrtc_unavailable"


class CallFailed(SpeechError):
    status = 504
    code = "call_failed"


class UpstreamError(SpeechError):
    """The language model behind voice chat is not reachable, or answered an error."""

    status = 502
    type = "upstream_error"
    code = "llm_unavailable"
