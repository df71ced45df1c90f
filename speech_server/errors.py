"""Every failure the speech server can report; app.py turns them into replies."""

from __future__ import annotations


class SpeechError(Exception):
    """A failure with an HTTP status; `message` is meant for the client and says what to do.

    `type`, `code` and `param` fill OpenAI's error envelope.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init_subclass__(cls, *, status: int | None = None, kind: str | None = None, code: str | None = None) -> None:
        """What a class does not name is its parent's; `kind` is its `type`."""
        cls.status, cls.type, cls.code = status or cls.status, kind or cls.type, code or cls.code

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class Unavailable(SpeechError, status=503, kind="service_unavailable_error"):
    """This server cannot, now; another one, or this one later, can."""


class ConfigurationInvalid(SpeechError, code="configuration_invalid"):
    """A file the server reads at start is not as it should be; the server does not start."""


class InvalidRequest(SpeechError, status=400, kind="invalid_request_error"):
    """The request cannot be right, whatever the server's state."""


class AudioUnreadable(InvalidRequest, status=415, code="unsupported_audio"):
    """The upload is no audio any decoder here can read, or has no bytes."""


class LenderFailed(SpeechError, status=502, code="lender_failed"):
    """A part of a file that was lent, not uploaded, could not be had."""


class RequestTooLarge(InvalidRequest, status=413, code="too_large"): ...


class HeadersTooLarge(InvalidRequest, status=431, code="headers_too_large"): ...


class RequestTimeout(InvalidRequest, status=408, code="request_timeout"):
    """The client did not send its request in time."""


class Forbidden(SpeechError, status=403, kind="authentication_error", code="invalid_api_key"):
    """Missing or wrong API key. `status` is AUTH_FAILURE_STATUS (403, or OpenAI's 401)."""


class SecretRefused(Forbidden, status=401, code="invalid_client_secret"):
    """A client secret that opens nothing: forged, expired, or used."""


class NotAllowed(SpeechError, status=403, kind="permission_error"):
    """What the server's operator lets no caller do, whatever key they have."""


class ManagementOff(NotAllowed, code="model_management_off"): ...


class OwnerNotAllowed(NotAllowed, code="model_owner_not_allowed"): ...


class OriginRefused(NotAllowed, code="origin_not_allowed"):
    """A web page of somebody else's asks a server that has no key."""


class HostRefused(OriginRefused, code="host_not_allowed"):
    """The server is asked for under a name that is not its own."""


class NotFound(InvalidRequest, status=404, kind="not_found_error", code="not_found"): ...


class ModelNotFound(NotFound, code="model_not_found"):
    """No such model: neither installed, nor in a catalog, nor on the hub."""


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


class ModelGated(SpeechError, status=401, kind="authentication_error", code="model_gated"):
    """The hub wants a token with access to this model."""


class Conflict(SpeechError, status=409, kind="conflict_error"): ...


class ModelLoaded(Conflict, code="model_loaded"):
    """Asked to load what is in memory already: Speaches' answer is 409."""


class RequestIdNotUnique(Conflict, code="request_id_not_unique"):
    """Asked how far a request is whose X-Request-ID another one carries too."""


class ModelInUse(Conflict, code="model_in_use"): ...


class ModelNotRemovable(Conflict, code="model_not_removable"):
    """The model's files belong to somebody else: a package, a read-only cache, a folder of the user's."""


class SourceUnavailable(SpeechError, status=502, kind="upstream_error", code="model_source_unavailable"):
    """A place models come from cannot be reached, or gave bytes that fail their checksum."""


class ModelBroken(SpeechError, code="model_broken"):
    """A model on disk that its engine cannot load."""


class GpuUnavailable(Unavailable, code="gpu_unavailable"):
    """A GPU is needed, and there is none here, or one that cannot be computed on; the message says why."""


class LoadTimeout(SpeechError, status=504, code="model_load_timeout"): ...


class StorageFull(SpeechError, status=507, code="storage_full"): ...


class ModelTooLarge(SpeechError, status=507, code="model_too_large"):
    """A model alone exceeds the memory budget."""


class OutOfMemory(SpeechError, status=507, code="out_of_memory"):
    """A piece of work that finds no memory even when it is done alone, or a model that finds none to be loaded."""


class Busy(SpeechError, status=429, kind="rate_limit_error", code="busy"):
    """A bounded queue is full; `retry_after` seconds is a guess at when it will not be."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ThreadsExhausted(Unavailable, code="threads_exhausted"):
    """The system starts no more threads for this process (a limit on its pids)."""


class Overloaded(Busy, status=503, kind="service_unavailable_error", code="overloaded"):
    """The server as a whole has no more room for requests, connections or bodies."""


class ShuttingDown(Unavailable, code="shutting_down"): ...


class DeviceFailed(Unavailable, code="device_failed"):
    """The GPU is lost to this process, which ends; `reason` is for its log."""

    def __init__(self, said: str) -> None:
        self.reason = f"the GPU failed ({said})"
        super().__init__(f"{self.reason}, and a new server takes this one's place: send the request again")


class NotSetUp(SpeechError, status=501, kind="not_implemented_error"): ...


class LanguageModelUnset(NotSetUp, code="llm_not_configured"):
    """Voice chat and realtime conversations need a language model, and none is configured."""


class CallsUnavailable(NotSetUp, code="webrtc_unavailable"):
    """Realtime over WebRTC is off, or its libraries are not installed."""


class CallFailed(SpeechError, status=504, code="call_failed"): ...


class UpstreamError(SpeechError, status=502, kind="upstream_error", code="llm_unavailable"):
    """The language model behind voice chat is not reachable, or answered an error."""
