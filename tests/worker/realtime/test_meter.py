from __future__ import annotations

import base64
import json

import pytest

from worker.realtime.meter import Meter

SECOND = base64.b64encode(bytes(48_000)).decode()


def test_audio_each_way_is_counted_in_seconds_and_commits_in_turns():
    meter = Meter()
    meter.from_client(json.dumps({"type": "input_audio_buffer.append", "audio": SECOND}))
    meter.from_client(json.dumps({"audio": SECOND, "type": "input_audio_buffer.append"}))
    meter.from_client(json.dumps({"type": "session.update", "session": {"instructions": "audio"}}))
    meter.from_server(json.dumps({"type": "response.output_audio.delta", "delta": SECOND}))
    meter.from_server(json.dumps({"type": "response.output_audio_transcript.delta", "delta": "words"}))
    meter.from_server(json.dumps({"type": "input_audio_buffer.committed", "item_id": "item_1"}))
    assert (meter.heard, meter.spoken, meter.turns) == (2.0, 1.0, 1)


def test_audio_of_a_translation_is_counted():
    meter = Meter()
    meter.from_client(json.dumps({"type": "session.input_audio_buffer.append", "audio": SECOND}))
    meter.from_server(json.dumps({"type": "session.output_audio.delta", "delta": SECOND}))
    assert (meter.heard, meter.spoken) == (1.0, 1.0)


@pytest.mark.parametrize(
    "session",
    [
        {"audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}},
        {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_alaw"},
    ],
)
def test_telephone_audio_is_counted_by_its_own_rate(session: dict[str, object]):
    meter = Meter()
    meter.from_server(json.dumps({"type": "session.updated", "session": session}))
    meter.from_client(json.dumps({"type": "input_audio_buffer.append", "audio": SECOND}))
    meter.from_server(json.dumps({"type": "response.audio.delta", "delta": SECOND}))
    assert (meter.heard, meter.spoken) == (6.0, 6.0)


@pytest.mark.parametrize("message", ['{"type":"session.created"', '{"type":"session.created","session":7}', ""])
def test_what_cannot_be_read_counts_nothing(message: str):
    meter = Meter()
    meter.from_server(message)
    meter.from_client(message)
    assert (meter.heard, meter.spoken, meter.turns) == (0.0, 0.0, 0)
