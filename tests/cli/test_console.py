"""What the terminal shows of a run of attacks."""

import io
from dataclasses import replace

from rich.console import Console

from holdfast.cli.console import attack_notes, attack_tables
from holdfast.core.assessment import Assessment
from holdfast.core.record import Measurement, Outcome, Status, ThreatModel
from tests.report.building import outcome, record, share, subject

WHITE = ThreatModel("Gradients", False, "linf", (0.03, 0.1), 1)


def shown(*outcomes: Outcome, width: int = 80) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width, highlight=False)
    run = Assessment("Attack", subject(), "attack", "unjudged", 0, outcomes, None)
    for table in attack_tables(run):
        console.print(table)
    for line in attack_notes(run):
        console.print(line)
    return text.getvalue()


def curve(*more: Measurement) -> tuple[Measurement, ...]:
    return (
        share("clean accuracy", 0.9, 30),
        share("robust accuracy", 0.8, 30, "eps=0.03"),
        share("accuracy under random noise", 0.9, 30, "eps=0.03"),
        share("robust accuracy", 0.5, 30, "eps=0.1"),
        *more,
    )


def test_one_line_per_budget_with_its_control_and_no_name_is_broken_at_80_columns() -> None:
    made = record("evasion/fast_verdict", "EvasionAttack", curve(), threat=WHITE)
    first, second = shown(outcome("Fast verdict", made)).splitlines()[2:4]
    assert first.split() == [
        "evasion/fast_verdict", "linf", "0.03", "0.800", "[0.61,", "0.92]", "0.900", "30", "41+40",
    ]  # fmt: skip
    assert second.split()[:3] == ["linf", "0.1", "0.500"]


def test_a_minimum_norm_attack_tells_its_median_distance() -> None:
    median = Measurement("median distance", 0.119, 29, 0.06, 0.15, "quartiles")
    made = record("evasion/fmn", "EvasionAttack", curve(median), threat=WHITE)
    assert "0.119 [0.06, 0.15]" in shown(outcome("Fast minimum norm", made))


def test_a_change_for_all_inputs_stands_apart_beside_random_content() -> None:
    counts = (
        share("attack success", 0.9, 30),
        share("success without frame", 0.2, 30),
        share("success of a random frame", 0.1, 30),
    )
    made = record("evasion/eyeglasses", "UniversalAttack", counts)
    other = record("evasion/pgd", "EvasionAttack", curve(), threat=WHITE)
    said = shown(outcome("Eyeglass frames", made), outcome("PGD", other))
    assert "low is good" in said
    line = next(line for line in said.splitlines() if "eyeglasses" in line)
    assert line.split()[-3:-1] == ["0.100", "30"]
    assert said.index("attack success") < said.index("robust accuracy")


def test_what_was_not_run_and_the_limits_of_what_was_are_said_below() -> None:
    bare = Outcome("evasion/bpda", "evasion/bpda", "BPDA", Status.NOT_APPLICABLE, "needs [a] part")
    made = record("evasion/fmn", "EvasionAttack", curve(), threat=WHITE, notes=("2 rows stood",))
    said = shown(bare, outcome("FMN", made), width=200)
    assert "not applicable: evasion/bpda: needs [a] part" in said
    assert "note: evasion/fmn: 2 rows stood" in said


def test_queries_that_paid_for_no_gradient_are_not_taken_for_robustness() -> None:
    made = record("evasion/pgd", "EvasionAttack", curve(), threat=WHITE)
    idle = replace(made, backwards=0.0)
    assert "nothing was tried" in shown(outcome("PGD", idle), width=200)
    assert "nothing was tried" not in shown(outcome("PGD", made), width=200)


def test_an_attack_that_random_noise_beats_is_not_believed() -> None:
    weak = (
        share("robust accuracy", 1.0, 5, "eps=0.1"),
        share("accuracy under random noise", 0.4, 5, "eps=0.1"),
    )
    made = record("evasion/nes", "EvasionAttack", weak, threat=WHITE)
    assert "at linf 0.1 the control" in shown(outcome("NES", made), width=200)
    strong = record("evasion/pgd", "EvasionAttack", curve(), threat=WHITE)
    assert "the control, which" not in shown(outcome("PGD", strong), width=200)
