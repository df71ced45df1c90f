"""Which model the language model's server is asked for."""

from __future__ import annotations

import pytest

from speech_server.language_model import open_language_model
from speech_server.settings import Settings
from tests.stand_in_llm import stand_in_llm

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("own", "named", "asked"),
    [
        ("llama", "gpt-realtime", "llama"),
        ("llama", "gpt-realtime-2.1-mini", "llama"),
        ("llama", "gpt-4o-realtime-preview-2024-12-17", "llama"),
        ("llama", "gpt-audio-mini-2025-12-15", "llama"),
        ("llama", None, "llama"),
        ("llama", "gpt-4o-mini", "gpt-4o-mini"),
        ("llama", "my-gpt-realtime", "my-gpt-realtime"),
        (None, "gpt-realtime", "gpt-realtime"),
    ],
)
async def test_openai_s_speaking_models_are_one_s_own_where_it_is_named(own: str | None, named: str | None, asked: str):
    with stand_in_llm("Hello.") as llm:
        settings = Settings(chat_completion_base_url=llm.url, chat_completion_model=own)
        async with open_language_model(settings) as model:
            await model.complete({"model": named, "messages": [{"role": "user", "content": "Hi"}]})
    assert llm.requests[-1][1]["model"] == asked
