"""One model's whole assessment: what the report shows and what a policy decides from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.core.policy import Verdict
from holdfast.core.record import Outcome, Subject


@dataclass(frozen=True)
class Assessment:
    """Outcomes of one plan on one model, in the plan's order.

    Attributes:
        title: what this model is called in the report, such as "Before hardening".
        subject: model and data.
        profile: name of the plan's profile.
        tier: risk tier it was judged for.
        seed: root of all random streams.
        outcomes: one per check of the plan.
        verdict: the policy's decision, None before review.
        facts: more about the model: parameters, classes, clean accuracy, training time.
        command: what reproduces it.
    """

    title: str
    subject: Subject
    profile: str
    tier: str
    seed: int
    outcomes: tuple[Outcome, ...]
    verdict: Verdict | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
