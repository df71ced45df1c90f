"""What the GPU benchmark holds a card to, the models it makes up, and that a section's end is never the report's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import rows as gpu
from benchmarks.gpu.cards import find_card
from benchmarks.gpu.made_up import FIRST_WORD, write_model
from benchmarks.gpu.shapes import LARGE, TINY, TOKENS, TURBO
from benchmarks.gpu.steps import encoded, generate
from benchmarks.markdown import as_markdown
from benchmarks.report import Report


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(TINY, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(
    ("driver", "ours"),
    [
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 2060", None),
    ],
)
def test_a_card_is_found_by_what_the_driver_calls_it(driver, ours):
    card = find_card(driver)
    assert (card and card.name) == ours


def test_the_arithmetic_agrees_with_what_is_known_of_the_models():
    assert TURBO.encoding(30) == pytest.approx(2.27e12, rel=0.01)
    assert LARGE.cached(beam=5) == pytest.approx(0.33e9, rel=0.05)
    assert TURBO.cached(beam=5) == pytest.approx(0.05e9, rel=0.25)
    assert LARGE.weights == pytest.approx(1.55e9 * 2, rel=0.05)  # so many parameters
    h200 = find_card("NVIDIA H200")
    assert h200
    assert h200.encoding(TURBO, 30) == pytest.approx(0.007, rel=0.05)  # seen


def test_a_made_up_model_is_as_large_as_the_formula_says(tiny):
    assert (tiny / "model.bin").stat().st_size == pytest.approx(TINY.weights, rel=0.02)


def test_a_model_is_made_up_once(tiny):
    made = (tiny / "model.bin").stat().st_mtime_ns
    assert write_model(TINY, tiny.parent) == tiny
    assert (tiny / "model.bin").stat().st_mtime_ns == made
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("timed", [False, True], ids=["text", "timed"])
@pytest.mark.parametrize("beam", [1, 5])
def test_a_made_up_model_says_its_words_and_ends(tiny, beam, timed):
    import ctranslate2

    model = ctranslate2.models.Whisper(str(tiny), "cpu", compute_type="int8", intra_threads=1)
    assert model.is_multilingual  # the engine's prompt is another's otherwise
    first, second = generate(model, encoded(model, TINY, 2), 2, beam, timed=timed)
    said = [token for token in first.sequences_ids[0] if token < 50_257]
    assert said == list(range(FIRST_WORD, FIRST_WORD + TOKENS))
    assert second.sequences_ids[0] == first.sequences_ids[0]


def test_what_a_section_tells_is_in_the_report_with_what_it_left_out(capsys):
    report = Report("gpu")
    gpu.tell(report, '{"row": {"figure": "a step", "value": 3, "unit": "ms", "against": "1", "at_most": 2}}')
    gpu.tell(report, '{"skipped": ["another", "out of memory | tried\\n32"]}')
    assert report.rows[0].holds is False
    record = {
        "benchmark": "gpu",
        "at": "2026-01-01T00:00:00+00:00",
        "machine": {"cpu": "some", "cores": 2, "card": "one"},
        "rows": [{**vars(report.rows[0]), "holds": report.rows[0].holds}],
        "skipped": report.skipped,
    }
    text = as_markdown(record)
    assert "- card: one" in text
    assert "| a step | 3 ms **missed** | ≤ 2 | 1 |" in text
    assert "| another | out of memory \\| tried 32 |" in text


def test_a_section_that_takes_too_long_is_ended_and_the_reason_told(tmp_path, capsys):
    report = Report("gpu")
    gpu._section(report, "steps", tmp_path, tiny=True, limit=0.01)  # a process takes longer to begin
    assert report.skipped == [("the rest of steps", "it took longer than 0.01 s")]


def test_a_section_that_dies_tells_its_last_words(tmp_path, capsys):
    report = Report("gpu")
    gpu._section(report, "nothing", tmp_path, tiny=True, limit=60)
    [(figure, reason)] = report.skipped
    assert figure == "the rest of nothing"
    assert "ended with 2" in reason
    assert "invalid choice: 'nothing'" in reason


def test_without_a_card_only_the_tiny_form_measures_the_card_s_sections(tmp_path, capsys):
    if gpu.find_driver():
        pytest.skip("there is a card")
    report = Report("gpu")
    gpu._section(report, "steps", tmp_path, tiny=False, limit=60)
    assert report.rows == []
    assert report.skipped == [("section A", "CTranslate2 finds no CUDA card here: --tiny runs it on a CPU")]


def test_flags_of_another_benchmark_are_refused():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "stt", "--tiny"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--tiny and --section are of gpu" in done.stderr


def test_the_rules_of_timestamps_are_expected_to_cost_by_row():
    l4 = find_card("NVIDIA L4")
    assert l4
    text, timed = (l4.step(TURBO, batch=16, beam=5, timed=timed) for timed in (False, True))
    assert timed - text == pytest.approx(0.010)  # for 80 rows
    assert l4.step(LARGE, batch=32, beam=5) > 7 * l4.step(TURBO, batch=32, beam=5)  # bound by memory


def test_what_a_library_prints_in_a_section_is_no_row(capsys):
    report = Report("gpu")
    gpu.tell(report, "[warning] something of a library\n")
    assert (report.rows, report.skipped) == ([], [])
    assert "something of a library" in capsys.readouterr().out
