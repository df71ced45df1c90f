"""Settings come from the environment once, and a wrong one is named before anything starts."""

from __future__ import annotations

import dataclasses

import pytest

from worker.errors import BadSetting
from worker.settings import Settings, read_settings


def test_nothing_set_is_the_defaults():
    assert read_settings({}) == Settings()
    assert read_settings({"WORKER_CONCURRENCY": " "}) == Settings()


def test_values_are_parsed():
    settings = read_settings(
        {
            "WORKER_CONCURRENCY": "8",
            "WORKER_JOB_TIMEOUT": "2.5",
            "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS": "TRUE",
            "WORKER_HANDLER": "generator",
        }
    )
    assert (settings.concurrency, settings.job_timeout, settings.allow_private_urls) == (8, 2.5, True)
    assert settings.handler == "generator"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKER_CONCURRENCY", "x", "WORKER_CONCURRENCY: 'x' is not a whole number"),
        ("WORKER_CONCURRENCY", "1001", "1001 is not between 0 and 1000"),
        ("WORKER_JOB_TIMEOUT", "-1", "-1 is under 0.1"),
        ("WORKER_JOB_TIMEOUT", "nan", "nan is under 0.1"),
        ("WORKER_JOB_TIMEOUT", "inf", "inf"),
        ("WORKER_HANDLER", "stream", "'stream' is not one of plain, generator"),
        ("SPEECH_SERVER_HEALTH_PATH", "health", "must begin with /"),
        ("SPEECH_SERVER_COMMAND", "python 'x", "No closing quotation"),
        ("WORKER_REALTIME_PORT", "70000", "70000 is not between"),
        ("BUCKET_ENDPOINT_URL", "s3.example.com", "BUCKET_ENDPOINT_URL: only http and https URLs with a host"),
        ("BUCKET_ENDPOINT_URL", "https://a:b@s3.example.com", "BUCKET_ENDPOINT_URL: has a user name"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variable(name: str, value: str, words: str):
    with pytest.raises(BadSetting) as caught:
        read_settings({name: value})
    assert caught.value.message.startswith(name)
    assert words in caught.value.message


def test_every_default_could_have_been_set():
    written = {
        row.metadata["env"]: str(row.default).lower() if isinstance(row.default, bool) else str(row.default)
        for row in dataclasses.fields(Settings)
    }
    assert read_settings(written) == Settings()
