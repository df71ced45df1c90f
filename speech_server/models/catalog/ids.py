"""What may be a model's id: the one check of names that come from outside, before any of them becomes a path."""

from __future__ import annotations

import re

from speech_server.errors import ModelNotFound

# huggingface_hub's own rule, with a letter or digit first: such a name is one folder on every file system.
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
_ID = re.compile(rf"(?:({_PART})/)?{_PART}", re.ASCII)
_LONGEST = 193
# On a hub these lead to other things than models: datasets/x is the data set x.
_RESERVED = frozenset({"datasets", "spaces", "models", "buckets", "api"})


def is_model_id(name: str) -> bool:
    found = _ID.fullmatch(name) if len(name) <= _LONGEST else None
    if found is None or "--" in name or ".." in name or name.endswith(".git"):
        return False
    return (found[1] or "").lower() not in _RESERVED


def require_model_id(name: str) -> str:
    """The name, or ModelNotFound."""
    if not is_model_id(name):
        raise ModelNotFound(f"'{shown(name)}' is no model id: use owner/name, as on the hub", param="model")
    return name


def shown(name: str) -> str:
    """As much of a stranger's name as a message can bear."""
    return name if len(name) <= 100 else name[:100] + "..."
