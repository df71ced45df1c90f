"""An example is a guide: it fits in thirty lines, imports left out, and shows an interface that there is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXAMPLES = sorted(set(Path(__file__).parent.glob("[!_]*.py")) - {Path(__file__)})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_engine_takes_thirty_lines(path: Path):
    text = path.read_text()
    body = ast.parse(text).body
    first = next(node for node in body[1:] if not isinstance(node, ast.Import | ast.ImportFrom))
    lines = [line for line in text.splitlines()[first.lineno - 1 :] if line.strip()]
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 120


def test_there_is_one_for_every_kind_of_engine():
    interfaces = (ROOT / "speech_server/engines/interfaces.py").read_text()
    kinds = {"Transcriber", "Speaker", "VoiceEncoder", "Segmenter", "VoiceDetector", "TurnModel"}
    assert all(f"class {kind}(" in interfaces for kind in kinds)
    assert {path.stem.replace("_", "") for path in EXAMPLES} == {kind.lower() for kind in kinds}
