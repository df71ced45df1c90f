"""What is named becomes recordings, each with a place for its text that no other has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from endpoint.bulk.sources import Source, find
from endpoint.errors import BadArgument

pytestmark = pytest.mark.anyio


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def outputs(sources: list[Source], below: Path) -> list[str]:
    return [str(source.output.relative_to(below)) for source in sources]


async def test_a_file_has_its_text_beside_it(tmp_path: Path):
    (source,) = await find([str(make(tmp_path, "talk.mp3") / "talk.mp3")], None, "srt")
    assert (source.path, source.output) == (tmp_path / "talk.mp3", tmp_path / "talk.srt")


async def test_a_file_that_is_named_is_taken_whatever_its_ending(tmp_path: Path):
    (source,) = await find([str(make(tmp_path, "recording") / "recording")], None, "srt")
    assert source.output == tmp_path / "recording.srt"


async def test_a_folder_is_all_recordings_below_it_and_keeps_its_shape(tmp_path: Path):
    make(tmp_path, "in/a.mp3", "in/deep/er/b.WAV", "in/notes.txt", "in/.hidden.mp3", "in/talk.srt")
    sources = await find([str(tmp_path / "in")], tmp_path / "out", "vtt")
    assert outputs(sources, tmp_path / "out") == ["a.vtt", "deep/er/b.vtt"]


async def test_a_pattern_is_what_it_matches(tmp_path: Path):
    make(tmp_path, "a1.mp3", "a2.mp3", "b.mp3", "odd [x].mp3")
    assert len(await find([str(tmp_path / "a*.mp3")], None, "txt")) == 2
    assert len(await find([str(tmp_path / "odd [x].mp3")], None, "txt")) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.mp3", "no such file"),
        ("empty", "no recordings"),
        ("ftp://host/x.mp3", "begins with http"),
        ("http://", "URL"),
    ],
)
async def test_what_is_not_there_is_said_before_anything_is_sent(tmp_path: Path, name: str, said: str):
    (tmp_path / "empty").mkdir()
    named = name if "://" in name else str(tmp_path / name)
    with pytest.raises(BadArgument, match=said):
        await find([named], None, "txt")


async def test_the_same_file_twice_is_one(tmp_path: Path):
    make(tmp_path, "a.mp3")
    assert len(await find([str(tmp_path / "a.mp3"), str(tmp_path)], None, "txt")) == 1


async def test_recordings_that_differ_in_their_ending_keep_it(tmp_path: Path):
    make(tmp_path, "talk.mp3", "talk.wav", "Talk.ogg", "other.wav")
    sources = await find([str(tmp_path)], None, "srt")
    assert sorted(outputs(sources, tmp_path)) == ["Talk.ogg.srt", "other.srt", "talk.mp3.srt", "talk.wav.srt"]


async def test_those_of_two_folders_do_not_meet(tmp_path: Path):
    make(tmp_path, "a/talk.mp3", "b/talk.mp3", "c/talk.mp3.wav")
    named = [str(tmp_path / name) for name in ("a/talk.mp3", "b/talk.mp3", "c/talk.mp3.wav")]
    names = outputs(await find(named, tmp_path, "srt"), tmp_path)
    assert names == ["talk.mp3.srt", "talk.mp3-2.srt", "talk.mp3.wav-2.srt"]


async def test_no_recording_is_written_over(tmp_path: Path):
    """A recording may be called as the text of another would be."""
    make(tmp_path, "talk.mp3", "talk.txt")
    sources = await find([str(tmp_path / "talk.mp3"), str(tmp_path / "talk.txt")], None, "txt")
    assert not {source.output for source in sources} & {source.path for source in sources}


NAMES = st.text("aAb.é-", min_size=1, max_size=4).filter(lambda name: name.strip("."))
PLACES = st.tuples(st.sampled_from(["", "x/", "X/", "x/y/"]), NAMES, st.sampled_from(["mp3", "wav", "MP3"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PLACES, min_size=1, max_size=12, unique=True), st.booleans())
async def test_no_two_outputs_are_one_file_on_any_system(
    tmp_path_factory: pytest.TempPathFactory, places: list, flat: bool
):
    folder = tmp_path_factory.mktemp("names")
    named = [make(folder, f"{below}{name}.{ending}") / f"{below}{name}.{ending}" for below, name, ending in places]
    sources = await find([str(path) for path in named], folder / "out" if flat else None, "txt")
    written = [str(source.output).casefold() for source in sources]
    assert len(set(written)) == len(sources) == len(places)


async def test_a_link_is_named_after_its_path(tmp_path: Path):
    links = [
        "https://host/a/My%20talk.mp3?key=1",
        "http://host/",
        "https://host/..%2F..%2Fetc%2Fpasswd",
        "https://h/x.mp3",
    ]
    sources = await find(links, tmp_path, "txt")
    assert outputs(sources, tmp_path) == ["My talk.txt", "host.txt", "passwd.txt", "x.txt"]
    assert [source.url for source in sources] == links


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="talks")
    for key in ("2026/a.mp3", "2026/deep/b.wav", "2026/notes.txt", "other/c.mp3"):
        client.put_object(Bucket="talks", Key=key, Body=b"x")
    try:
        yield url
    finally:
        server.stop()


async def test_a_prefix_of_a_bucket_is_the_recordings_below_it(bucket: str, tmp_path: Path):
    sources = await find(["s3://talks/2026/"], tmp_path, "srt")
    assert outputs(sources, tmp_path) == ["a.srt", "deep/b.srt"]
    assert all(source.url and source.url.startswith(f"{bucket}/talks/2026/") for source in sources)
    assert [source.mark[0] for source in sources] == ["s3://talks/2026/a.mp3", "s3://talks/2026/deep/b.wav"]


@pytest.mark.parametrize("name", ["s3://talks/nothing/", "s3://no-such-bucket/"])
async def test_a_bucket_without_them_is_said(bucket: str, tmp_path: Path, name: str):
    with pytest.raises(BadArgument, match=name):
        await find([name], tmp_path, "srt")
