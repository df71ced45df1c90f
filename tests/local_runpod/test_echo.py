"""Jobs through the real SDK."""

from __future__ import annotations

from tests.local_runpod.local_platform import LocalPlatform


def test_runsync_answers_the_output(platform: LocalPlatform) -> None:
    done = platform.runsync({"return": {"text": "héllo \U0001f600"}})
    assert done["status"] == "COMPLETED"
    assert done["output"] == {"text": "héllo \U0001f600"}
