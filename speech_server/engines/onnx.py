"""ONNX Runtime sessions the way speech synthesis wants them: quick to open, and their runs can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from speech_server.engines.interfaces import Options
from speech_server.errors import ModelBroken

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# The default (EXHAUSTIVE) tunes again for every new length of audio, which for speech is every sentence.
_OURS: Mapping[str, Options] = {_CUDA: {"cudnn_conv_algo_search": "HEURISTIC"}, _CPU: {}}
_current = threading.local()

Device = Literal["auto", "cpu", "cuda"]


class Stop:
    """While it is entered, this thread's runs end early once it is set, from any thread."""

    def __init__(self) -> None:
        import onnxruntime

        self._options = onnxruntime.RunOptions()

    def set(self) -> None:
        self._options.terminate = True

    def __enter__(self) -> None:
        _current.options = self._options

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _current.options = None


class StoppableSession:
    """A session whose runs a Stop can end; any number of threads may call it. Stands in for the runtime's own in the
    libraries that take one."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
        results: list[Any] = self._session.run(outputs, inputs, getattr(_current, "options", None))
        return results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def open_session(
    model: Path | bytes, threads: int, device: Device, provider_options: Mapping[str, Options] = {}
) -> InferenceSession:
    """A session for one model, a file or its bytes; `threads` work on one call. Raises ModelBroken."""
    import onnxruntime

    options = session_options(threads)
    # Skips an allocation planner that takes most of the load time; neither speed nor memory change.
    options.enable_mem_reuse = False
    given, name = (model, "a network") if isinstance(model, bytes) else (str(model), str(model))
    with opening(name):
        return onnxruntime.InferenceSession(given, options, providers=providers_for(device, provider_options))


def session_options(threads: int) -> SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def providers_for(device: Device, given: Mapping[str, Options] = {}) -> list[tuple[str, dict[str, Any]]]:
    """What a session runs on. Raises ModelBroken where a GPU was asked for and there is none."""
    cuda = device != "cpu" and has_cuda()
    if device == "cuda" and not cuda:
        raise ModelBroken("device cuda was asked for, but ONNX Runtime sees no GPU: use onnxruntime-gpu or device cpu")
    return providers(cuda, given)


def providers(cuda: bool, given: Mapping[str, Options]) -> list[tuple[str, dict[str, Any]]]:
    """What a session may run on, the first to be asked first, with the user's options over ours."""
    return [(name, {**_OURS[name], **given.get(name, {})}) for name in ((_CUDA, _CPU) if cuda else (_CPU,))]


@contextmanager
def opening(model: Path | str) -> Iterator[None]:
    """What the runtime says of a model that it cannot run becomes ModelBroken."""
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    try:
        yield
    except (
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NoSuchFile,
        failures.NotImplemented,
        failures.RuntimeException,
    ) as error:
        raise ModelBroken(f"{model} cannot be loaded: {error}") from error


def require_names(session: StoppableSession, model: Path, takes: str, gives: str) -> None:
    """Raises ModelBroken for a network of another kind, now rather than at somebody's first request."""
    inputs, outputs = [node.name for node in session.get_inputs()], [node.name for node in session.get_outputs()]
    if inputs != [takes] or gives not in outputs:
        raise ModelBroken(f"{model} makes {outputs} of {inputs}, not {gives} of {takes}: it is another kind of model")


def is_for_cuda() -> bool:
    """Whether the runtime that is installed is the one for GPUs, be there one now or not."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def has_cuda() -> bool:
    import ctranslate2

    return is_for_cuda() and ctranslate2.get_cuda_device_count() > 0
