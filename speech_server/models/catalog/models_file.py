"""models.yaml and MODELS: models of one's own, by name, with where they lie and how they run.

- name: support-calls
  url: s3://bucket/whisper-finetuned     # or hf://owner/name, file:///models/whisper
  task: automatic-speech-recognition     # the default; or text-to-speech, speaker-embedding, speaker-segmentation,
                                         # turn-detection
  args: {compute_type: int8, beam_size: 2, device: cpu, threads: 1, workers: 2}
  env: {AWS_ENDPOINT_URL: "http://minio:9000", AWS_ACCESS_KEY_ID: "...", AWS_SECRET_ACCESS_KEY: "..."}
  files: {preprocessor_config.json: '{"feature_size": 80}'}   # put beside the weights
  voices: {anna: /voices/anna.bin}       # SpeechT5's: a speaker's vector, 512 float32
  ttl: -1
  preload: true
  owner: acme
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from speech_server.errors import ConfigurationInvalid
from speech_server.models.catalog.arguments import configured_args
from speech_server.models.catalog.ids import is_model_id
from speech_server.models.catalog.info import SEGMENTATION, STT, TTS, TURNS, VOICES, EngineName, ModelInfo, Task
from speech_server.settings import Settings

# Only what reaching the weights needs: a model's variables must not change the server around it.
_ENV = re.compile(r"AWS_[A-Z0-9_]+|HF_TOKEN|HF_ENDPOINT")
_URL = re.compile(r"hf://[\w.-]+/[\w.-]+|s3://[\w.-]+(/.*)?|file:///.+")
# Voice activity is the one task without a model of one's own.
_NamedTask = Literal[
    "automatic-speech-recognition", "text-to-speech", "speaker-embedding", "speaker-segmentation", "turn-detection"
]
_ENGINES: Mapping[Task, EngineName] = {
    STT: "whisper",
    VOICES: "wespeaker",
    SEGMENTATION: "pyannote",
    TURNS: "smart_turn",
}


def _model_id(value: str) -> str:
    if not is_model_id(value):
        raise ValueError("must be a name, or owner/name, of letters, digits and . _ -")
    return value


_Name = Annotated[str, AfterValidator(_model_id)]
_VoiceName = Annotated[str, Field(pattern=r"^\w[\w.-]{0,63}$")]
_FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Args(_Strict):
    """How the engine runs; what is missing is the settings' own."""

    device: Literal["auto", "cpu", "cuda"] | None = None
    compute_type: str | None = None
    threads: int | None = Field(None, ge=0)
    workers: int | None = Field(None, ge=0)
    language: str | None = Field(None, pattern=r"^[a-z]{2,3}(-[a-z0-9]{2,8})*$", description="Of a SpeechT5 model.")
    beam_size: int | None = Field(None, ge=1, le=20)
    short_windows: bool | None = None
    max_batch: int | None = Field(None, ge=1)
    max_requests: int | None = Field(None, ge=1)


class NamedModel(_Strict):
    name: _Name
    url: str
    task: _NamedTask = "automatic-speech-recognition"
    args: Args = Args()
    env: dict[str, str] = {}
    files: dict[_FileName, str] = {}
    voices: dict[_VoiceName, str] = {}
    ttl: float | None = Field(None, ge=-1)
    preload: bool = False
    owner: str = "runpod-speech"

    @field_validator("url")
    @classmethod
    def known_place(cls, value: str) -> str:
        if not _URL.fullmatch(value):
            raise ValueError("must be hf://owner/name, s3://bucket/prefix or file:///folder")
        return value

    @field_validator("task", mode="before")
    @classmethod
    def kubeai_task(cls, value: object) -> object:
        names = {"SpeechToText": STT, "TextToSpeech": TTS}
        return names.get(value, value) if isinstance(value, str) else value

    @field_validator("env")
    @classmethod
    def access_only(cls, value: dict[str, str]) -> dict[str, str]:
        if strange := [name for name in value if not _ENV.fullmatch(name)]:
            raise ValueError(f"{', '.join(strange)}: only AWS_*, HF_TOKEN and HF_ENDPOINT mean something here")
        return value

    @property
    def engine(self) -> EngineName:
        """A guess until the files are here; they tell."""
        if self.task in _ENGINES:
            return _ENGINES[self.task]
        kind = next((kind for kind in ("kokoro", "speecht5") if kind in self.url.lower()), "piper")
        return cast("EngineName", kind)


_LIST: TypeAdapter[list[NamedModel]] = TypeAdapter(list[NamedModel])


def read_named_models(settings: Settings) -> list[ModelInfo]:
    """The models of MODELS_FILE and MODELS. Raises ConfigurationInvalid."""
    texts = []
    if settings.models_file.is_file():
        texts.append((str(settings.models_file), settings.models_file.read_text("utf-8")))
    elif "models_file" in settings.model_fields_set:
        raise ConfigurationInvalid(f"MODELS_FILE names {settings.models_file}, which is no file")
    if settings.models.strip():
        texts.append(("MODELS", settings.models))
    models: dict[str, ModelInfo] = {}
    for origin, text in texts:
        for named in _parse(origin, text):
            if named.name in models:
                raise ConfigurationInvalid(f"{origin}: the model name '{named.name}' is used twice")
            models[named.name] = _info(named, settings)
    return list(models.values())


def only_model(name: str, url: str, settings: Settings) -> ModelInfo:
    """The model of WHISPER__MODEL, where no list has it. Raises ConfigurationInvalid."""
    try:
        return _info(NamedModel(name=name, url=url), settings)
    except ValidationError:
        raise ConfigurationInvalid(
            f"WHISPER__MODEL is '{name}': that is no folder, no alias and no id of the form owner/name"
        ) from None


def local_path(url: str) -> Path:
    """file:///a%20b -> /a b"""
    return Path(unquote(urlsplit(url).path))


def _parse(origin: str, text: str) -> Iterable[NamedModel]:
    import yaml  # JSON is YAML

    try:
        content: Any = yaml.safe_load(text) or []
    except yaml.YAMLError as error:
        raise ConfigurationInvalid(f"{origin} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if isinstance(content, dict) and content.keys() == {"models"}:
        content = content["models"]
    try:
        return _LIST.validate_python(content)
    except ValidationError as error:
        faults = [_fault(content, fault["loc"], fault["msg"]) for fault in error.errors()]
        raise ConfigurationInvalid(f"{origin}: " + "; ".join(faults)) from None


def _fault(content: Any, place: tuple[int | str, ...], message: str) -> str:
    if not place:
        return f"a list of models is needed: {message}"
    entry = content[place[0]] if isinstance(place[0], int) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"model {place[0]}{f' ({name})' if name else ''}: {'.'.join(map(str, place[1:])) or 'entry'}: {message}"


def _info(named: NamedModel, settings: Settings) -> ModelInfo:
    args = configured_args(named.engine, settings)
    given = named.args.model_dump(exclude_none=True)
    voices = {name: Path(file) for name, file in named.voices.items()}
    known = {name: given.pop(name) for name in ("device", "compute_type", "threads", "workers") if name in given}
    return ModelInfo(
        named.name,
        named.engine,
        owned_by=named.owner,
        args=replace(args, **known, extra={**args.extra, **given}, voices=voices),
        **named.model_dump(include={"ttl", "preload", "url", "files", "env"}),
    )
