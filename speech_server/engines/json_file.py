"""A small JSON file that lies beside a network, from somebody nobody vouches for."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from speech_server.errors import ModelBroken
from speech_server.redaction import first_fault

Content = TypeVar("Content", bound=BaseModel)


def read_json(file: Path, kind: type[Content], longest: int, what: str) -> Content:
    """Of at most `longest` bytes; of more it is no `what`. Raises ModelBroken."""
    try:
        with file.open("rb") as opened:
            content = opened.read(longest + 1)
        if len(content) > longest:
            raise ModelBroken(f"{file} has more than {longest} bytes: it is no {what}")
        return kind.model_validate(from_json(content))
    except OSError as error:
        raise ModelBroken(f"{file} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise ModelBroken(f"{file} cannot be: {first_fault(error)}") from error
    except ValueError as error:
        raise ModelBroken(f"{file} cannot be read as JSON: {error}") from error
