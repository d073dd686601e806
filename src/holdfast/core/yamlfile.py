"""Plans and policies as people write them: YAML, with errors that name the field."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from holdfast.core.errors import InputError

M = TypeVar("M", bound=BaseModel)


def read(path: Path) -> object:
    """What a YAML file says.

    Raises:
        InputError: it is not valid YAML, or not text.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path.name} is not valid YAML", got=said, fix="mend it there") from error


def value(text: str) -> Any:
    """One value of a `key=value` setting, such as 3, true or [0.1, 0.2].

    Raises:
        InputError: it is not valid YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError("a value", got=text, fix="write it as in YAML, such as [0.1]") from error


def validated(model: type[M], body: object, name: str) -> M:
    """`body` as a `model`.

    Raises:
        InputError: a field is missing, unknown or of the wrong type; names the first one.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        got = repr(first["input"])[:80]
        raise InputError(f"{name}: {where}", got=got, fix=first["msg"].lower()) from error
