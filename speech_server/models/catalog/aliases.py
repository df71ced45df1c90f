"""Other names for models: OpenAI's, by a rule, and a user's own in model_aliases.json, {"alias": "model id"}."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from speech_server.errors import ConfigurationInvalid

_SNAPSHOT = r"(?:-\d{4}-\d{2}-\d{2}|-\d{4}|-latest)?"
_HEARING = re.compile(rf"(?:whisper-1|gpt-(?:[a-z0-9.]+-)*(?:transcribe|translate|whisper)(?:-diarize)?){_SNAPSHOT}")
_SPEAKING = re.compile(rf"(?:tts-1(?:-hd)?|gpt-(?:[a-z0-9.]+-)*tts){_SNAPSHOT}")


def openai_family(name: str) -> str | None:
    """Which models of the catalog do what OpenAI's model of that name does, whatever its version and date."""
    if _HEARING.fullmatch(name):
        return "whisper"
    return "kokoro" if _SPEAKING.fullmatch(name) else None


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
