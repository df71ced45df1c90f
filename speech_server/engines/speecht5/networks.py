"""SpeechT5's three networks: characters to states, states to a spectrogram two frames at a step, that to sound.

The names and shapes are those of optimum's export (optimum/exporters/onnx, SpeechT5OnnxConfig, variant with-past).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speech_server.domain import Embeddings, Samples
from speech_server.engines.onnx import StoppableSession
from speech_server.errors import ModelBroken

RATE = 16_000
_STOP = 0.5  # how probable the end must be
_FRAMES_A_CHARACTER = 20  # the longest a text may last: the reference's maxlenratio
_FRAMES_A_STEP = 2
_MOST_STEPS = 1876  # the positions the decoder has for sound: 60 s
_PAST, _PRESENT = "past_key_values.", "present."
_DECODER_INPUTS = frozenset(
    ("use_cache_branch", "output_sequence", "speaker_embeddings", "encoder_hidden_states", "encoder_attention_mask")
)

Feeds = dict[str, NDArray[Any]]


class Networks:
    """Three open sessions; any number of threads may speak at once. Raises ModelBroken for other models' sessions."""

    def __init__(self, encoder: StoppableSession, decoder: StoppableSession, vocoder: StoppableSession) -> None:
        self._encoder, self._decoder, self._vocoder = encoder, decoder, vocoder
        _require("encoder", encoder, ["input_ids"], ["encoder_outputs", "encoder_attention_mask"])
        _require("decoder", decoder, _DECODER_INPUTS, ["output_sequence_out", "spectrum", "prob"])
        _require("vocoder", vocoder, ["spectrogram"], ["waveform"])
        self._outputs = [output.name for output in decoder.get_outputs()]
        shapes = {wanted.name: wanted.shape for wanted in decoder.get_inputs()}
        self._first: Feeds = {
            "output_sequence": np.zeros(_shape(shapes["output_sequence"], (1, 1, 80)), np.float32),
            **{
                name: np.zeros(_shape(shape, (1, 12, 0, 64)), np.float32)  # nothing yet
                for name, shape in shapes.items()
                if name.startswith(_PAST)
            },
        }

    def speak(self, tokens: Sequence[int], voice: Embeddings) -> Samples:
        """Samples at RATE. Ends between two steps, or within one, when the thread's Stop is set."""
        hidden, mask = self._encoder.run(
            ["encoder_outputs", "encoder_attention_mask"], {"input_ids": np.array([tokens], np.int64)}
        )
        spectrogram = np.concatenate(list(self._spectra(hidden, mask, voice)))
        (sound,) = self._vocoder.run(["waveform"], {"spectrogram": spectrogram})
        return np.asarray(sound, np.float32).reshape(-1)

    def _spectra(self, hidden: NDArray[Any], mask: NDArray[Any], voice: Embeddings) -> Iterator[NDArray[Any]]:
        """(2, bands) for each step."""
        feeds: Feeds = {
            **self._first,
            "encoder_hidden_states": hidden,
            "encoder_attention_mask": mask,
            "speaker_embeddings": voice,
        }
        longest = min(hidden.shape[1] * _FRAMES_A_CHARACTER // _FRAMES_A_STEP, _MOST_STEPS)
        for step in range(longest):
            first = step == 0
            feeds["use_cache_branch"] = np.array([not first])
            outputs = dict(zip(self._outputs, self._decoder.run(self._outputs, feeds), strict=True))
            yield outputs["spectrum"]
            if np.any(outputs["prob"] >= _STOP):
                return
            feeds["output_sequence"] = outputs["output_sequence_out"]
            # What the text's states are to every layer is known after the first step, and not told again.
            feeds |= {
                _PAST + name.removeprefix(_PRESENT): value
                for name, value in outputs.items()
                if name.startswith(_PRESENT) and (first or ".decoder." in name)
            }


def _require(network: str, session: StoppableSession, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    missing = {*inputs} - {one.name for one in session.get_inputs()}
    missing |= {*outputs} - {one.name for one in session.get_outputs()}
    if missing:
        raise ModelBroken(f"the {network} is not SpeechT5's: it lacks {', '.join(sorted(missing))}")


def _shape(declared: Sequence[object], usual: tuple[int, ...]) -> list[int]:
    """The declared sizes where they are numbers; the batch and what grows are the usual ones."""
    if len(declared) != len(usual):
        raise ModelBroken(f"the decoder is not SpeechT5's: it has an input of {len(declared)} dimensions")
    return [size if isinstance(size, int) else normal for size, normal in zip(declared, usual, strict=True)]
