"""ONNX Runtime sessions the way speech wants them: quick to open, on the device that suits, and their runs can be
stopped."""

from __future__ import annotations

import ctypes
import logging
import mmap
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_server.engines.device import choose, onnxruntime_fault, way_out
from speech_server.engines.interfaces import EngineArgs, Options, Placement
from speech_server.errors import GpuUnavailable, ModelBroken

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

log = logging.getLogger(__name__)

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# The default search (EXHAUSTIVE) tries all algorithms again for every new length of audio, which for speech is every
# sentence, and HEURISTIC asks for a plan each time; the arena's own default doubles with every block that it takes.
_ON_CUDA: Options = {"cudnn_conv_algo_search": "DEFAULT", "arena_extend_strategy": "kSameAsRequested"}
_ARENA = 4 << 30  # bytes a session may take beside its weights
_WEIGHTS = 3  # times their size: the file's, and what is laid out anew of it
ON_CPU = EngineArgs("cpu")

# An ONNX model: y = Conv(x, w), x being (1, 1, 8) and w three ones. Made with onnx.helper.
_CONVOLUTION = (
    b'\x08\x08:a\n\x0f\n\x01x\n\x01w\x12\x01y"\x04Conv\x12\x01g*\x19\x08\x01\x08\x01\x08\x03\x10\x01B\x01wJ\x0c'
    b"\x00\x00\x80?\x00\x00\x80?\x00\x00\x80?Z\x17\n\x01x\x12\x12\n\x10\x08\x01\x12\x0c\n\x02\x08\x01\n\x02\x08\x01\n"
    b"\x02\x08\x08b\x17\n\x01y\x12\x12\n\x10\x08\x01\x12\x0c\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x06B\x04\n\x00\x10\r"
)

_current = threading.local()


class Stop:
    """While it is entered, this thread's runs end early once it is set, from any thread."""

    def __init__(self) -> None:
        import onnxruntime

        self._options = onnxruntime.RunOptions()

    def set(self) -> None:
        self._options.terminate = True

    def __enter__(self) -> None:
        _current.options = self._options

    def __exit__(self, *error: object) -> None:
        _current.options = None


class StoppableSession:
    """A session whose runs a Stop can end; any number of threads may call it. Stands in for the runtime's own in the
    libraries that take one.

    On a GPU they take turns: the runtime keeps one plan for each convolution, made for the lengths of the last run, and
    two threads would make each other's anew all the time.
    """

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._turn: AbstractContextManager[Any] = threading.Lock() if is_on_gpu(session) else nullcontext()

    def run(self, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
        with self._turn:
            results: list[Any] = self._session.run(outputs, inputs, getattr(_current, "options", None))
        return results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def open_session(model: Path | bytes, threads: int, args: EngineArgs = ON_CPU) -> InferenceSession:
    """A session for one model, a file or its content; `threads` work on one call.

    Files in int8 run on the CPU unless cuda is asked for. Raises ModelBroken, GpuUnavailable.
    """
    import onnxruntime

    options = session_options(threads)
    # Skips an allocation planner that takes most of the load time; neither speed nor memory change.
    options.enable_mem_reuse = False
    name = model if isinstance(model, Path) else "a network"
    content = str(model) if isinstance(model, Path) else model
    with opening(name):
        if wants_gpu(model, args):
            weights = model.stat().st_size if isinstance(model, Path) else len(model)
            providers = providers_for(args, cuda=True, weights=weights)
            with _going_without(name, args):
                session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
                require_gpu(session, name, args)
                return session
        return onnxruntime.InferenceSession(content, options, providers=providers_for(args, cuda=False))


@contextmanager
def _going_without(name: Path | str, args: EngineArgs) -> Iterator[None]:
    """What the GPU's provider raises is said, and is the end of it where the GPU is needed."""
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

    try:
        yield
    except (RuntimeError, ValueError, EPFail) as error:  # as the runtime's own fallback takes them
        _go_without(f"ONNX Runtime cannot run {name} on the GPU: {error}", args)


def _go_without(reason: str, args: EngineArgs) -> None:
    if args.device == "cuda" or args.require_gpu:
        raise GpuUnavailable(f"{reason}. {way_out(args)}")
    log.warning("%s: it runs on the CPU", reason)


def try_convolution(args: EngineArgs) -> None:
    """cuDNN is opened at the first. Raises what open_session raises."""
    import numpy as np

    session = open_session(_CONVOLUTION, 1, args)
    with opening("a convolution"):
        session.run(None, {"x": np.zeros((1, 1, 8), np.float32)})


def session_options(threads: int) -> SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def wants_gpu(model: Path | bytes, args: EngineArgs) -> bool:
    """Whether a model is to run on a GPU. Raises GpuUnavailable where it should and cannot."""
    if args.device != "auto" or not isinstance(model, Path):
        return choose(args, onnxruntime_fault) == "cuda"
    if args.require_gpu and is_quantized(model):  # for it there need not be one
        return False
    return choose(args, onnxruntime_fault) == "cuda" and not is_quantized(model)  # asked last: it reads the file


def is_quantized(model: Path) -> bool:
    """CUDA has no kernels for the steps into int8 and out of it: each would be a way to the CPU and back."""
    with model.open("rb") as file:
        if not model.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"uantizeLinear") >= 0  # Quantize, DynamicQuantize, Dequantize


def providers_for(args: EngineArgs, *, cuda: bool, weights: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """What a session may run on, the first to be asked first, with the user's options over ours. `weights`: bytes, for
    a limit to what the session may take of the card; without it there is none."""
    ours: Mapping[str, Options] = {_CPU: {}}
    if cuda:
        limit: Options = {"gpu_mem_limit": _ARENA + _WEIGHTS * weights} if weights else {}
        ours = {_CUDA: {**_ON_CUDA, **limit}, _CPU: {}}
    return [(name, {**options, **args.provider_options.get(name, {})}) for name, options in ours.items()]


def require_gpu(session: InferenceSession, name: Path | str, args: EngineArgs) -> None:
    """The runtime leaves out a provider that it cannot open, and says so to nobody; and goes on without one that fails
    later. Raises GpuUnavailable unless the CPU will do."""
    session.disable_fallback()
    if not is_on_gpu(session):
        runs = ", ".join(session.get_providers())
        _go_without(f"ONNX Runtime runs {name} on {runs}, not on the GPU: {_provider_fault()}", args)


def is_on_gpu(session: InferenceSession | StoppableSession) -> bool:
    return bool(session.get_providers()[:1] == [_CUDA])


def _provider_fault() -> str:
    """Which library it is that the provider's own cannot be opened for."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for name in ("libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"):
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f"{error}; python image/check_libraries.py opens every library there is"
    return "its libraries can be opened, so the driver or the card refused"


def placement_of(session: InferenceSession | StoppableSession, *, workers: int, threads: int) -> Placement:
    providers = tuple(session.get_providers())
    if providers[:1] != (_CUDA,):
        return Placement("cpu", workers, threads, providers=providers)
    number = int(session.get_provider_options()[_CUDA].get("device_id", 0))
    return Placement("cuda", workers, threads, providers=providers, gpus=(number,))


@contextmanager
def opening(model: Path | str) -> Iterator[None]:
    """What the runtime says of a model that it cannot run becomes ModelBroken."""
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    try:
        yield
    except (
        failures.EPFail,
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NoSuchFile,
        failures.NotImplemented,
        failures.RuntimeException,
    ) as error:
        raise ModelBroken(f"{model} cannot be loaded: {error}") from error


def network_in(folder: Path, file: str, what: str) -> Path:
    """Raises ModelBroken where the model of the folder, a `what`, lacks it."""
    if not (folder / file).is_file():
        raise ModelBroken(f"no {file} in {folder}: pull the {what} again")
    return folder / file


def require_names(session: StoppableSession, model: Path, takes: str, gives: str) -> None:
    """Raises ModelBroken for a network of another kind, now rather than at somebody's first request."""
    inputs, outputs = [node.name for node in session.get_inputs()], [node.name for node in session.get_outputs()]
    if inputs != [takes] or gives not in outputs:
        raise ModelBroken(f"{model} makes {outputs} of {inputs}, not {gives} of {takes}: it is another kind of model")
