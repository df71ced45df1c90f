"""Starts the server from Python: `speech_server.run_server(model_name="openai/whisper-base", port=8000)`."""

from __future__ import annotations

from typing import Any


def run_server(
    model_name: str | None = None, host: str = "127.0.0.1", port: int = 8000, *, dtype: object = None, **settings: Any
) -> int:
    """Serve until a signal comes; returns the exit status.

    `model_name`, an id or a folder, is loaded at start and becomes what `whisper-1` means. `dtype` is its precision:
    CTranslate2's name (int8, float16, bfloat16), or a type of that name as JAX, NumPy and torch have them. `settings`
    are rows of speech_server.settings.Settings and win over the environment. Raises ValueError for bad ones.
    """
    from speech_server.commands.serve import serve
    from speech_server.settings import Settings

    table = Settings(uvicorn_host=host, uvicorn_port=port, **settings)
    given = {"model": model_name, "compute_type": None if dtype is None else dtype_name(dtype)}
    whisper = table.whisper.model_copy(update={name: value for name, value in given.items() if value is not None})
    return serve(table.model_copy(update={"whisper": whisper}))


def dtype_name(dtype: object) -> str:
    """`bfloat16` from "bfloat16", numpy.dtype("bfloat16"), jnp.bfloat16 or torch.bfloat16."""
    if isinstance(dtype, str):
        return dtype
    return str(getattr(dtype, "__name__", dtype)).rpartition(".")[2]
