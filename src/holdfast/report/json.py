"""Assessments as JSON, complete: what is written can be read back and is then equal."""

import json
import math
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from holdfast.core.assessment import Assessment
from holdfast.core.errors import InputError
from holdfast.core.record import Severity

SCHEMA_VERSION = 1
"""Goes up when a reader of older files would misread newer ones."""
_ADAPTER: TypeAdapter[list[Assessment]] = TypeAdapter(list[Assessment])
_FLOATS = {"nan", "inf", "-inf"}


def render(assessments: Sequence[Assessment], made: str = "") -> str:
    """The assessments as strict JSON text; infinity is written as {"float": "inf"}, NaN likewise."""
    body = _marked(_ADAPTER.dump_python(list(assessments), mode="json"))
    whole = {
        "schema_version": SCHEMA_VERSION,
        "made": made,
        "severities": [severity.name.lower() for severity in Severity],
        "assessments": body,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def load(text: str) -> list[Assessment]:
    """The assessments that `render` wrote.

    Raises:
        InputError: not JSON, not a report, or written by a newer Holdfast.
    """
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            "not a JSON report", got=str(error), fix="give a file made by holdfast report"
        ) from error
    if not isinstance(whole, dict) or "assessments" not in whole:
        raise InputError(
            "not a JSON report", got=type(whole).__name__, fix="give a file made by holdfast report"
        )
    if whole.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"only reports of schema version {SCHEMA_VERSION} can be read",
            got=whole.get("schema_version"),
            fix="use the version of Holdfast that wrote it",
        )
    try:
        return _ADAPTER.validate_python(_unmarked(whole["assessments"]))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"the report is damaged at {where}", got=first["msg"], fix="make it again"
        ) from error


def _marked(body: Any) -> Any:
    """JSON has no infinity and no NaN: mark them so that they come back as numbers."""
    if isinstance(body, float) and not math.isfinite(body):
        return {"float": str(body)}
    if isinstance(body, list):
        return [_marked(each) for each in body]
    return {key: _marked(each) for key, each in body.items()} if isinstance(body, dict) else body


def _unmarked(body: Any) -> Any:
    """The inverse of `_marked`."""
    if isinstance(body, dict) and body.keys() == {"float"} and body["float"] in _FLOATS:
        return float(body["float"])
    if isinstance(body, list):
        return [_unmarked(each) for each in body]
    return {key: _unmarked(each) for key, each in body.items()} if isinstance(body, dict) else body
