"""Plans: which checks to run. Written in YAML, checked against the catalogue before anything runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from holdfast.core import yamlfile
from holdfast.core.errors import InputError
from holdfast.core.method import REGISTRY, Method
from holdfast.core.record import Value

PROFILES = Path(__file__).parent / "profiles"


class Check(BaseModel):
    """One method with its settings and the attacker to suppose.

    Attributes:
        id: name in plans, policies and reports: the method's id, with a suffix where it is run twice.
        method: catalogue id.
        params: hyperparameters that differ from their defaults.
        measure: how change is measured, for attacks within a budget.
        eps: the budgets to try, ascending.
        queries: allowed passes per row, None for no limit.
        rows: at most this many held-out rows, None for all.
        wanted: index of the class that inputs are to be answered as, None for any but their own.
        mask: a .npy file of one input's shape, not zero where an attacker may change it.
        weight: expected share of the run time, for the progress bar.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    method: str
    params: Mapping[str, Value] = {}
    measure: str | None = None
    eps: tuple[Annotated[float, Field(gt=0)], ...] = ()
    queries: Annotated[int | None, Field(ge=1)] = None
    rows: Annotated[int | None, Field(ge=1)] = None
    wanted: Annotated[int | None, Field(ge=0)] = None
    mask: str | None = None
    weight: float = 1.0

    def build(self) -> Method:
        """The method with its settings.

        Raises:
            InputError: unknown method, unknown parameter, or a value out of range.
        """
        if self.method not in REGISTRY:
            raise InputError("no method has this id", got=self.method, fix="see `holdfast list`")
        cls = REGISTRY[self.method].cls
        fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # methods are dataclasses
        for name, value in self.params.items():
            if name not in fields:
                known = ", ".join(fields) or "none"
                raise InputError(
                    f"{self.method} has no parameter {name!r}", got=value, fix=f"it has: {known}"
                )
            wanted = type(fields[name].default)
            if not (isinstance(value, wanted) or (wanted is float and isinstance(value, int))):
                raise InputError(
                    f"{self.id}: {name} must be a {wanted.__name__}",
                    got=value,
                    fix=f"such as {fields[name].default}",
                )
        return cls(**self.params)


class Plan(BaseModel):
    """A named list of checks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    checks: tuple[Check, ...]

    def only(self, ids: Sequence[str]) -> "Plan":
        """The checks whose id or method is among `ids`."""
        chosen = tuple(c for c in self.checks if c.id in ids or c.method in ids)
        missing = [i for i in ids if not any(i in (c.id, c.method) for c in chosen)]
        if missing:
            raise InputError(
                "the plan has no such check", got=", ".join(missing), fix="see `holdfast show`"
            )
        return self.model_copy(update={"checks": chosen})


def profiles() -> list[str]:
    """Names of the plans that are shipped."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_plan(source: str | Path, settings: Sequence[str] = ()) -> Plan:
    """A shipped profile by name, or a plan file; then `check.key=value` settings on top.

    Raises:
        InputError: no such plan, not valid YAML, or not a valid plan; says which line or field.
    """
    path = PROFILES / f"{source}.yaml"
    if not path.is_file():
        path = Path(source)
    if not path.is_file():
        raise InputError(
            "no such plan", got=source, fix=f"give a YAML file or one of {', '.join(profiles())}"
        )
    body = yamlfile.read(path)
    plan = yamlfile.validated(Plan, body, path.name)
    for setting in settings:
        _set(body, setting)
        plan = yamlfile.validated(Plan, body, setting)
    ids = [check.id for check in plan.checks]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise InputError(
            f"{path.name}: check ids must differ",
            got=", ".join(twice),
            fix="add a suffix such as .l2",
        )
    return plan


def _set(body: Any, setting: str) -> None:
    """Apply `evasion/pgd.linf.eps=[0.1]` or `evasion/pgd.linf.params.steps=5` to a valid plan."""
    target, sign, text = setting.partition("=")
    named = [c for c in body["checks"] if target.startswith(f"{c['id']}.")]
    example = "write check-id.key=value, such as evasion/pgd.linf.rows=100"
    if not sign or not named:
        raise InputError("a setting", got=setting, fix=example)
    check = max(named, key=lambda c: len(c["id"]))
    *path, key = target[len(check["id"]) + 1 :].split(".")
    for part in path:
        check = check.setdefault(part, {})
        if not isinstance(check, dict):
            raise InputError(f"{part} has no parts", got=setting, fix=example)
    check[key] = yamlfile.value(text)
