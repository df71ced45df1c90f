"""Whatever is wrong with a request, the answer is a 4xx with the envelope, before any byte of a reply."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.conftest import KOKORO, PIPER, WHISPER
from tests.speech_server.routes.conftest import CLIPS, wav

CLIP = (CLIPS / "english.opus").read_bytes()
HEAR = "/v1/audio/transcriptions"
TRANSLATE = "/v1/audio/translations"
VAD = "/v1/audio/speech/timestamps"
SPEAK = "/v1/audio/speech"


@dataclass
class Row:
    """A request, and the status it deserves."""

    status: int
    path: str
    method: str = "POST"
    form: dict[str, Any] | None = None
    file: bytes | None = CLIP
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    says: str = ""

    def send(self, client: httpx.Client) -> httpx.Response:
        given: dict[str, Any] = {"headers": self.headers}
        if self.raw is not None:
            given["content"] = self.raw
        elif self.form is not None:
            given["data"] = self.form
            given["files"] = {"other": b""} if self.file is None else {"file": ("a.opus", self.file)}
        elif self.body is not None:
            given["json"] = self.body
        return client.request(self.method, self.path, **given)


def hear(status: int, says: str = "", path: str = HEAR, file: bytes | None = CLIP, **form: Any) -> Row:
    return Row(status, path, form={"model": WHISPER, **form}, file=file, says=says)


def speak(status: int, says: str = "", **body: Any) -> Row:
    body = {"model": PIPER, "input": "Hello.", "voice": "joe", **body}
    return Row(status, SPEAK, body={name: value for name, value in body.items() if value is not ...}, says=says)


def detect(status: int, says: str = "", file: bytes | None = CLIP, **form: Any) -> Row:
    return Row(status, VAD, form={"model": "silero_vad_v5", **form}, file=file, says=says)


SPOKEN_AT = b'{"model": "tts-1", "input": "Hi.", "voice": "af_heart", "speed": %s}'
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
ROWS = {
    # --- transcriptions ---
    "no file": hear(422, "file", file=None),
    "no model": Row(422, HEAR, form={}, says="model"),
    "blank model": hear(422, model=" "),
    "unknown model": hear(404, "not installed locally", model="nobody/nothing"),
    "unknown model without a slash": hear(404, "nothing-here", model="nothing-here"),
    "a model that is a path": hear(404, model="../../etc/passwd"),
    "a model that is an absolute path": hear(404, model="/etc/passwd"),
    "a model with a null byte": hear(404, model="a/b\0c"),
    "a model name of a megabyte": hear(404, model="a/" + "b" * 900_000),
    "a speech model": hear(404, "not supported", model=KOKORO),
    "a voice detector": hear(404, "not supported", model="silero_vad_v5"),
    "an empty file": hear(415, "empty", file=b""),
    "text instead of audio": hear(415, file=b"this is no audio at all " * 50),
    "zeros instead of audio": hear(415, file=bytes(5000)),
    "a PNG": hear(415, file=b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "half a WAV header": hear(415, file=wav(bytes(3200))[:20]),
    "a WAV without samples": hear(400, "no ", file=wav(b"")),
    "unknown language": hear(400, "language", language="klingon"),
    "a language the model has not": hear(400, "language", language="xx-YY"),
    "an unknown format": hear(422, "response_format", response_format="docx"),
    "a format in capitals": hear(422, response_format="JSON"),
    "rttm of a transcript": hear(422, response_format="rttm"),
    "diarize is no boolean": hear(422, "diarize", diarize="who"),
    "speakers nobody asked for": hear(422, "diarize=true", max_speakers="2"),
    "temperature above 1": hear(422, "temperature", temperature="1.5"),
    "temperature below 0": hear(422, temperature="-0.1"),
    "temperature in words": hear(422, temperature="warm"),
    "temperature nan": hear(422, temperature="nan"),
    "temperature infinite": hear(422, temperature="inf"),
    "unknown granularity": hear(422, "timestamp_granularities", **{"timestamp_granularities[]": "phoneme"}),
    "one unknown granularity of two": hear(422, **{"timestamp_granularities[]": ["word", "letter"]}),
    "a granularity that is broken JSON": hear(422, **{"timestamp_granularities[]": "[word"}),
    "unknown include": hear(422, "include", **{"include[]": "everything"}),
    "stream is no boolean": hear(422, "stream", stream="maybe"),
    "vad_filter is no boolean": hear(422, vad_filter="2"),
    "without_timestamps is no boolean": hear(422, without_timestamps="never"),
    "unknown chunking strategy": hear(422, chunking_strategy="manual"),
    "chunking strategy of another type": hear(422, chunking_strategy='{"type":"semantic_vad"}'),
    "chunking strategy out of range": hear(422, chunking_strategy='{"type":"server_vad","threshold":2}'),
    "chunking strategy is broken JSON": hear(422, chunking_strategy='{"type":'),
    "chunking strategy in brackets": hear(422, **{"chunking_strategy[type]": "none"}),
    "a bad field while streaming": hear(422, stream="true", temperature="9"),
    "bad audio while streaming": hear(415, stream="true", file=b"nothing to hear " * 20),
    "no samples while streaming": hear(400, stream="true", file=wav(b"")),
    "unknown language while streaming": hear(400, stream="true", language="nope"),
    "unknown model while streaming": hear(404, stream="true", model="nobody/nothing"),
    "raw audio that is a name of a file": hear(415, file=b"/etc/passwd"),
    "a playlist that points elsewhere": hear(
        415, file=b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    ),
    "JSON instead of a form": Row(400, HEAR, body={"model": WHISPER}, says="multipart"),
    "a urlencoded form": Row(400, HEAR, raw=b"model=x", headers={"content-type": "application/x-www-form-urlencoded"}),
    "no body at all": Row(400, HEAR),
    "a form without a boundary": Row(400, HEAR, raw=b"x", headers={"content-type": "multipart/form-data"}),
    "a form that is none": Row(400, HEAR, raw=b"hello", headers=FORM),
    "a form cut off": Row(
        400, HEAR, raw=b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nab', headers=FORM
    ),
    "a form without names": Row(
        400, HEAR, raw=b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", headers=FORM
    ),
    "GET": Row(405, HEAR, method="GET"),
    "PUT": Row(405, HEAR, method="PUT"),
    # --- translations ---
    "temperature beyond numbers": hear(422, "temperature", temperature="1e400"),
    "temperature is no number": hear(422, "temperature", temperature="nan"),
    "temperature of 5000 digits": hear(422, "temperature", temperature="1" * 5000),
    "chunking strategy of 5000 digits": hear(
        422, chunking_strategy='{"type":"server_vad","silence_duration_ms":' + "1" * 5000 + "}"
    ),
    "chunking strategy that is nested": hear(422, chunking_strategy="[" * 100_000),
    "granularities that are nested": hear(422, **{"timestamp_granularities[]": "[" * 100_000}),
    "translation: no file": hear(422, path=TRANSLATE, file=None),
    "translation: unknown model": hear(404, path=TRANSLATE, model="nobody/nothing"),
    "translation: unknown format": hear(422, path=TRANSLATE, response_format="pdf"),
    "translation: bad audio": hear(415, path=TRANSLATE, file=b"no audio"),
    "translation: unknown language": hear(400, path=TRANSLATE, language="q"),
    "translation: short route, unknown model": hear(404, path="/openai/v1/translations", model="nobody/nothing"),
    # --- speech ---
    "speech: no model": speak(422, "model", model=...),
    "speech: empty model": speak(422, model=""),
    "speech: no input": speak(422, "input", input=...),
    "speech: empty input": speak(400, "input is empty", input=""),
    "speech: blank input": speak(400, "input is empty", input=" \n\t "),
    "speech: input is a number": speak(422, input=5),
    "speech: input is null": speak(422, input=None),
    "speech: input too long": speak(400, "MAX_INPUT_CHARACTERS", input="a" * 100_001),
    "speech: nothing to say": speak(400, input="..."),
    "speech: a lone surrogate": Row(
        422, SPEAK, raw=json.dumps({"model": PIPER, "input": "Hello \ud800", "voice": "joe"}).encode(), headers=JSON
    ),
    "speech: unknown model": speak(404, "not installed locally", model="nobody/nothing"),
    "speech: a transcription model": speak(404, "not supported", model=WHISPER),
    "speech: unknown voice": speak(400, "af_heart", model=KOKORO, voice="nobody"),
    "speech: unknown voice of Piper": speak(400, "joe", voice="nobody"),
    "speech: unknown voice as events": speak(400, voice="nobody", stream_format="sse"),
    "speech: a broken blend": speak(400, model=KOKORO, voice="af_heart(2)+"),
    "speech: a blend with an unknown voice": speak(400, model=KOKORO, voice="af_heart+nobody"),
    "speech: voice is a list": speak(422, voice=["joe"]),
    "speech: speed 0": speak(422, "speed", speed=0),
    "speech: speed 5": speak(422, speed=5),
    "speech: speed in words": speak(422, speed="fast"),
    "speech: speed beyond numbers": Row(422, SPEAK, raw=SPOKEN_AT % b"1e400", headers=JSON, says="out of range"),
    "speech: speed is no number": Row(422, SPEAK, raw=SPOKEN_AT % b"NaN", headers=JSON),
    "speech: unknown format": speak(422, "response_format", response_format="midi"),
    "speech: unknown stream format": speak(422, stream_format="websocket"),
    "speech: sample rate too low": speak(422, "sample_rate", sample_rate=7999),
    "speech: sample rate too high": speak(422, sample_rate=48001),
    "speech: sample rate in words": speak(422, sample_rate="high"),
    "speech: a language the voice has not": speak(400, "language", language="ja"),
    "speech: no JSON": Row(422, SPEAK, raw=b"hello", headers=JSON),
    "speech: broken JSON": Row(422, SPEAK, raw=b'{"model":', headers=JSON),
    "speech: a JSON list": Row(422, SPEAK, body=[1, 2]),
    "speech: JSON null": Row(422, SPEAK, raw=b"null", headers=JSON),
    "speech: not UTF-8": Row(422, SPEAK, raw=b'{"model":"\xff"}', headers=JSON),
    "speech: deep JSON": Row(422, SPEAK, raw=b"[" * 900 + b"]" * 900, headers=JSON),
    "speech: no body": Row(422, SPEAK),
    "speech: GET": Row(405, SPEAK, method="GET"),
    # --- voice activity ---
    "vad: no file": detect(422, "file", file=None),
    "vad: unknown model": detect(404, model="nobody/nothing"),
    "vad: a transcription model": detect(404, "not supported", model=WHISPER),
    "vad: threshold above 1": detect(422, "threshold", threshold="1.1"),
    "vad: threshold nan": detect(422, threshold="nan"),
    "vad: negative silence": detect(422, min_silence_duration_ms="-1"),
    "vad: threshold beyond numbers": detect(422, threshold="1e400"),
    "vad: speech for ever": detect(422, max_speech_duration_s="nan"),
    "vad: padding of 5000 digits": detect(422, speech_pad_ms="1" * 5000),
    "vad: silence of ages": detect(422, min_silence_duration_ms="1e30"),
    "vad: no speech at most": detect(422, max_speech_duration_s="0"),
    "vad: bad audio": detect(415, file=b"no audio"),
    "vad: empty file": detect(415, file=b""),
    "vad: a WAV without samples": detect(400, file=wav(b"")),
    # --- models ---
    "models: unknown task": Row(422, "/v1/models?task=cooking", "GET", says="task"),
    "models: unknown": Row(404, "/v1/models/nobody/nothing", "GET", says="not installed locally"),
    "models: unknown, escaped": Row(404, "/v1/models/nobody%2Fnothing", "GET"),
    "models: a path": Row(404, "/v1/models/..%2F..%2Fetc%2Fpasswd", "GET"),
    "models: download of nothing": Row(404, "/v1/models/nothing-here"),
    "models: download of a path": Row(404, "/v1/models/..%2F..%2Fetc"),
    "models: delete unknown": Row(404, "/v1/models/nobody/nothing", "DELETE"),
    "models: delete a path": Row(404, "/v1/models/..%2F..%2Ftmp", "DELETE"),
    "models: PATCH": Row(405, "/v1/models", "PATCH"),
    "registry: unknown task": Row(422, "/v1/registry?task=x", "GET"),
    "memory: load unknown": Row(404, "/api/ps/nobody/nothing"),
    "memory: unload unknown": Row(404, "/api/ps/nobody/nothing", "DELETE"),
    "memory: unload what is not loaded": Row(404, "/api/ps/" + KOKORO + "-int8", "DELETE"),
    "progress: nobody's": Row(404, "/api/progress/nobody", "GET"),
    # --- anywhere ---
    "no such route": Row(404, "/v1/audio/music", says="No such route"),
    "no such route under a prefix": Row(404, "/v3/audio/music"),
    "no such page": Row(404, "/admin.php", "GET"),
    "an unknown method": Row(405, HEAR, "PROPFIND"),
}


@pytest.mark.parametrize("name", ROWS)
def test_it_is_refused_with_the_envelope(name: str, client: httpx.Client):
    row = ROWS[name]
    answer = row.send(client)
    assert answer.status_code == row.status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "detail"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert row.says in body["error"]["message"]
    assert body["detail"] == body["error"]["message"] if row.status != 422 else isinstance(body["detail"], list)
    assert len(answer.content) < 10_000, "an error must not echo what was sent"


@pytest.mark.parametrize("digits", [b"1" * 5000, b'1, "sample_rate": ' + b"1" * 5000, b'1, "ignored": ' + b"1" * 5000])
def test_a_number_of_thousands_of_digits_is_the_clients_mistake(digits: bytes, client: httpx.Client):
    answer = client.post(SPEAK, content=SPOKEN_AT % digits, headers=JSON)
    assert answer.status_code in (400, 422)  # as JSON it cannot be read, or as a field it is refused
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_table_is_long_enough():
    assert len(ROWS) >= 80
