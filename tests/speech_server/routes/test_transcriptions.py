"""Transcription and translation over HTTP, with a real Whisper."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.audio.transcription_text_done_event import Logprob

from tests.conftest import WHISPER
from tests.speech_server.routes.conftest import silence

HEAR = "/v1/audio/transcriptions"
WORDS = "the quick brown fox jumps over the lazy dog speech on demand paid by the second"


def hear(client: httpx.Client, audio: Path | bytes, path: str = HEAR, **form: Any) -> httpx.Response:
    content = audio if isinstance(audio, bytes) else audio.read_bytes()
    response = client.post(path, files={"file": ("clip", content)}, data={"model": WHISPER, **form})
    assert response.status_code == 200, response.text
    return response


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def events(text: str) -> list[dict[str, Any]]:
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_json_has_the_text_and_the_seconds(client: httpx.Client, english: Path):
    body = hear(client, english).json()
    assert plain(body["text"]) == WORDS
    assert body["text"] == body["text"].strip()
    assert body["usage"] == {"type": "duration", "seconds": 6}
    assert set(body) == {"text", "usage", "languages"}


def test_text_is_only_the_text(client: httpx.Client, english: Path):
    response = hear(client, english, response_format="text")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain(response.text) == WORDS


def test_verbose_json_has_segments_in_order(client: httpx.Client, english: Path):
    body = hear(client, english, response_format="verbose_json").json()
    assert (body["task"], body["language"], body["words"]) == ("transcribe", "en", None)
    assert 5 < body["duration"] < 5.6
    times = [time for segment in body["segments"] for time in (segment["start"], segment["end"])]
    assert times == sorted(times)
    assert [segment["id"] for segment in body["segments"]] == list(range(len(body["segments"])))
    assert plain("".join(segment["text"] for segment in body["segments"])) == WORDS


@pytest.mark.parametrize("field", ["timestamp_granularities[]", "timestamp_granularities"])
def test_words_have_their_times(client: httpx.Client, english: Path, field: str):
    body = hear(client, english, response_format="verbose_json", **{field: ["word", "segment"]}).json()
    assert plain(" ".join(word["word"] for word in body["words"])) == WORDS
    assert all(word["start"] <= word["end"] <= body["duration"] for word in body["words"])


def test_granularities_may_come_as_json(client: httpx.Client, english: Path):
    body = hear(client, english, response_format="verbose_json", timestamp_granularities='["word"]').json()
    assert body["words"]


def test_srt_is_numbered_and_inside_its_limits(client: httpx.Client, english: Path):
    response = hear(client, english, response_format="srt")
    assert response.headers["content-type"].startswith("application/x-subrip")
    cues = response.text.strip().split("\n\n")
    assert [cue.split("\n")[0] for cue in cues] == [str(number) for number in range(1, len(cues) + 1)]
    assert plain(" ".join(line for cue in cues for line in cue.split("\n")[2:])) == WORDS


def test_vtt_starts_with_its_header(client: httpx.Client, english: Path):
    response = hear(client, english, response_format="vtt")
    assert response.headers["content-type"].startswith("text/vtt")
    assert response.text.startswith("WEBVTT\n\n00:00:0")


def test_logprobs_come_when_included(client: httpx.Client, english: Path):
    body = hear(client, english, **{"include[]": "logprobs"}).json()
    assert plain("".join(entry["token"] for entry in body["logprobs"])) == WORDS
    assert all(entry["logprob"] <= 0 for entry in body["logprobs"])
    assert bytes(body["logprobs"][0]["bytes"]).decode() == body["logprobs"][0]["token"]


@pytest.mark.parametrize(
    "form",
    [
        {"language": "English"},
        {"language": "en-US"},
        {"language": ""},
        {"language": "auto"},
        {"temperature": "0.2"},
        {"vad_filter": "false"},
        {"chunking_strategy": "auto"},
        {"chunking_strategy": '{"type": "server_vad", "silence_duration_ms": 2000}'},
        {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.4"},
        {"without_timestamps": "true"},
        {"prompt": "A pangram.", "hotwords": "fox"},
        {"keywords[]": ["fox", "lazy dog"]},
        {"languages[]": ["English", "es"]},
        {"unknown_field": "is ignored"},
    ],
    ids=str,
)
def test_every_field_is_taken(client: httpx.Client, english: Path, form: dict[str, str]):
    assert "quick brown fox" in plain(hear(client, english, **form).json()["text"])


def test_json_tells_the_language(client: httpx.Client, spanish: Path):
    assert hear(client, spanish).json()["languages"] == [{"code": "es"}]
    assert hear(client, spanish, **{"languages[]": ["pt", "en"]}).json()["languages"] == [{"code": "en"}]
    done = events(hear(client, spanish, stream="true").text)[-1]
    assert done["languages"] == [{"code": "es"}]


def test_a_translation_tells_no_language_as_openai_s_does_not(client: httpx.Client, spanish: Path):
    assert "languages" not in hear(client, spanish, "/v1/audio/translations").json()


@pytest.mark.parametrize(
    ("form", "status", "param"),
    [
        ({"languages[]": "klingon"}, 400, "languages"),
        ({"languages[]": ["es", "fr"], "language": "en"}, 400, "languages"),
        ({"include[]": "logprobs", "response_format": "srt"}, 422, None),
    ],
    ids=str,
)
def test_what_would_be_lost_or_cannot_be_is_refused(
    client: httpx.Client, english: Path, form: dict[str, Any], status: int, param: str | None
):
    response = client.post(HEAR, files={"file": ("clip", english.read_bytes())}, data={"model": WHISPER, **form})
    assert response.status_code == status
    assert param is None or response.json()["error"]["param"] == param


@pytest.mark.parametrize("seconds", [1, 40])
@pytest.mark.parametrize(
    ("shape", "empty"), [("text", ""), ("srt", ""), ("vtt", "WEBVTT\n\n"), ("json", None), ("verbose_json", None)]
)
def test_silence_is_no_words(client: httpx.Client, seconds: int, shape: str, empty: str | None):
    response = hear(client, silence(seconds), response_format=shape)
    if empty is not None:
        assert response.text == empty
    else:
        body = response.json()
        assert body["text"] == ""
        assert body["usage"]["seconds"] == seconds
        assert body.get("segments", []) == []


def test_raw_samples_are_taken_as_pcm(client: httpx.Client):
    response = client.post(
        HEAR,
        files={"file": ("a", bytes(32_000), "audio/pcm")},
        data={"model": WHISPER, "response_format": "verbose_json"},
    )
    assert response.json()["duration"] == 1.0


def test_translation_is_english(client: httpx.Client, spanish: Path):
    body = hear(client, spanish, "/v1/audio/translations", response_format="verbose_json").json()
    assert body["task"] == "translate"
    assert "madrid" in body["text"].lower()
    assert "spain" in body["text"].lower()


def test_a_stream_is_deltas_and_then_exactly_their_sum(client: httpx.Client, english: Path):
    response = hear(client, english, stream="true")
    assert response.headers["content-type"].startswith("text/event-stream")
    *deltas, done = events(response.text)
    assert {delta["type"] for delta in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert done["text"] == "".join(delta["delta"] for delta in deltas)
    assert plain(done["text"]) == WORDS
    assert all(delta["logprobs"] is None for delta in deltas)


def test_a_stream_brings_the_logprobs_that_were_asked_for(client: httpx.Client, english: Path):
    response = hear(client, english, stream="true", **{"include[]": "logprobs"})
    *deltas, done = events(response.text)
    told = [entry for delta in deltas for entry in delta["logprobs"]]
    assert plain("".join(entry["token"] for entry in told)) == WORDS
    assert done["logprobs"] == told
    assert all(Logprob.model_validate(entry, strict=True) for entry in told)


@pytest.mark.parametrize("granularity", ["segment", "word"])
def test_a_stream_of_verbose_json_has_the_times_of_each_delta(client: httpx.Client, english: Path, granularity: str):
    asked = {"response_format": "verbose_json", "timestamp_granularities[]": granularity}
    *pieces, done = events(hear(client, english, stream="true", **asked).text)
    deltas, segments = pieces[::2], pieces[1::2]
    assert {segment["type"] for segment in segments} == {"transcript.text.segment"}
    assert [segment["text"] for segment in segments] == [delta["delta"].strip() for delta in deltas]
    assert [segment["id"] for segment in segments] == [f"seg_{number:03}" for number in range(len(segments))]
    assert all(0 <= segment["start"] < segment["end"] < 6 for segment in segments)
    words = [word for segment in segments for word in segment.get("words", ())]
    assert plain(" ".join(word["word"] for word in words)) == (WORDS if granularity == "word" else "")
    assert plain(done["text"]) == WORDS


def test_a_stream_of_silence_is_one_empty_done(client: httpx.Client):
    (done,) = events(hear(client, silence(2), stream="true").text)
    assert (done["type"], done["text"]) == ("transcript.text.done", "")


def test_a_stream_says_its_first_words_before_the_last_are_known(client: httpx.Client, english: Path):
    import av

    from tests.speech_server.routes.conftest import wav

    with av.open(str(english)) as container:
        resampler = av.AudioResampler("s16", "mono", 16_000)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    samples = b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)
    with client.stream(
        "POST",
        HEAR,
        files={"file": ("long.wav", wav((samples + bytes(96_000)) * 30))},
        data={"model": WHISPER, "stream": "true"},
        headers={"X-Request-ID": "first-words"},
    ) as response:
        lines = response.iter_lines()  # held: httpx hangs up when the iterator goes
        first = next(lines)
        progress = client.get("/api/progress/first-words").json()
    assert json.loads(first.removeprefix("data: "))["type"] == "transcript.text.delta"
    assert 0 < progress["seconds_done"] < 200


def test_the_hugging_face_route_has_one_model_and_needs_no_name(client: httpx.Client, english: Path):
    response = client.post("/api/v1/audio/transcriptions", files={"file": english.read_bytes()})
    assert plain(response.json()["text"]) == WORDS


def test_the_audio_of_a_video_is_heard(client: httpx.Client, tmp_path: Path, english: Path):
    import av

    with av.open(str(english)) as source, av.open(str(tmp_path / "clip.mp4"), "w") as target:
        audio = target.add_stream("aac", rate=16_000)
        video = target.add_stream("mpeg4", rate=10, width=32, height=32)
        for packet in video.encode(av.VideoFrame(32, 32, "yuv420p")):
            target.mux(packet)
        resampler = av.AudioResampler("fltp", "mono", 16_000)
        for frame in source.decode(audio=0):
            for part in resampler.resample(frame):
                target.mux(audio.encode(part))
        target.mux(audio.encode(None))
        target.mux(video.encode(None))
    assert plain(hear(client, tmp_path / "clip.mp4").json()["text"]) == WORDS


def test_parts_of_a_recording_fit_together(client: httpx.Client, english: Path):
    middle = {"clip_zone": "0.7", "response_format": "verbose_json", "timestamp_granularities[]": "word"}
    first = hear(client, english, clip_end="3", **middle).json()
    second = hear(client, english, clip_start="3", **middle).json()
    assert plain(first["text"] + " " + second["text"]) == WORDS
    assert first["text"]
    assert second["text"]
    assert first["duration"] + second["duration"] == pytest.approx(5.333, abs=0.01)
    assert first["duration"] - 0.2 < second["words"][0]["start"] < second["words"][-1]["end"] < 5.4


def test_a_file_that_is_a_part_has_the_times_of_the_whole(client: httpx.Client, english: Path):
    body = hear(client, english, clip_offset="3600", response_format="verbose_json").json()
    assert 3600 <= body["segments"][0]["start"] < body["segments"][-1]["end"] < 3605.4
    assert 5 < body["duration"] < 5.6
    assert "01:00:0" in hear(client, english, clip_offset="3600", response_format="srt").text


def test_a_part_beyond_the_end_has_no_words(client: httpx.Client, english: Path):
    assert hear(client, english, clip_start="600", clip_end="1200", clip_zone="15").json() == {
        "text": "",
        "languages": [],
        "usage": {"type": "duration", "seconds": 0},
    }


@pytest.mark.parametrize(
    "form",
    [
        {"clip_start": "5", "clip_end": "5"},
        {"clip_start": "-1"},
        {"clip_end": "30", "clip_zone": "15"},
        {"clip_zone": "inf"},
        {"clip_start": "1", "clip_offset": "2"},
    ],
)
def test_a_part_that_cannot_be_is_refused(client: httpx.Client, english: Path, form: dict[str, str]):
    response = client.post(HEAR, files={"file": ("clip", english.read_bytes())}, data={"model": WHISPER, **form})
    assert response.status_code == 422
    assert "clip_" in response.json()["error"]["message"]
