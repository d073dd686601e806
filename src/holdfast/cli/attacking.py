"""`attack`: one attack or a family of them, with budgets of one's own; nothing is judged."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import torch

from holdfast import catalogue
from holdfast.assess.execute import Opened, masked
from holdfast.assess.plan import Check, Plan, load_plan
from holdfast.cli.assessing import UNJUDGED, assess, write_report
from holdfast.cli.console import attack_notes, attack_tables, log, out
from holdfast.cli.opening import Source, open_source
from holdfast.core import yamlfile
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import EvasionAttack, UniversalAttack
from holdfast.core.method import Method
from holdfast.core.record import Status
from holdfast.core.space import Box
from holdfast.engine.ledger import Ledger, view
from holdfast.store.sql import Store

USUAL = {
    "linf": (0.02, 0.05, 0.1, 0.2, 0.3), "l2": (0.25, 0.5, 1.0, 2.0), "l1": (1.0, 2.0, 4.0, 8.0),
    "l0": (1.0, 3.0, 10.0, 30.0), "words": (0.1, 0.2), "any": (),
}  # fmt: skip
"""Budgets of the security curve where none are given."""


@dataclass(frozen=True)
class Options:
    """What the attacker may do, as given on the command line; None or empty for the method's own."""

    norm: str | None = None
    eps: tuple[str, ...] = ()
    rows: int | None = None
    queries: int | None = None
    wanted: int | None = None
    mask: Path | None = None


def run(
    source: Source, methods: Sequence[str], profile: str, settings: Sequence[str],
    options: Options, folder: Path, seed: int,
) -> None:  # fmt: skip
    """The verb `attack`."""
    catalogue.load_all()
    plan = _plan(methods, profile, settings, options)
    opened = open_source(source)
    for check in plan.checks:
        _possible(check, opened, strict=not profile)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("the output folder", got=error, fix="give one you may write to") from error
    for name in ("warning", "note"):
        if name in opened.facts:
            log.print(f"{name}: {opened.facts[name]}", style="yellow", markup=False)
    with Store.default() as store:
        assessment = assess(source, opened, plan, UNJUDGED, seed, store, "Attack")
        number = store.add_assessment(assessment)
        write_report([assessment], store, folder)
    for each in attack_tables(assessment):
        out.print(each)
        out.print()
    for line in attack_notes(assessment):
        out.print(line)
    out.print(f"\nassessment {number}; report: [bold]{folder / 'report.html'}[/]")
    ends = {outcome.status for outcome in assessment.outcomes}
    if Status.ERROR in ends or ends == {Status.NOT_APPLICABLE}:
        sys.exit(2)


def _plan(methods: Sequence[str], profile: str, settings: Sequence[str], options: Options) -> Plan:
    """The family of a profile, or the named methods, with the options laid over each."""
    if bool(methods) == bool(profile):
        raise InputError(
            "what to attack with", got=", ".join([*methods, profile]).strip(", ") or "nothing",
            fix="give --method ID (see `holdfast list evasion`) or --profile, one of the two",
        )  # fmt: skip
    if profile:
        family = load_plan(profile, settings)
        checks = [_laid_over(check, options) for check in family.checks]
        kept = tuple(check for check in checks if check is not None)
        if not kept:
            raise InputError(
                f"no attack of {profile} can be run", got=f"--norm {options.norm}",
                fix="choose another norm",
            )  # fmt: skip
        return family.model_copy(update={"checks": kept})
    given = [
        _single(name, settings, options, alone=len(set(methods)) == 1)
        for name in dict.fromkeys(methods)
    ]
    return Plan(name="attack", checks=tuple(given))


def _single(name: str, settings: Sequence[str], options: Options, *, alone: bool) -> Check:
    """A check of one method; settings are `parameter=value`, or `id.parameter=value` among many."""
    catalogue.load(name)
    params = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        owner, dot, parameter = key.rpartition(".")
        if not sign or not (owner == name if dot else alone):
            if dot and sign and not alone:
                continue
            raise InputError(
                "a setting", got=setting,
                fix="write parameter=value, or ID.parameter=value where there are several methods",
            )  # fmt: skip
        params[parameter] = yamlfile.value(value)
    check = Check(id=name, method=name, params=params)
    kind = _attack(check)
    measures = kind.measures if isinstance(kind, EvasionAttack) else ("any",)
    if measures == ("any",) and (options.norm or (options.eps and alone)):
        given = options.norm or ", ".join(options.eps)
        own = f"{name} bounds its change by its own settings: see `holdfast show {name}` and use --set"
        raise InputError("the norm" if options.norm else "eps", got=given, fix=own)
    norm = options.norm or measures[0]
    if norm not in measures:
        raise InputError("the norm", got=norm, fix=f"{name} takes {', '.join(measures)}")
    laid = _laid_over(check.model_copy(update={"measure": norm, "eps": USUAL[norm]}), options)
    return cast(Check, laid)


def _laid_over(check: Check, options: Options) -> Check | None:
    """The check with the options in place; None where it lacks the norm."""
    kind = _attack(check)
    changes: dict[str, object] = {}
    counted = isinstance(kind, EvasionAttack) and kind.measures != ("any",)
    if counted and options.norm is not None:
        if options.norm not in cast(EvasionAttack[object], kind).measures:
            return None
        changes |= {"measure": options.norm, "eps": USUAL[options.norm]}
    if counted and options.eps:
        changes["eps"] = tuple(sorted({number(each) for each in options.eps}))
    if not counted:
        changes |= {"measure": None, "eps": ()}
    for name in ("rows", "queries", "wanted"):
        if (value := getattr(options, name)) is not None:
            changes[name] = value
    if options.mask is not None:
        changes["mask"] = str(options.mask.resolve())
    return Check.model_validate({**check.model_dump(), **changes})


def _attack(check: Check) -> Method:
    """The method, which must be an attack on inputs."""
    built = check.build()
    if not isinstance(built, EvasionAttack | UniversalAttack):
        raise InputError(
            "the method must attack inputs", got=check.method, fix="see `holdfast list evasion`"
        )
    return built


def _possible(check: Check, opened: Opened, *, strict: bool) -> None:
    """Say now what cannot work: a budget beyond the box, a mask that does not fit, missing access.

    Raises:
        InputError: the command must be changed. Access is left to the run for families.
    """
    space, classes = getattr(opened.target, "space", None), len(opened.test.classes)
    if check.wanted is not None and check.wanted >= classes:
        fix = f"give an index from 0 to {classes - 1}"
        raise InputError("the wanted class", got=check.wanted, fix=fix)
    try:
        target = masked(opened.target, check.mask, opened.test)
        if check.mask and not _editable(target):
            raise InputError("the mask allows no change", got=check.mask, fix="set features to 1")
        if strict:
            view(check.build(), opened.target, Ledger())
    except NotApplicable as reason:
        raise InputError(
            f"{check.method} cannot attack this model ({reason})", got=opened.subject.model,
            fix="choose another attack (`holdfast list evasion` says what each needs)",
        ) from reason  # fmt: skip
    if not isinstance(space, Box) or not check.eps or check.measure in (None, "any"):
        return
    wide = (torch.as_tensor(space.high) - torch.as_tensor(space.low)) / torch.as_tensor(space.scale)
    size = wide.expand(opened.test.tensor.shape[1:]).double()
    most = {
        "linf": float(size.max()), "l2": float(size.square().sum().sqrt()),
        "l1": float(size.sum()), "l0": float(size.numel()),
    }.get(check.measure or "", math.inf)  # fmt: skip
    if max(check.eps) > most:
        raise InputError(
            f"no valid input is that far away in {check.measure}", got=f"eps={max(check.eps):g}",
            fix=f"give at most {most:g}",
        )  # fmt: skip


def _editable(target: object) -> bool:
    """Whether the mask leaves anything to change."""
    space = getattr(target, "space", None)
    editable = space.editable if isinstance(space, Box) else None
    return editable is None or bool(editable.any())


def number(text: str) -> float:
    """A budget as written: 0.1 or 8/255.

    Raises:
        InputError: not a number above zero.
    """
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError("eps", got=text, fix="give a number such as 0.1 or 8/255") from error
    if not value > 0:
        raise InputError("eps", got=text, fix="give a number above zero")
    return value
