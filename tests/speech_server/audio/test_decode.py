"""Every kind of file becomes 16 kHz mono; everything else becomes an error a client can act on."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from faster_whisper.audio import decode_audio

from speech_server.audio import decode
from speech_server.errors import AudioUnreadable, InvalidRequest, RequestTooLarge
from tests.speech_server.audio.making import KINDS, make, sweep, tone

LAYOUTS = ("mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1")
LIMITS = decode.Limits(3600)
CLIP = Path(__file__).parents[3] / "examples/clips/english.opus"


def samples_of(data: bytes, **options: object) -> np.ndarray:
    return np.concatenate(list(decode.stream(io.BytesIO(data), LIMITS, **options)))  # type: ignore[arg-type]


def loudest_frequency(samples: np.ndarray, rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_keeps_its_tone_and_length(kind: str):
    samples = samples_of(make(kind, seconds=2.0))
    assert samples.dtype == np.float32
    assert len(samples) / 16_000 == pytest.approx(2.0, abs=0.15)  # lossy codecs pad
    assert loudest_frequency(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov", "avi"])
def test_the_sound_of_a_video_is_taken(kind: str):
    assert loudest_frequency(samples_of(make(kind, seconds=2.0, video=True))) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_any_sample_rate_is_read(rate: int):
    samples = samples_of(make("wav", rate=rate))
    assert len(samples) / 16_000 == pytest.approx(1.0, abs=0.01)
    assert loudest_frequency(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_are_mixed_into_one(layout: str):
    samples = samples_of(make("wav", layout=layout))
    assert len(samples) == 16_000
    assert 0.05 < np.abs(samples).max() <= 1.0
    assert loudest_frequency(samples) == pytest.approx(440, abs=2)


def test_samples_are_those_of_the_library():
    ours = np.concatenate(list(decode.stream(CLIP, LIMITS)))
    np.testing.assert_array_equal(ours, decode_audio(str(CLIP)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][1] != "aac"])  # whose noise is new each time
def test_samples_are_those_of_the_library_whatever_the_frames(tmp_path: Path, kind: str):
    path = tmp_path / kind
    path.write_bytes(make(kind, sound=sweep(3.3, KINDS[kind][2] or 44_100), rate=44_100, layout="stereo"))
    np.testing.assert_array_equal(samples_of(path.read_bytes()), decode_audio(str(path)))


def test_a_long_file_comes_in_bounded_blocks():
    blocks = list(filter(len, decode.stream(io.BytesIO(make("flac", seconds=65.0)), LIMITS, block_seconds=10)))
    assert len(blocks) == 7
    assert max(map(len, blocks)) < 11 * 16_000
    assert sum(map(len, blocks)) == 65 * 16_000


def test_raw_pcm_is_taken_as_it_is(tmp_path: Path):
    samples = tone(1.5, 16_000)
    (tmp_path / "raw").write_bytes(samples.tobytes() + b"\x01")  # half a sample at the end
    decoded = np.concatenate(list(decode.stream(tmp_path / "raw", LIMITS, pcm=True)))
    np.testing.assert_array_equal(decoded, samples.astype(np.float32) / 32768)


def test_two_recordings_of_different_shape_joined_in_one_stream():
    mono, stereo = make("aac"), make("aac", layout="stereo")
    assert len(samples_of(mono + stereo)) == len(samples_of(mono)) + len(samples_of(stereo))


def test_a_damaged_tail_keeps_what_came_before():
    data = make("flac", seconds=4.0)
    damaged = data[: len(data) // 2] + bytes(len(data) // 2)
    assert 1.0 < len(samples_of(damaged)) / 16_000 < 4.0


def test_a_damaged_middle_keeps_both_ends():
    data = bytearray(make("mp3", seconds=10.0))
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    assert len(samples_of(bytes(data))) / 16_000 > 9.0


@pytest.mark.parametrize("pcm", [False, True])
def test_a_file_without_bytes_is_unreadable(pcm: bool):
    with pytest.raises(AudioUnreadable):
        samples_of(b"", pcm=pcm)


def test_audio_without_samples_is_an_invalid_request():
    whole = make("wav", seconds=1.0)
    data = whole[: whole.index(b"data")] + b"data" + bytes(4)
    with pytest.raises(InvalidRequest) as refused:
        samples_of(data)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"hello, this is no audio at all " * 100,
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
        b"%PDF-1.7 " + bytes(1000),
        bytes(100_000),
    ],
)
def test_what_is_no_audio_is_unreadable(data: bytes):
    with pytest.raises(AudioUnreadable) as refused:
        samples_of(data)
    assert refused.value.status == 415


def test_a_picture_without_sound_is_refused():
    silent = io.BytesIO()
    with av.open(silent, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        output.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(picture.encode(None))
    with pytest.raises(AudioUnreadable, match="no audio track"):
        samples_of(silent.getvalue())


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{0}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {0}\n",
        "ffconcat version 1.0\nfile '{1}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{0}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
    ],
)
def test_a_playlist_cannot_open_other_files(tmp_path: Path, playlist: str):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(make("wav"))
    upload = tmp_path / "upload"
    upload.write_text(playlist.format(secret.name, secret))
    with pytest.raises(AudioUnreadable):
        list(decode.stream(upload, LIMITS))


def test_a_file_named_like_an_address_is_just_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    odd = Path("concat:a|b")
    odd.write_bytes(make("wav"))
    assert sum(map(len, decode.stream(odd, LIMITS))) == 16_000


def test_more_than_the_allowed_seconds_are_refused_early():
    data = make("flac", seconds=50.0)
    blocks = filter(len, decode.stream(io.BytesIO(data), decode.Limits(20), block_seconds=5))
    assert sum(len(next(blocks)) for _ in range(3)) <= 20 * 16_000
    with pytest.raises(RequestTooLarge, match="20 s"):
        list(blocks)


def mutate(data: bytearray, random: np.random.Generator) -> bytes:
    for _ in range(random.choice([1, 1, 3, 10, 50, 300])):
        if not data:
            break
        place = int(random.integers(min(len(data), 200) if random.random() < 0.5 else len(data)))
        match random.integers(5):
            case 0:
                data[place] = random.integers(256)
            case 1:
                data[place] ^= 1 << int(random.integers(8))
            case 2:
                del data[place : place + int(random.integers(1, 200))]
            case 3:
                data[place:place] = random.bytes(int(random.integers(1, 40)))
            case _:
                data[place : place + 4] = random.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_two_thousand_mutated_files_give_samples_or_a_refusal(seed: int):
    random = np.random.default_rng(seed)
    files = [make(kind, seconds=0.4) for kind in KINDS]
    decoded = 0
    for number in range(500):
        data = mutate(bytearray(files[number % len(files)]), random)
        try:
            for block in decode.stream(io.BytesIO(data), decode.Limits(60)):
                assert np.isfinite(block).all()
            decoded += 1
        except InvalidRequest:
            pass
    assert 100 < decoded < 500


# AAC fills noise in anew each time it is decoded.
ALIKE = {"m4a": 0.995, "mp4": 0.995, "aac": 0.995, "mpegts": 0.995}


@pytest.mark.parametrize("start", [0.3, 5.28, 17.0])
@pytest.mark.parametrize("kind", KINDS)
def test_from_a_second_on_it_is_what_follows_that_second(kind: str, start: float):
    data = make(kind, sound=sweep(20.0, KINDS[kind][2] or 44_100), rate=44_100)
    expected, samples = samples_of(data)[round(start * 16_000) :], samples_of(data, start=start)
    assert len(samples) == len(expected)
    if kind in ALIKE:
        assert np.corrcoef(samples, expected)[0, 1] > ALIKE[kind]
    else:
        np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize("start", [5.0, 58.0, 65.0, 105.0])
def test_a_recording_of_several_streams_is_counted_through_from_its_beginning(start: float):
    """Each stream of a chained Ogg begins at zero."""
    chained = make("opus", sound=sweep(60.0, 48_000)) + make("opus", sound=sweep(50.0, 48_000)[::-1].copy())
    np.testing.assert_array_equal(samples_of(chained, start=start), samples_of(chained)[round(start * 16_000) :])


@pytest.mark.parametrize("kind", KINDS)
def test_from_beyond_its_end_on_a_recording_is_empty(kind: str):
    assert not list(decode.stream(io.BytesIO(make(kind, seconds=2.0)), LIMITS, start=30.0))


def test_of_raw_samples_only_what_follows_is_read():
    data = tone(3.0, 16_000).tobytes()
    np.testing.assert_array_equal(samples_of(data, pcm=True, start=1.5), samples_of(data, pcm=True)[24_000:])


@pytest.mark.parametrize("kind", ["flac", "opus"])
def test_a_far_second_of_an_indexed_file_costs_no_decoding(tmp_path: Path, kind: str):
    path = tmp_path / "long"
    path.write_bytes(make(kind, seconds=600.0))
    limits = decode.Limits(3600, packets=50)  # for each second that has come out
    last = np.concatenate(list(decode.stream(path, limits, start=595.0)))
    assert len(last) == 5 * 16_000
