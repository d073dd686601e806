"""Run one check on one opened model and write down everything that is needed to repeat it."""

import hashlib
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from torch import Tensor

from holdfast.assess.plan import Check
from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.method import REGISTRY, Entry
from holdfast.core.recipe import Recipe
from holdfast.core.record import Access, Record, Subject, ThreatModel
from holdfast.core.run import Memo, Run
from holdfast.core.space import Box
from holdfast.engine.case import Case
from holdfast.engine.dispatch import runner

ROOT = Path(__file__).parents[1]
BYSTANDERS = ("assess", "cli", "report", "review", "runtime", "store", "catalogue.py")
ABOUT_TRAINING = "about the ordinary training recipe, not about this model's weights"


@dataclass(frozen=True, eq=False)
class Opened:
    """A model and its data, ready to be checked.

    Attributes:
        target: the model.
        subject: what it is called and what it contains.
        train: the rows it was trained on, None when unknown.
        test: held-out rows.
        recipe: how such a model is trained, None when unknown.
        files: model files on disk, for scanners.
        facts: what else the report should say of the model.
    """

    target: object
    subject: Subject
    train: Dataset | None
    test: Dataset
    recipe: Recipe | None
    files: tuple[Path, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def about_training(entry: Entry) -> bool:
    """Whether a check asks how such a model is trained, and never looks at this one."""
    plants = ("BackdoorAttack", "DataFilter", "Repair", "Aggregator", "FederatedAttack")
    return entry.kind in plants or (entry.kind == "PoisoningAttack" and entry.needs == "Nothing")


def key(check: Check, opened: Opened, seed: int) -> str:
    """sha256 over all that determines a check's result: settings, contents, seed and code.

    Checks about training leave the weights out, so models of one recipe share their records.
    """
    training = about_training(REGISTRY[check.method])
    told = {
        "check": check.model_dump(mode="json", exclude={"weight"}),
        "model": "" if training else opened.subject.model_digest,
        "data": opened.subject.data_digest,
        "recipe": opened.recipe.digest if opened.recipe else "",
        "source": "" if training else opened.facts.get("code", ""),
        "seed": seed,
        "code": code_digest(),
        "mask": hashlib.sha256(Path(check.mask).read_bytes()).hexdigest() if check.mask else "",
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def masked(target: object, file: str | None, data: Dataset) -> object:
    """The target whose attackers may change only what the mask file allows.

    Raises:
        InputError: the file is not an array of one input's shape.
        NotApplicable: the target's inputs cannot be masked.
    """
    if file is None:
        return target
    space = getattr(target, "space", None)
    own = {f.name for f in fields(target)} if is_dataclass(target) else set()
    if not isinstance(space, Box) or "space" not in own:
        raise NotApplicable("masks are for inputs in a box of fixed shape")
    try:
        values = torch.from_numpy(np.load(file, allow_pickle=False))
        if bool(values.double().isnan().any()):
            raise ValueError("it holds values that are no numbers")
        editable = values != 0
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            "a mask", got=f"{file}: {error}", fix="save one with numpy.save"
        ) from error
    shape = data.tensor.shape[1:]
    if editable.shape != shape:
        raise InputError("a mask must have one input's shape", got=tuple(editable.shape),
                         fix=f"give an array of shape {tuple(shape)}")  # fmt: skip
    return replace(target, space=replace(space, editable=editable))  # type: ignore[type-var]  # checked above


@cache
def code_digest() -> str:
    """sha256 over the code that makes results; reports, policies and the command line do not."""
    told = hashlib.sha256()
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] not in BYSTANDERS:
            told.update(path.read_bytes())
    return told.hexdigest()


def execute(
    check: Check, opened: Opened, seed: int, memo: Memo | None = None
) -> tuple[Record, Mapping[str, Tensor]]:
    """Run a check; what `memo` holds of an earlier, interrupted run is not done again.

    Raises:
        NotApplicable: it cannot be run on this model; the message says why.
    """
    method = check.build()
    entry = REGISTRY[check.method]
    test = opened.test if check.rows is None else opened.test.first(check.rows)
    threat = ThreatModel(
        cast(Access, entry.needs if entry.needs in get_args(Access) else "Nothing"),
        measure=check.measure,
        eps=check.eps,
        queries=check.queries,
        targeted=check.wanted is not None,
        wanted=check.wanted,
    )
    training = about_training(entry)
    target = None if training else masked(opened.target, check.mask, test)
    case = Case(target, test, threat, opened.train, opened.recipe, files=opened.files)
    run = Run(seed=seed, queries=check.queries, memo=memo)
    started, clock = datetime.now(UTC), time.perf_counter()
    evidence = runner(entry.cls)(method, case, run)
    seconds = time.perf_counter() - clock
    rows = max(1, evidence.rows)
    record = Record(
        key=key(check, opened, seed),
        check=check.id,
        method=check.method,
        kind=entry.kind,
        params=method.params,
        given=tuple(check.params),
        threat=threat,
        subject=opened.subject,
        seed=seed,
        versions=versions(),
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        forwards=evidence.forwards / rows,
        backwards=evidence.backwards / rows,
        rows=evidence.rows,
        measurements=evidence.measurements,
        notes=(ABOUT_TRAINING, *evidence.notes) if training else evidence.notes,
        findings=evidence.findings,
    )
    return record, evidence.tensors


@cache
def versions() -> dict[str, str]:
    """Versions of what may change a result."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("holdfast", "numpy", "scipy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
