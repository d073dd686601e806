"""`review` and `report`: read the store, decide, render; no method is run."""

from pathlib import Path

from holdfast.cli.assessing import UNJUDGED, with_verdict, write_report
from holdfast.cli.console import out, verdict_lines
from holdfast.core.errors import InputError
from holdfast.core.policy import Decision
from holdfast.review.policy import load_policy
from holdfast.store.sql import Store


def run(number: int | None, policy: str, tier: str, folder: Path | None) -> int:
    """The verb `review`: 0 when the model may go live, 1 when not.

    Raises:
        InputError: there is nothing to judge, or it is a run of `attack` that nobody asked for.
    """
    chosen = load_policy(policy)
    chosen.tier(tier)
    with Store.default() as store:
        stored = store.assessment(number)
        if number is None and stored.tier == UNJUDGED.name:
            raise InputError(
                "the newest in the store is no assessment", got="a run of `holdfast attack`",
                fix="give the number of an assessment, or run `holdfast assess`",
            )  # fmt: skip
        judged = with_verdict(stored, chosen, tier)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            write_report([judged], store, folder)
    for line in verdict_lines(judged):
        out.print(line)
    subject = judged.subject
    policy_name = f"policy {chosen.name}, sha256 {chosen.digest[:12]}"
    out.print(f"[dim]{policy_name}; {subject.model} on {subject.data}[/]")
    return 0 if judged.verdict and judged.verdict.decision == Decision.ALLOW else 1


def rewrite(number: int | None, folder: Path) -> None:
    """The verb `report`."""
    with Store.default() as store:
        folder.mkdir(parents=True, exist_ok=True)
        write_report([store.assessment(number)], store, folder)
    out.print(f"report: [bold]{folder / 'report.html'}[/]")
