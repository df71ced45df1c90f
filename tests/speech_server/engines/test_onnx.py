from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from speech_server.engines.onnx import Stop, StoppableSession, open_session
from speech_server.errors import ModelBroken
from tests.conftest import PIPER
from tests.speech_server.conftest import model_folder

INPUTS = {
    "input": np.ones((1, 20), np.int64),
    "input_lengths": np.array([20], np.int64),
    "scales": np.array([0.6, 1.0, 0.8], np.float32),
}


@pytest.fixture(scope="module")
def session() -> StoppableSession:
    return StoppableSession(open_session(model_folder(PIPER) / "model.onnx", 1, "cpu"))


def test_a_set_stop_ends_the_runs_of_its_thread_and_no_others(session: StoppableSession):
    stop = Stop()
    with stop:
        assert session.run(None, INPUTS)
        stop.set()
        with pytest.raises(Fail, match="terminate"):
            session.run(None, INPUTS)
    assert session.run(None, INPUTS)


@pytest.mark.parametrize("content", [b"", b"this is no model", None])
def test_a_file_that_is_no_model_is_broken(tmp_path: Path, content: bytes | None):
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(ModelBroken, match=r"model\.onnx"):
        open_session(model, 1, "cpu")


def test_cuda_without_a_gpu_is_an_error_that_says_so():
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        assert open_session(model_folder(PIPER) / "model.onnx", 1, "cuda")
        return
    with pytest.raises(ModelBroken, match="onnxruntime-gpu"):
        open_session(model_folder(PIPER) / "model.onnx", 1, "cuda")
