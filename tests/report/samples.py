"""Made-up assessments of a digit classifier, before and after hardening, and a hostile one.

Nothing here was measured: the numbers are chosen so that every part of the report has work to do.
"""

from functools import cache

from holdfast.core.assessment import Assessment
from holdfast.core.policy import Decision, Reason, Verdict
from holdfast.core.record import Outcome, Severity, Status, Subject, ThreatModel
from tests.report.building import finding, images, outcome, record, share, subject, tensor
from tests.report.sample_attacks import evasion, privacy, tampering
from tests.report.sample_checks import checks

__all__ = ["assessment", "hostile", "tensor"]


@cache
def assessment(hard: bool = False, title: str = "") -> Assessment:
    """A whole assessment: full of faults, or after hardening."""
    name = "digits-cnn-hardened" if hard else "digits-cnn"
    outcomes = (*evasion(hard), *privacy(hard), *tampering(hard), *checks(hard))
    against = tuple(
        Reason(o.check, f"{f.title} ({f.severity.name.lower()})", blocks=True)
        for o in outcomes
        for f in o.findings
        if f.severity >= Severity.HIGH
    )
    favour = tuple(
        Reason(o.check, f"{o.title} passed", blocks=False)
        for o in outcomes
        if o.status is Status.PASSED
    )
    return Assessment(
        title=title or ("After hardening" if hard else "Before hardening"),
        subject=subject(name),
        profile="image-classifier",
        tier="high",
        seed=0,
        outcomes=outcomes,
        verdict=Verdict(
            Decision.BLOCK if against else Decision.ALLOW,
            "high",
            against + favour,
            "c4" * 32,
            "2026-11-21",
        ),
        facts={
            "parameters": "37,994",
            "classes": "10",
            "clean accuracy": "94.5 %" if hard else "96.3 %",
            "training time": "4.2 s",
        },
        command=f"holdfast assess {name}.pt --profile image-classifier --tier high --seed 0",
    )


def hostile() -> Assessment:
    """Every text that could come from a model's file tries to leave its place in the page."""
    attack = (
        "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>]]>--></style>"
        "<svg onload=alert(3)> $x^2$ \u202e"
    )
    many = tuple(
        share(f"accuracy {attack}", 0.1 * k, 50, f"{attack}={attack}{k}") for k in range(1, 5)
    )
    curve = tuple(share(f"rate {attack}", 0.1 * k, 50, f"rate={k}") for k in range(1, 5))
    made = record(
        f"evasion/{attack}",
        attack,
        many + curve,
        threat=ThreatModel("Answers", background=attack, measure=attack),
        params={attack: attack},
        given=(attack,),
        notes=(attack,),
        tensors={"clean": images()},
    )
    found = finding(
        attack,
        Severity.HIGH,
        attack,
        attack,
        *many,
        refs=(attack,),
        remedies=(attack,),
        command=attack,
        where=attack,
    )
    return Assessment(
        attack,
        Subject(attack, attack, attack, attack, attack),
        attack,
        attack,
        0,
        (
            outcome(attack, made, found, reason=attack),
            Outcome(attack, attack, attack, Status.ERROR, attack),
        ),
        Verdict(
            Decision.BLOCK,
            attack,
            (Reason(attack, attack, True), Reason(attack, attack, False)),
            attack,
            attack,
        ),
        {attack: attack},
        attack,
    )
