"""`assess`: open, plan, run in worker processes, judge, store, report."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import safetensors.torch

from holdfast import catalogue
from holdfast.assess.execute import Opened, key
from holdfast.assess.plan import Check, Plan, load_plan
from holdfast.assess.session import Result, outcomes
from holdfast.assess.session import assess as run_checks
from holdfast.cli.console import log, out, outcome_table, progress, verdict_lines
from holdfast.cli.opening import Source, open_source
from holdfast.core.assessment import Assessment
from holdfast.core.errors import InputError
from holdfast.core.policy import Tier
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import Status
from holdfast.report import words
from holdfast.review.policy import Policy, decide, load_policy
from holdfast.runtime import local
from holdfast.store.sql import Store

PARTIAL = Path(".holdfast") / "partial"
"""Where unfinished checks keep what they have, in a folder named by each one's key."""

UNJUDGED = Tier(words.UNJUDGED, (), ())
"""The tier of runs of `attack`, which are held against no limit."""


def run(source: Source, profile: str, settings: Sequence[str], folder: Path, seed: int) -> None:
    """The verb `assess`."""
    catalogue.load_all()
    plan = load_plan(profile, settings) if profile else None
    opened = open_source(source)
    images = opened.test.tensor.ndim == 4
    plan = plan or load_plan("image-classifier" if images else "tabular-classifier", settings)
    for check in plan.checks:
        check.build()
    _writable(folder)
    for name in ("warning", "note"):
        if name in opened.facts:
            log.print(f"{name}: {opened.facts[name]}", style="yellow", markup=False)
    policy = load_policy()
    with Store.default() as store:
        assessment = assess(source, opened, plan, policy.tier("medium"), seed, store, "Assessment")
        assessment = with_verdict(assessment, policy, "medium")
        number = store.add_assessment(assessment)
        write_report([assessment], store, folder)
    out.print(outcome_table(assessment))
    out.print()
    for line in verdict_lines(assessment):
        out.print(line)
    out.print(f"\nassessment {number}; report: [bold]{folder / 'report.html'}[/]")
    if any(o.status == Status.ERROR for o in assessment.outcomes):
        sys.exit(2)


def assess(
    source: Source, opened: Opened, plan: Plan, tier: Tier, seed: int, store: Store, title: str
) -> Assessment:
    """Run what is missing, with a progress bar, and judge all."""
    titles = {each.id: each.title for each in catalogue.listings().values()}
    total = sum(check.weight for check in plan.checks)
    with progress() as bar:
        task = bar.add_task(f"{title}: {words.count(len(plan.checks), 'check')}", total=total)

        def told(check: Check, result: Result) -> None:
            bar.update(task, advance=check.weight, description=f"{title}: {check.id}")
            if result.error:
                log.print(f"{check.id}: {result.error}", style="red", markup=False)

        def runner(checks: Sequence[Check]) -> Iterator[tuple[Check, Result]]:
            yield from _in_workers(source, opened, checks, seed)

        results = run_checks(plan, opened, seed, store, runner, told)
        bar.update(
            task, description=f"{title}: {words.count(len(plan.checks), 'check')}", completed=total
        )
    options = source.options() if isinstance(opened.recipe, TorchRecipe) else ""
    judged = outcomes(plan, results, titles, tier.limits, options)
    command = " ".join(["holdfast", *(shlex.quote(a) for a in sys.argv[1:])])
    return Assessment(
        title, opened.subject, plan.name, tier.name, seed, judged, None, opened.facts, command
    )


def with_verdict(assessment: Assessment, policy: Policy, tier: str) -> Assessment:
    """The same assessment with the policy's decision of today."""
    today = datetime.now(UTC).date()
    verdict = decide(policy.tier(tier), assessment.outcomes, today, policy.digest)
    return replace(assessment, tier=tier, verdict=verdict)


def write_report(assessments: Sequence[Assessment], store: Store, folder: Path) -> None:
    """report.html, report.json and report.sarif, each written whole or not at all."""
    from holdfast.report import html, json, sarif

    made = datetime.now(UTC).isoformat(timespec="seconds")
    texts = {
        "report.html": html.render(assessments, store.tensor, made),
        "report.json": json.render(assessments),
        "report.sarif": sarif.render(assessments),
    }
    for name, text in texts.items():
        part = folder / f".{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)


def _in_workers(
    source: Source, opened: Opened, checks: Sequence[Check], seed: int
) -> Iterator[tuple[Check, Result]]:
    """Dear checks first, so that no worker is left with a long one at the end."""
    by_key = {key(check, opened, seed): check for check in checks}
    ordered = sorted(by_key.items(), key=lambda pair: -pair[1].weight)
    shared = {"source": source.as_dict(), "seed": seed}
    items = [
        local.Item(
            k,
            json.dumps({**shared, "check": c.model_dump(mode="json"), "partial": str(PARTIAL / k)}),
        )
        for k, c in ordered
    ]
    workers = int(os.environ.get("HOLDFAST_WORKERS", "0")) or min(
        os.cpu_count() or 1, len(items) or 1
    )
    for answer in local.run("holdfast.cli.worker:work", items, workers):
        check = by_key[answer.key]
        if isinstance(answer, local.Failed):
            yield check, Result(error=answer.error)
            continue
        record, body, reason, error = answer.result
        tensors = safetensors.torch.load(body) if body else {}
        yield check, Result(record, tensors, reason, error)


def _writable(folder: Path) -> None:
    """Find out now rather than after an hour."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "the output folder", got=error, fix="give a folder you may write to"
        ) from error
