"""The job that worker processes run: open the model once, then one check per call."""

import json
import traceback
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch

from holdfast import catalogue
from holdfast.assess.execute import Opened, execute
from holdfast.assess.plan import Check
from holdfast.cli.opening import Source, open_source
from holdfast.core.errors import HoldfastError, NotApplicable
from holdfast.core.record import Record
from holdfast.runtime.memo import Folder

Answer = tuple[Record | None, bytes, str, str]
"""A record and its tensors as safetensors, or a reason, or an error."""


def work(payload: str) -> Answer:
    """Run the check that `payload` describes: {"source", "check", "seed", "partial": a folder}."""
    told: dict[str, Any] = json.loads(payload)
    check = Check.model_validate(told["check"])
    try:
        opened = _open(json.dumps(told["source"], sort_keys=True))
        memo = Folder(Path(told["partial"]))
        record, tensors = execute(check, opened, told["seed"], memo)
        memo.clear()
    except NotApplicable as reason:
        return None, b"", str(reason), ""
    except HoldfastError as error:
        return None, b"", "", str(error)
    except Exception as error:  # a check that breaks must not take the others with it
        where = traceback.extract_tb(error.__traceback__)[-1]
        return (
            None,
            b"",
            "",
            f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})",
        )
    body = safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()})
    return record, body, "", ""


@cache
def _open(source: str) -> Opened:
    catalogue.load_all()  # runners of defences look up their attackers
    return open_source(Source.from_json(source))
