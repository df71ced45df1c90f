"""Starts the server from Python: `speech_server.run_server(model_name="openai/whisper-base", port=8000)`."""

from __future__ import annotations

from typing import Any


def run_server(
    model_name: str | None = None, host: str = "127.0.0.1", port: int = 8000, *, dtype: object = None, **settings: Any
) -> int:
    """Serve until a signal comes; returns the exit status.

    `model_name` is loaded at start and becomes what `whisper-1` means. `dtype` is its precision: CTranslate2's name
    (int8, float16, bfloat16), or a type of that name as JAX, NumPy and torch have them. `settings` are rows of
    speech_server.settings.Settings and win over the environment. Raises ValueError for bad ones.
    """
    from speech_server.commands.serve import serve
    from speech_server.models.library.catalog import Catalog
    from speech_server.settings import Settings

    table = Settings(uvicorn_host=host, uvicorn_port=port, **settings)
    changes: dict[str, Any] = {}
    if dtype is not None:
        changes["whisper"] = table.whisper.model_copy(update={"compute_type": dtype_name(dtype)})
    if model_name is not None:
        model_id = Catalog(table).resolve(model_name)
        changes |= {"default_stt_model": model_id, "preload_models": [*table.preload_models, model_id]}
    return serve(table.model_copy(update=changes))


def dtype_name(dtype: object) -> str:
    """`bfloat16` from "bfloat16", numpy.dtype("bfloat16"), jnp.bfloat16 or torch.bfloat16."""
    if isinstance(dtype, str):
        return dtype
    return str(getattr(dtype, "__name__", dtype)).rpartition(".")[2]
