"""Which files of a folder or repository are a checkpoint's weights, whatever their names claim."""

from __future__ import annotations

import tracemalloc

from speech_server.models.disk.checkpoints import weight_files

PARTS = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]


def test_all_parts_or_none_are_the_weights():
    assert weight_files(["config.json", *reversed(PARTS)]) == PARTS
    assert weight_files(PARTS[:2]) == []


def test_a_count_of_none_hides_no_weights():
    assert weight_files(["model-00001-of-00000.safetensors", *PARTS]) == PARTS


def test_a_name_that_claims_many_others_costs_nothing():
    """A repository may have a hundred thousand names, each with another count."""
    names = {f"model-00001-of-{count}.safetensors" for count in range(99_990, 100_000)}
    tracemalloc.start()
    try:
        assert weight_files(names) == []
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
