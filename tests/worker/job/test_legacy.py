"""Jobs written for worker-faster_whisper become ours."""

from __future__ import annotations

from typing import Any

import pytest

from worker.errors import InvalidJob
from worker.job.parse import parse_job

URL = "https://example.com/talk.mp3"
# From worker-faster_whisper's test_input.json and its documentation: every option at its default.
FULL = {
    "audio": URL,
    "model": "base",
    "transcription": "plain_text",
    "translate": False,
    "translation": "plain_text",
    "language": "en",
    "temperature": 0,
    "best_of": 5,
    "beam_size": 5,
    "patience": 1,
    "length_penalty": 0,
    "suppress_tokens": "-1",
    "initial_prompt": "Names: Ada, Grace.",
    "condition_on_previous_text": False,
    "temperature_increment_on_fallback": 0.2,
    "compression_ratio_threshold": 2.4,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
    "enable_vad": True,
    "word_timestamps": False,
}


def parsed(raw: dict[str, Any]):
    return parse_job({"id": "a", "input": raw})


def test_a_full_job_asks_for_the_same_thing():
    request = parsed(FULL)
    assert (request.method, request.path) == ("POST", "/v1/audio/transcriptions")
    assert request.body == {
        "model": "base",
        "response_format": "verbose_json",
        "language": "en",
        "temperature": 0,
        "prompt": "Names: Ada, Grace.",
        "vad_filter": True,
    }
    (file,) = request.files
    assert (file.kind, file.value) == ("url", URL)


def test_the_shortest_job_is_enough():
    assert parsed({"audio": URL}).body == {"model": "base", "response_format": "verbose_json"}


def test_base64_audio_is_a_file():
    (file,) = parsed({"audio_base64": "UklGRg=="}).files
    assert (file.kind, file.value) == ("base64", "UklGRg==")


@pytest.mark.parametrize("wanted", ["srt", "vtt"])
def test_subtitles_are_subtitles(wanted: str):
    assert parsed({"audio": URL, "transcription": wanted}).body["response_format"] == wanted


def test_word_times_need_the_long_form():
    body = parsed({"audio": URL, "transcription": "srt", "word_timestamps": True}).body
    assert (body["response_format"], body["timestamp_granularities"]) == ("verbose_json", ["segment", "word"])


def test_a_translation_is_a_translation_in_its_own_format():
    request = parsed({"audio": URL, "translate": True, "transcription": "srt", "translation": "vtt"})
    assert (request.path, request.body["response_format"]) == ("/v1/audio/translations", "vtt")


def test_our_own_keys_may_stand_beside_theirs():
    request = parsed({"audio": URL, "timeout": 5, "stream": True})
    assert (request.timeout, request.stream) == (5.0, True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"beam_size": 1}, "input.beam_size: only 5"),
        ({"transcription": "word"}, "input.transcription: must be one of"),
        ({"translate": True, "translation": "word"}, "input.translation: must be one of"),
        ({"file_url": URL}, "input.file_url: not a known key"),
        ({"audio_base64": "UklGRg=="}, "input.audio_base64: there is audio already"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(change: dict[str, Any], field: str):
    with pytest.raises(InvalidJob) as refused:
        parsed({"audio": URL, **change})
    assert field in refused.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"audio": None}, "input.audio: is null"),
        ({"audio": 5}, "input.audio: must be text, not a number"),
        ({"audio": ""}, "input.audio: is empty"),
        ({"audio": None, "audio_base64": []}, "input.audio_base64: must be text, not a list"),
    ],
)
def test_an_audio_that_is_none_is_refused_in_the_words_that_were_sent(change: dict[str, Any], words: str):
    with pytest.raises(InvalidJob) as refused:
        parsed({"audio": URL, **change})
    assert words in refused.value.message


def test_what_goes_wrong_with_the_audio_later_has_its_name_too():
    assert parsed({"audio": URL}).files[0].where == "input.audio"
    assert parsed({"audio_base64": "UklGRg=="}).files[0].where == "input.audio_base64"
