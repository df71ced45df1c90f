"""pyannote segmentation with a network of its shape: each frame of ten seconds says who speaks: nobody, one, two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from speech_server.domain import RATE, Activity, Samples
from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.pyannote import engine as pyannote
from speech_server.engines.pyannote.engine import WINDOW, PyannoteSegmenter
from speech_server.errors import ModelBroken
from tests.speech_server.networks import HIGH, LOW, conversation, pyannote_folder


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PyannoteSegmenter]:
    engine = pyannote.load(pyannote_folder(tmp_path_factory.mktemp("pyannote")), EngineArgs())
    yield engine
    engine.close()


async def given(*windows: Samples) -> AsyncIterator[Samples]:
    for window in windows:
        yield window


async def segmented(segmenter: PyannoteSegmenter, *windows: Samples) -> list[Activity]:
    return [activity async for activity in segmenter.segment(given(*windows))]


def window(low: tuple[float, float], high: tuple[float, float]) -> Samples:
    """Ten seconds in which each of two people speaks from second to second."""
    return conversation(WINDOW / RATE, [(LOW, *low), (HIGH, *high)])


def times(segmenter: PyannoteSegmenter, activity: Activity) -> list[tuple[float, float]]:
    """Where each person's frames begin and end, in seconds."""
    middles = (np.arange(len(activity)) * segmenter.step + segmenter.middle) / RATE
    return [(middles[own].min(), middles[own].max()) if own.any() else (0.0, 0.0) for own in activity.T]


@pytest.mark.anyio
async def test_who_speaks_when_and_who_at_once(segmenter: PyannoteSegmenter):
    (activity,) = await segmented(segmenter, window((1, 5), (4, 8.5)))
    assert activity.shape == (589, 3)
    low, high, nobody = times(segmenter, activity)
    assert low == pytest.approx((1, 5), abs=0.05)
    assert high == pytest.approx((4, 8.5), abs=0.05)
    assert nobody == (0.0, 0.0)
    both = activity[:, 0] & activity[:, 1]
    assert both.sum() * segmenter.step / RATE == pytest.approx(1, abs=0.1)


def test_another_kind_of_network_is_a_broken_model(tmp_path: Path):
    with pytest.raises(ModelBroken, match=r"no onnx/model\.onnx"):
        pyannote.load(tmp_path, EngineArgs())
    model = pyannote_folder(tmp_path) / pyannote.FILE
    model.write_bytes(model.read_bytes().replace(b"logits", b"labels"))
    with pytest.raises(ModelBroken, match="not logits of input_values"):
        pyannote.load(tmp_path, EngineArgs())
