"""Models that a GPU does not help stay on the CPU beside one, and ask for none where one is required."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speech_server.engines.interfaces import EngineArgs
from speech_server.engines.piper import engine as piper
from speech_server.engines.smart_turn import engine as smart_turn
from speech_server.engines.speecht5 import engine as speecht5
from tests.conftest import PIPER
from tests.speech_server.conftest import model_folder
from tests.speech_server.engines.speecht5.tiny import write_model
from tests.speech_server.networks import smart_turn_folder


def _piper(_: Path, args: EngineArgs) -> Any:
    return piper.load(model_folder(PIPER), args)


def _speecht5(folder: Path, args: EngineArgs) -> Any:
    return speecht5.load(write_model(folder, voices={"slt": 0.25}), args)


def _smart_turn(folder: Path, args: EngineArgs) -> Any:
    return smart_turn.load(smart_turn_folder(folder), args)


@pytest.mark.usefixtures("looks_usable")
@pytest.mark.parametrize("load", [_piper, _speecht5, _smart_turn])
@pytest.mark.parametrize("args", [EngineArgs(workers=1), EngineArgs(workers=1, require_gpu=True)])
def test_it_runs_on_the_cpu_and_nobody_is_warned(
    load: Callable[[Path, EngineArgs], Any], args: EngineArgs, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        engine = load(tmp_path, args)
    engine.close()
    assert (engine.placement.device, engine.placement.providers) == ("cpu", ("CPUExecutionProvider",))
    assert caplog.text == ""
