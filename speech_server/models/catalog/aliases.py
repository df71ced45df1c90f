"""model_aliases.json: a user's own names for models, in Speaches' format {"alias": "model id"}."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from speech_server.errors import ConfigurationInvalid


def read_aliases(path: Path) -> Mapping[str, str]:
    """Raises ConfigurationInvalid."""
    try:
        aliases = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigurationInvalid(f"{path} is no JSON: {error}") from error
    if not isinstance(aliases, dict) or not all(isinstance(target, str) and target for target in aliases.values()):
        raise ConfigurationInvalid(f'{path} must be one object of {{"alias": "model id"}}')
    for name in aliases:
        seen = [name]
        while (following := aliases.get(seen[-1])) is not None:
            if following in seen:
                raise ConfigurationInvalid(
                    f"{path}: the alias '{name}' leads back to itself: {' -> '.join([*seen, following])}"
                )
            seen.append(following)
    return aliases
