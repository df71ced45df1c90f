"""The options about speakers: what they become, and what is wrong with them is said before anything is sent."""

from __future__ import annotations

import argparse
import base64
import io
from pathlib import Path

import numpy as np
import pytest

from endpoint import transcribe
from endpoint.errors import BadArgument
from endpoint.speakers import speaker_fields
from speech_server.audio import decode
from tests.sound import wav
from tests.speech_server.audio.making import sweep

pytestmark = pytest.mark.anyio


def typed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    transcribe.add_arguments(parser)
    return parser.parse_args(["talk.wav", *words])


def voice(folder: Path, seconds: float) -> Path:
    path = folder / f"voice-{seconds:g}.wav"
    path.write_bytes(wav((np.asarray(sweep(seconds, 16_000)) * 20_000).astype("<i2").tobytes()))
    return path


async def test_nobody_is_asked_for_unless_somebody_wants_to_know():
    assert await speaker_fields(typed("--format", "srt")) == {}


@pytest.mark.parametrize("words", [("--speakers",), ("--format", "diarized_json")])
async def test_speakers(words: tuple[str, ...]):
    assert await speaker_fields(typed(*words)) == {"diarize": True}


async def test_who_says_how_many_wants_to_know():
    assert await speaker_fields(typed("--num-speakers", "3")) == {"diarize": True, "num_speakers": 3}
    asked = await speaker_fields(typed("--min-speakers", "2", "--max-speakers", "4"))
    assert asked == {"diarize": True, "min_speakers": 2, "max_speakers": 4}


async def test_a_known_voice_goes_along_small_and_the_same_in_every_run(tmp_path: Path):
    words = (
        "--speaker",
        f"Anna={voice(tmp_path, 9.0)}",
        "--speaker",
        f"Ben={voice(tmp_path, 2.0)}",
    )
    asked = await speaker_fields(typed(*words))
    assert asked["known_speaker_names"] == ["Anna", "Ben"]
    kind, _, data = asked["known_speaker_references"][0].partition(",")
    sound = base64.b64decode(data, validate=True)
    assert kind == "data:audio/mpeg;base64"
    assert len(sound) < 80_000
    samples = np.concatenate(list(decode.stream(io.BytesIO(sound), decode.Limits(20))))
    assert len(samples) / 16_000 == pytest.approx(9.0, abs=0.1)
    assert await speaker_fields(typed(*words)) == asked


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--num-speakers", "0"), "from 1 to 100"),
        (("--num-speakers", "2", "--max-speakers", "3"), "leave out"),
        (("--min-speakers", "3", "--max-speakers", "2"), "more than"),
        (("--speaker", "anna.wav"), "NAME=FILE"),
        (("--speaker", "=anna.wav"), "NAME=FILE"),
        (("--speaker", "Anna="), "NAME=FILE"),
        (("--speaker", "Berg, Anna=x.wav"), "no comma"),
        (("--speaker", "Anna=x.wav", "--speaker", "Anna=y.wav"), "twice"),
        (("--speaker", "Anna=/nowhere.wav"), "Anna=/nowhere.wav: .*No such file"),
        (("--speaker", "Anna=x.wav", *(f"--speaker=P{number}=x.wav" for number in range(20))), "20 people at most"),
        (("--speakers", "--stream"), "--stream"),
    ],
)
async def test_what_cannot_be_right(words: tuple[str, ...], reason: str):
    with pytest.raises(BadArgument, match=reason):
        await speaker_fields(typed(*words))


@pytest.mark.parametrize(("seconds", "reason"), [(0.8, "0.8 s: give 2 to 10 s"), (14.0, "14.0 s: give 2 to 10 s")])
async def test_a_reference_that_no_server_would_take(tmp_path: Path, seconds: float, reason: str):
    with pytest.raises(BadArgument, match=reason):
        await speaker_fields(typed("--speaker", f"Anna={voice(tmp_path, seconds)}"))


async def test_nor_one_that_is_no_sound(tmp_path: Path):
    (tmp_path / "anna.wav").write_text("no sound")
    with pytest.raises(BadArgument, match="--speaker Anna="):
        await speaker_fields(typed("--speaker", f"Anna={tmp_path / 'anna.wav'}"))
