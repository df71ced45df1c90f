"""Who speaks over HTTP: OpenAI's client and its types, Speaches' two routes, every format, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import av
import httpx
import numpy as np
import openai
import pytest
from openai.types.audio import TranscriptionDiarized, TranscriptionTextSegmentEvent

from speech_server.audio import decode
from speech_server.domain import RATE, Samples
from speech_server.engines.wespeaker.engine import CAMPPLUS
from tests.conftest import ENCODER, WHISPER, ServerProcess
from tests.sound import wav
from tests.speech_server.transcribing import words_of
from tests.speech_server.voices import CONVERSATION, SAID, TRUTH

SOUND = np.concatenate(list(decode.stream(CONVERSATION, decode.Limits(60))))
HEAR, DIARIZE, EMBED = "/v1/audio/transcriptions", "/v1/audio/diarization", "/v1/audio/speech/embedding"


def as_wav(samples: Samples) -> bytes:
    return wav((samples * 32767).astype("<i2").tobytes())


def data_url(samples: Samples) -> str:
    return "data:audio/wav;base64," + base64.b64encode(as_wav(samples)).decode()


def turn(number: int) -> Samples:
    return SOUND[round(TRUTH[number].start * RATE) : round(TRUTH[number].end * RATE)]


@pytest.fixture
def openai_client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="ignore", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture(params=[HEAR, DIARIZE])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(client: httpx.Client, path: str, file: bytes | None = None, **form: Any) -> httpx.Response:
    if path == HEAR:
        form = {"model": WHISPER, "language": "en", **form}
    return client.post(path, data=form, files={"file": ("talk.opus", file or CONVERSATION.read_bytes())}, timeout=120)


def heard_by(told: list[tuple[str | None, str]]) -> dict[str | None, str]:
    texts: dict[str | None, str] = {}
    for speaker, text in told:
        texts[speaker] = f"{texts.get(speaker, '')} {words_of(text)}"
    return texts


def assert_right(told: list[tuple[str | None, str]]) -> None:
    """Each of the words said is told of the one who said it, but for one a sentence: Whisper base mishears some."""
    texts = heard_by(told)
    for truth, said in zip(TRUTH, SAID, strict=True):
        found = texts[truth.speaker].split()
        assert sum(word in found for word in said.split()) >= len(said.split()) - 1, (said, texts)


# --- OpenAI's client ---


def test_diarized_json_is_openai_s_type(openai_client: openai.OpenAI):
    answer = openai_client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=CONVERSATION, response_format="diarized_json", chunking_strategy="auto"
    )
    assert isinstance(answer, TranscriptionDiarized)
    TranscriptionDiarized.model_validate(answer.model_dump(), strict=True)
    assert_right([(segment.speaker, segment.text) for segment in answer.segments])
    assert [segment.id for segment in answer.segments] == [f"seg_{n:03}" for n in range(len(answer.segments))]
    assert answer.duration == pytest.approx(len(SOUND) / RATE, abs=0.05)
    assert words_of(answer.text) == words_of(" ".join(segment.text for segment in answer.segments))


def test_streamed_segments_come_with_their_speakers(openai_client: openai.OpenAI):
    stream = openai_client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=CONVERSATION, response_format="diarized_json", stream=True
    )
    events = list(stream)
    assert {event.type for event in events} == {
        "transcript.text.delta", "transcript.text.segment", "transcript.text.done",
    }  # fmt: skip
    assert events[-1].type == "transcript.text.done"
    segments = [event for event in events if isinstance(event, TranscriptionTextSegmentEvent)]
    assert_right([(segment.speaker, segment.text) for segment in segments])
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert events[-1].text == deltas


def test_known_speakers_have_their_names(openai_client: openai.OpenAI):
    answer = openai_client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize",
        file=CONVERSATION,
        response_format="diarized_json",
        extra_body={
            "known_speaker_names": ["Anna", "George"],
            "known_speaker_references": [data_url(turn(0)), data_url(turn(2))],
        },
    )
    names = [segment.speaker for segment in answer.segments]
    assert set(names) == {"Anna", "George", "A"}
    assert names[0] == "Anna"


# --- every format ---


def test_verbose_json_names_the_speakers_of_segments_and_words(client: httpx.Client):
    body = ask(client, HEAR, response_format="verbose_json", diarize="true", **{"timestamp_granularities[]": "word"})
    answer = body.json()
    assert_right([(segment["speaker"], segment["text"]) for segment in answer["segments"]])
    assert_right([(word["speaker"], word["word"]) for word in answer["words"]])


def test_without_being_asked_nobody_is_named(client: httpx.Client):
    answer = ask(client, HEAR, response_format="verbose_json").json()
    assert all("speaker" not in segment for segment in answer["segments"])


def test_srt_and_text_begin_with_the_name(client: httpx.Client):
    subtitles = ask(client, HEAR, response_format="srt", diarize="true").text
    cues = [block.split("\n", 2)[2] for block in subtitles.strip().split("\n\n")]
    assert_right([(cue.partition(": ")[0], cue.partition(": ")[2]) for cue in cues])
    text = ask(client, HEAR, response_format="text", diarize="true").text
    assert_right([(line.partition(": ")[0], line.partition(": ")[2]) for line in text.splitlines()])
    assert ask(client, HEAR, diarize="true").json()["text"] == text


def test_vtt_has_voice_spans(client: httpx.Client):
    text = ask(client, HEAR, response_format="vtt", diarize="true").text
    cues = [block.split("\n", 1)[1] for block in text.strip().split("\n\n")[1:]]
    assert all(cue.startswith("<v ") for cue in cues)
    assert_right([(cue[3 : cue.index(">")], cue[cue.index(">") + 1 :]) for cue in cues])


def test_names_cannot_break_subtitles(client: httpx.Client):
    form = {"known_speaker_names[]": "<b>&-->", "known_speaker_references[]": data_url(turn(0)), "diarize": "true"}
    assert "<v &lt;b&gt;&amp;--&gt;>" in ask(client, HEAR, response_format="vtt", **form).text
    assert "\n<b>&->: " in ask(client, HEAR, response_format="srt", **form).text


def test_translations_name_speakers_too(client: httpx.Client):
    answer = client.post(
        "/v1/audio/translations",
        data={"model": WHISPER, "response_format": "verbose_json", "diarize": "true"},
        files={"file": CONVERSATION.read_bytes()},
    )
    assert {segment["speaker"] for segment in answer.json()["segments"]} == {"A", "B", "C"}


# --- Speaches' routes ---


def test_diarization_as_json(client: httpx.Client):
    answer = ask(client, DIARIZE).json()
    assert answer.keys() == {"duration", "segments"}
    assert answer["duration"] == pytest.approx(len(SOUND) / RATE, abs=0.05)
    assert all(segment.keys() == {"start", "end", "speaker"} for segment in answer["segments"])
    for truth in TRUTH:
        middle = (truth.start + truth.end) / 2
        assert [s["speaker"] for s in answer["segments"] if s["start"] <= middle <= s["end"]] == [truth.speaker]


def test_diarization_as_rttm(client: httpx.Client):
    answer = ask(client, DIARIZE, response_format="rttm")
    assert answer.headers["content-type"].startswith("text/plain")
    turns = ask(client, DIARIZE).json()["segments"]
    lines = answer.text.splitlines()
    assert len(lines) == len(turns)
    for line, said in zip(lines, turns, strict=True):
        kind, name, channel, start, length, *_, speaker, _, _ = line.split(" ")
        assert (kind, name, channel, speaker) == ("SPEAKER", "talk", "1", said["speaker"])
        assert float(start) == pytest.approx(said["start"], abs=0.002)
        assert float(length) == pytest.approx(said["end"] - said["start"], abs=0.002)


def test_voices_can_be_known_again(client: httpx.Client):
    """What whoever joins parts of a recording works with."""
    parts = {2: SOUND[: round(9.45 * RATE)], 3: SOUND}
    first, second = (
        ask(client, DIARIZE, as_wav(part), speaker_embeddings="true", num_speakers=str(people)).json()["speakers"]
        for people, part in parts.items()
    )
    alike = np.array([[np.dot(one["embedding"], two["embedding"]) for two in second] for one in first])
    assert [speaker["speaker"] for speaker in first] == ["A", "B"]
    assert alike.argmax(axis=1).tolist() == [0, 1], alike
    assert sum(speaker["seconds"] for speaker in first) == pytest.approx(8, abs=1)


def test_who_compares_voices_is_told_whose_distances_they_are(client: httpx.Client, path: str):
    answer = ask(client, path, speaker_embeddings="true", response_format="json", diarize="true").json()
    assert answer["speaker_encoder"] == {"model": ENCODER, **asdict(CAMPPLUS.likeness)}
    assert [speaker["speaker"] for speaker in answer["speakers"]] == ["A", "B", "C"]


@pytest.mark.parametrize("name", ["pyannote/wespeaker-voxceleb-resnet34-LM", ENCODER])
def test_an_embedding_is_openai_s_list(client: httpx.Client, name: str):
    noise = as_wav(np.random.default_rng(1).normal(0, 0.2, 3 * RATE).clip(-1, 1).astype(np.float32))
    answer = ask(client, EMBED, noise, model=name)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["object"], body["model"], len(body["data"])) == ("list", name, 1)
    assert (body["data"][0]["object"], body["data"][0]["index"]) == ("embedding", 0)
    assert len(body["data"][0]["embedding"]) == 192
    assert all(isinstance(part, float) for part in body["data"][0]["embedding"])
    assert math.hypot(*body["data"][0]["embedding"]) == pytest.approx(1, abs=1e-3)
    assert {"prompt_tokens", "total_tokens"} <= body["usage"].keys()


def test_the_same_sound_has_the_same_embedding(client: httpx.Client):
    one, two = (ask(client, EMBED, as_wav(turn(number))).json()["data"][0]["embedding"] for number in (1, 1))
    assert one == two
    other = ask(client, EMBED, as_wav(turn(2))).json()["data"][0]["embedding"]
    same_person = ask(client, EMBED, as_wav(turn(5))).json()["data"][0]["embedding"]
    assert np.dot(one, same_person) > np.dot(one, other) + 0.1


def test_formats_of_sound_do_not_matter(client: httpx.Client):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as out:
        stream = out.add_stream("mp3", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((SOUND * 32767).astype(np.int16)[None], format="s16p", layout="mono")
        frame.sample_rate = RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    answer = ask(client, DIARIZE, buffer.getvalue()).json()
    assert {segment["speaker"] for segment in answer["segments"]} == {"A", "B", "C"}


@pytest.mark.parametrize("path", [HEAR, DIARIZE, EMBED])
def test_where_the_default_is_not_installed_another_encoder_is_taken(path: str):
    server = ServerProcess({"DEFAULT_SPEAKER_MODEL": "nobody/nothing"})
    try:
        with httpx.Client(base_url=server.url) as client:
            answer = ask(client, path, **({"diarize": "true"} if path == HEAR else {}))
    finally:
        server.stop()
    assert answer.status_code == 200, answer.text


def test_they_are_listed_by_their_task(client: httpx.Client):
    models = client.get("/v1/models", params={"task": "speaker-embedding"}).json()["data"]
    assert ENCODER in [model["id"] for model in models]
    assert WHISPER not in [model["id"] for model in models]


# --- what is refused ---

SILENCE, LONG = np.zeros(3 * RATE, np.float32), SOUND[: 12 * RATE]
REFUSED: dict[str, tuple[int, dict[str, Any], str]] = {
    "two references of one voice": (400, {"Anna": turn(0), "Bea": turn(0)}, "the voice of Bea is that of Anna"),
    "silence as reference": (400, {"Anna": SILENCE}, "0.0 s of speech"),
    "a reference too short": (400, {"Anna": turn(1)[:RATE]}, "1.0 s long"),
    "a reference too long": (400, {"Anna": LONG}, "longer than 10 s"),
    "30 known speakers": (422, {f"P{number}": SILENCE[:100] for number in range(30)}, "at most 20"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_references_are_refused(client: httpx.Client, path: str, name: str):
    status, people, says = REFUSED[name]
    form = {
        "known_speaker_names[]": list(people),
        "known_speaker_references[]": [data_url(sound) for sound in people.values()],
        **({"diarize": "true"} if path == HEAR else {}),
    }
    answer = ask(client, path, **form)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]


FIELDS: dict[str, tuple[int, dict[str, Any], str]] = {
    "more people than can be": (422, {"num_speakers": "101"}, "num_speakers"),
    "nobody": (422, {"num_speakers": "0"}, "num_speakers"),
    "at least more than at most": (422, {"min_speakers": "3", "max_speakers": "2"}, "min_speakers"),
    "a number and its bounds": (422, {"num_speakers": "3", "max_speakers": "4"}, "num_speakers"),
    "more than there is speech for": (400, {"num_speakers": "40"}, "40 speakers are asked for"),
    "a name without a reference": (422, {"known_speaker_names[]": "Anna"}, "1 known_speaker_names and 0"),
    "a reference that is no base64": (
        400,
        {"known_speaker_names[]": "Anna", "known_speaker_references[]": "data:audio/wav;base64,!!"},
        "known_speaker_references[0] is not valid base64",
    ),
    "a reference that is no sound": (
        415,
        {"known_speaker_names[]": "Anna", "known_speaker_references[]": "data:audio/wav;base64,QUJD"},
        "cannot be decoded",
    ),
    "a name of two lines": (
        422,
        {"known_speaker_names[]": json.dumps(["A\nB"]), "known_speaker_references[]": data_url(SILENCE)},
        "known_speaker_names",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_bad_fields_are_refused(client: httpx.Client, path: str, name: str):
    status, form, says = FIELDS[name]
    answer = ask(client, path, **form, **({"diarize": "true"} if path == HEAR else {}))
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]


def test_who_speaks_is_told_only_when_asked(client: httpx.Client):
    answer = ask(client, HEAR, num_speakers="2")
    assert answer.status_code == 422
    assert "diarize=true" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [DIARIZE, EMBED])
@pytest.mark.parametrize(("name", "says"), [("nobody/nothing", "not installed"), (WHISPER, "not supported")])
def test_other_models_are_refused(client: httpx.Client, path: str, name: str, says: str):
    answer = ask(client, path, model=name)
    assert answer.status_code == 404
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [DIARIZE, EMBED])
def test_what_is_no_sound_is_refused(client: httpx.Client, path: str):
    assert ask(client, path, b"no sound at all").status_code == 415
    assert client.post(path, data={"model": ENCODER}).status_code in (400, 422)
