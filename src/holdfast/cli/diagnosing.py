"""`diagnose`: does the model withstand attacks, or does it only hide its gradient?"""

from typing import cast

from rich.table import Table

from holdfast import catalogue
from holdfast.cli.attacking import number
from holdfast.cli.console import interval, out, progress
from holdfast.cli.opening import Source, open_source
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.run import Run
from holdfast.core.space import Budget, Measure
from holdfast.core.target import Gradients
from holdfast.engine.masking import Diagnosis, diagnose

NORMS = ("linf", "l2", "l1", "l0")


def run(source: Source, norm: str, eps: str, rows: int, seed: int) -> int:
    """The verb `diagnose`; 1 when the gradient is masked.

    Raises:
        InputError: the model shows no gradients, or the data cannot be attacked so.
    """
    if norm not in NORMS:
        raise InputError("the norm", got=norm, fix=f"give one of {', '.join(NORMS)}")
    budget = Budget(cast(Measure, norm), number(eps))
    catalogue.load_all()
    opened = open_source(source)
    if not isinstance(opened.target, Gradients):
        raise InputError(
            "a diagnosis looks at gradients", got=f"{source.model}, which shows none",
            fix="give the model as PyTorch or ONNX; attack it with --profile all-score-based",
        )  # fmt: skip
    with progress() as bar:
        task = bar.add_task("Looking for masked gradients", total=None)
        told = Run(
            seed=seed, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
        try:
            found = diagnose(opened.target, opened.test.first(rows), budget, told)
        except NotApplicable as reason:
            raise InputError(
                "this model cannot be diagnosed", got=reason, fix="give more rows, or another norm"
            ) from reason
    out.print(_table(found))
    out.print(f"\nrobust accuracy: {interval(found.plain)} under plain PGD")
    out.print(f"robust accuracy: {interval(found.adaptive)} under PGD and {found.chosen}")
    if found.masked:
        out.print("[bold red]MASKED[/]  believe the second figure: " + ", ".join(found.flags))
    else:
        out.print("[bold green]NOT MASKED[/]  no symptom is beyond chance; quote the second figure")
    return int(found.masked)


def _table(found: Diagnosis) -> Table:
    """One line per symptom: what was measured, and when it would be flagged."""
    table = Table(box=None)
    for name in ("symptom", "measured", "flagged when", ""):
        table.add_column(name, overflow="fold")
    for each in found.symptoms:
        mark = "[red]flagged[/]" if each.flagged else "[dim]no[/]"
        table.add_row(each.name, interval(each.evidence), each.rule, mark)
    return table
