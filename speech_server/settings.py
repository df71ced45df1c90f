"""The server's settings: one table of environment variables, read once."""

from __future__ import annotations

import json
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from outgoing.url import parse_base
from speech_server.nested_settings import IceServer, OrtOptions, Whisper


def level_name(value: object) -> object:
    """As logging's own names are written in other programs: INFO, Warn."""
    name = value.strip().lower() if isinstance(value, str) else value
    return "warning" if name == "warn" else name


def items(value: object) -> object:
    """Of a JSON list, or of one with commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


Names = Annotated[list[str], NoDecode, BeforeValidator(items)]


class Settings(BaseSettings):
    """Every environment variable the server reads; each row's description is its documentation."""

    model_config = SettingsConfigDict(env_nested_delimiter="__", env_ignore_empty=True, extra="ignore", frozen=True)

    # --- the HTTP server ---
    uvicorn_host: str = Field("127.0.0.1", description="Address to listen on.")
    uvicorn_port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    api_key: str | None = Field(None, description="Clients must send this key; unset means no authentication.")
    lender_key: str = Field(
        "",
        description="Set by whoever runs the server as a child and lends it files: what their addresses on loopback "
        "begin with. Empty: files are uploaded.",
    )
    auth_failure_status: Annotated[Literal[401, 403], BeforeValidator(int)] = Field(
        403, description="Status for a missing or wrong key: Speaches' 403, or OpenAI's 401."
    )
    allow_origins: Names = Field(
        [],
        description="Origins of web pages that may use the server, by CORS and without a key: a JSON list or comma "
        "separated; * is every page.",
    )
    allowed_hosts: Names = Field(
        [],
        description="Names this server is reached by, where there is no API_KEY: a JSON list or comma separated. "
        "* asks neither for names nor for origins: a gateway in front does.",
    )
    enable_ui: bool = Field(True, description="Whether there is a page to try the server on, at /.")
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(level_name)] = Field(
        "info", description="How much is logged, in any case; warn means warning."
    )
    max_upload_mb: int = Field(1024, gt=0, description="Largest body with a file in MB; more is 413.")
    max_json_mb: int = Field(2, gt=0, description="Largest body of every other request in MB; more is 413.")
    max_chat_mb: int = Field(32, gt=0, description="The same for voice chat, whose audio is in its JSON.")
    max_chats_mb: int = Field(
        256, gt=0, description="Memory in MB for the bodies of all voice chats in work; one more is 503."
    )
    max_concurrent_requests: int = Field(
        256, gt=0, description="Requests and WebSockets worked on at once; one more is 503."
    )
    max_connections: int = Field(
        1024, gt=0, description="Connections open at once; one more closes the one idle for longest, or is 503."
    )
    header_timeout: float = Field(15, gt=0, description="Seconds a client may take to send a request's headers.")
    body_timeout: float = Field(
        30, gt=0, description="Seconds a request's body may take, and what its size adds at BODY_MIN_RATE."
    )
    body_min_rate: float = Field(
        1000, gt=0, description="Slowest a body may come in the long run, in bytes per second."
    )
    send_timeout: float = Field(120, gt=0, description="Seconds a client may leave unread what it is sent.")
    shutdown_timeout: float = Field(
        30.0, ge=0, description="Seconds that requests in flight get after SIGTERM, and then the models to close."
    )

    # --- models ---
    preload_models: Names = Field(
        [], description="Models downloaded and loaded before /ping says ready: a JSON list or comma separated."
    )
    stt_model_ttl: float = Field(
        300, ge=-1, description="Idle seconds before a Whisper model leaves memory; -1 never. Preloaded models stay."
    )
    tts_model_ttl: float = Field(300, ge=-1, description="Idle seconds before a speech model leaves memory; -1 never.")
    vad_model_ttl: float = Field(
        -1, ge=-1, description="Idle seconds before a voice detector or a turn model leaves memory; -1 never."
    )
    speaker_model_ttl: float = Field(
        300, ge=-1, description="Idle seconds before a voice encoder or a segmentation leaves memory; -1 never."
    )
    model_load_timeout: float = Field(
        300, gt=0, description="Seconds one model may take to load; a load that takes longer ends the server."
    )
    engine_step_timeout: float = Field(
        600, gt=0, description="Seconds one batch, or closing a model, may take; one that takes longer ends the server."
    )
    model_memory_mb: int = Field(
        0,
        ge=-1,
        description="Memory budget for loaded models in MB; 0 means four fifths of the container's memory less 512 MB, "
        "-1 no limit. Least recently used goes first.",
    )
    model_aliases_file: Path = Field(
        Path("model_aliases.json"), description='File of {"alias": "model id"}; the built-in aliases stay.'
    )
    models_file: Path = Field(
        Path("models.yaml"), description="Models of one's own by name, with url, task and arguments; see the docs."
    )
    models: str = Field("", description="The same as MODELS_FILE's content, inline as YAML or JSON.")
    auto_download: bool = Field(
        True, description="Download a known model on its first use; unknown ones need POST /v1/models/{id}."
    )
    model_download_timeout: float = Field(
        3600, gt=0, description="Seconds a download may take, or wait for another process that pulls the same model."
    )
    model_management: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether callers may pull, remove, load and unload models over HTTP; auto: where API_KEY is "
        "set, or only this machine can connect.",
    )
    model_owners: Names = Field(
        ["deepdml", "distil-whisper", "istupakov", "mobiuslabsgmbh", "speaches-ai", "Systran", "Xenova"],
        description="Owners on the hub whose models callers may pull besides those that the registry or MODELS_FILE "
        "names; * means anybody's.",
    )
    model_pulls: int = Field(2, gt=0, description="Models downloaded at once.")
    model_pulls_waiting: int = Field(8, ge=0, description="Downloads that wait for their turn; one more is 429.")
    model_recheck_interval: float = Field(
        5, gt=0, description="Seconds between looks at the disk for models that other programs installed or removed."
    )
    model_read_caches: Annotated[list[Path], NoDecode, BeforeValidator(items)] = Field(
        [], description="More Hugging Face caches to find models in, never written to: a platform's own, say."
    )
    int8_cache: bool = Field(
        True, description="Keep an int8 copy of Whisper models that run on a CPU: they load in a fifth of the time."
    )
    default_stt_model: str = Field(
        "Systran/faster-whisper-large-v3",
        description="What whisper-1 names; where it is not installed, the best multilingual Whisper that is.",
    )
    default_tts_model: str = Field(
        "speaches-ai/Kokoro-82M-v1.0-ONNX",
        description="What tts-1 names; where it is not installed, another Kokoro that is.",
    )
    default_speaker_model: str = Field(
        "campplus",
        description="The voice encoder that tells speakers apart; where it is not installed, another that is.",
    )
    default_segmentation_model: str = Field(
        "silero_vad",
        description="What tells who speaks when: voice activity, which hears one at a time, or a segmentation model, "
        "which also hears who speaks at once.",
    )
    default_turn_model: str = Field(
        "pipecat-ai/smart-turn-v3",
        description="What hears whether somebody has finished, for realtime's semantic_vad; where it is not installed, "
        "or with silero_vad, the length of the silence decides.",
    )

    # --- the machine ---
    require_gpu: Annotated[Literal["auto", "true", "false"], BeforeValidator(level_name)] = Field(
        "auto",
        description="Without a GPU that can be used: true ends the server with the reason, false runs it on the CPU; "
        "auto is true where the container was given one, by NVIDIA_VISIBLE_DEVICES or by what the worker is told.",
    )
    warm_up_timeout: float = Field(
        60, ge=0, description="Seconds a model on a GPU may try itself out for before it is ready; 0 does not."
    )
    cpu_count: int = Field(0, ge=0, description="Most cores to use; 0: as affinity, container and platform allow.")

    # --- transcription ---
    whisper: Whisper = Whisper()
    max_audio_seconds: float = Field(
        6 * 3600, gt=0, description="Longest recording one request may carry, in seconds; more is 413."
    )
    tune_allocator: bool = Field(
        True, description="Have the C library keep freed memory: a third faster on CPU, memory stays at its peak."
    )

    # --- speech ---
    max_input_characters: int = Field(100_000, gt=0, description="Longest text one speech request may carry.")
    max_speech_seconds: float = Field(
        4 * 3600, gt=0, description="Longest sound one answer may have, in seconds; a text that takes longer is 413."
    )
    unstable_ort_opts: OrtOptions = OrtOptions()
    min_free_disk_mb: int = Field(
        512, ge=0, description="Disk that answers leave free which wait there to be whole, in MB; beyond it is 507."
    )

    # --- voice chat and realtime ---
    chat_completion_base_url: Annotated[str, AfterValidator(parse_base)] | None = Field(
        None, description="OpenAI-compatible language model behind voice chat and realtime, with its /v1."
    )
    chat_completion_api_key: str | None = Field(None, description="Key for that language model.")
    chat_completion_model: str | None = Field(
        None,
        description="Model that it is asked for where a client names none, or one of OpenAI's that speak "
        "(gpt-realtime, gpt-audio and their like).",
    )
    chat_completion_timeout: float = Field(
        60, gt=0, description="Seconds that language model may be silent, before its first word and between words."
    )
    realtime_max_sessions: int = Field(64, gt=0, description="Realtime sessions open at once; one more is 429.")
    realtime_max_seconds: float = Field(21_600, gt=0, description="Seconds a realtime session may last.")
    realtime_idle_timeout: float = Field(
        600, gt=0, description="Seconds a realtime session stays open without a word from the client."
    )
    realtime_send_timeout: float = Field(
        30, gt=0, description="Seconds a realtime client may leave what it is sent unread; then it is cut off."
    )
    realtime_max_turn_seconds: float = Field(
        300, gt=0, description="Seconds one turn may last; a longer one is ended, and the next begins."
    )
    realtime_audio_lead: float = Field(
        1.0, ge=0, description="Seconds by which spoken replies are sent ahead of their playback."
    )

    realtime_calls: bool = Field(
        True, description="Whether realtime sessions may come over WebRTC: of no use where no UDP reaches the server."
    )
    realtime_call_timeout: float = Field(30, gt=0, description="Seconds a call may take until it is connected.")
    realtime_ice_servers: list[IceServer] = Field(
        [],
        description="STUN and TURN servers for calls, one of each: a JSON list of urls, username, credential. "
        "None by default: a call reaches the addresses that the server listens on.",
    )

    @property
    def manages_models(self) -> bool:
        """Whether model management over HTTP is on; without a key, whoever reaches the address is a stranger."""
        if self.model_management == "auto":
            return bool(self.api_key) or is_loopback(self.uvicorn_host)
        return self.model_management == "on"


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@cache
def get_settings() -> Settings:
    return Settings()
