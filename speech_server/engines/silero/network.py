"""Silero's network in a few large matrix products: the numbers of the published graph in a third of its time.

That graph convolves each frame for itself, a few columns at a time, which leaves most of a core's units idle. A frame
is always of one size, so here each of its convolutions is a matrix, and all frames are one product; its spectrum is a
real FFT instead of a product with 258 waves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speech_server.engines.silero.onnx_file import Graph, read_weights

STATE = 128  # numbers that the network remembers, twice
_WINDOW, _HOP, _WINDOWS = 256, 128, 4
_MIRROR = 64  # samples that the last window needs beyond the frame
_BANDS = _WINDOW // 2 + 1
_STEPS = (1, 2, 2, 1)  # of the convolutions
_BASIS, _TELL = "encoder.feature_extractor.forward_basis_buffer", "decoder.conv1d"
_MEMORY = ("onnx::LSTM_209", "onnx::LSTM_210", "onnx::LSTM_211")
_LAYERS = tuple(f"encoder.conv_layers.{number}" for number in range(4))
_CHANNELS = (_BANDS, 128, 64, 64, STATE)
_SHAPES: dict[str, tuple[int, ...]] = {
    _BASIS: (2 * _BANDS, 1, _WINDOW),
    **{f"{name}.weight": (_CHANNELS[at + 1], _CHANNELS[at], 3) for at, name in enumerate(_LAYERS)},
    **{f"{name}.bias": (_CHANNELS[at + 1],) for at, name in enumerate(_LAYERS)},
    **dict(zip(_MEMORY, ((1, 4 * STATE, STATE), (1, 4 * STATE, STATE), (1, 8 * STATE)), strict=True)),
    f"{_TELL}.weight": (1, STATE, 1),
    f"{_TELL}.bias": (1,),
}
_HANN = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)


def spectra(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 576) samples -> (n, 516): how loud each of 129 bands is in four windows."""
    windows = np.empty((len(frames), _WINDOWS, _WINDOW), np.float32)
    for number in range(_WINDOWS):
        within = frames[:, number * _HOP : number * _HOP + _WINDOW]
        windows[:, number, : within.shape[1]] = within
    windows[:, -1, -_MIRROR:] = frames[:, -2 : -2 - _MIRROR : -1]
    windows *= _HANN
    loudness: NDArray[np.float32] = np.abs(np.fft.rfft(windows)).astype(np.float32, copy=False)
    return loudness.reshape(len(frames), _WINDOWS * _BANDS)


def rewrite(published: bytes) -> bytes | None:
    """A graph that takes `spectra` and the state, with the published one's weights; None for another network."""
    weights = read_weights(published)
    if any(weights.get(name, np.empty(0)).shape != shape for name, shape in _SHAPES.items()):
        return None
    if not np.allclose(weights[_BASIS][:, 0], _waves(), atol=1e-6):
        return None
    state = (1, 1, STATE)
    graph = Graph(
        {"input": (None, _WINDOWS * _BANDS), "h": state, "c": state}, {"speech": (None, 1), "hn": state, "cn": state}
    )
    at, length = "input", _WINDOWS
    for number, (name, step) in enumerate(zip(_LAYERS, _STEPS, strict=True)):
        matrix = _matrix(weights[f"{name}.weight"], length, step)
        length = (length - 1) // step + 1
        terms = [at, graph.constant(f"w{number}", matrix)]
        terms.append(graph.constant(f"b{number}", np.tile(weights[f"{name}.bias"], length)))
        at = graph.node("Relu", [graph.node("Gemm", terms, f"sum{number}")], f"layer{number}")
    at = graph.node("Unsqueeze", [at, graph.constant("batch", np.array([1]))], "in_order")
    memory = [graph.constant(name, weights[name]) for name in _MEMORY]
    at = graph.node("LSTM", [at, *memory, "", "h", "c"], "remembered", "hn", "cn", hidden_size=STATE)
    at = graph.node("Reshape", [at, graph.constant("flat", np.array([-1, STATE]))], "rows")
    terms = [graph.node("Relu", [at], "known"), graph.constant("wt", weights[f"{_TELL}.weight"][0])]
    at = graph.node("Gemm", [*terms, graph.constant("bt", weights[f"{_TELL}.bias"])], "told")
    graph.node("Sigmoid", [at], "speech")
    return graph.to_bytes()


def _matrix(kernel: NDArray[np.float32], length: int, step: int) -> NDArray[np.float32]:
    """A convolution of `length` columns, with a column of zeros on either side, as the matrix it is."""
    outputs, inputs, taps = kernel.shape
    columns = (length - 1) // step + 1
    matrix = np.zeros((length, inputs, columns, outputs), np.float32)
    for column in range(columns):
        for tap in range(taps):
            if 0 <= (place := column * step + tap - 1) < length:
                matrix[place, :, column] = kernel[:, :, tap].T
    return matrix.reshape(length * inputs, columns * outputs)


def _waves() -> NDArray[np.float32]:
    """What a published network of this kind multiplies with to have a spectrum: it must be an FFT's."""
    turns = np.fft.rfft(np.eye(_WINDOW)).T * _HANN
    return np.concatenate((turns.real, turns.imag)).astype(np.float32)
