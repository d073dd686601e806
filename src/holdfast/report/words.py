"""The report's vocabulary: families, stages, plain words for access, and how numbers are written."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from holdfast.core.record import (
    Finding,
    Measurement,
    Outcome,
    Property,
    Record,
    Severity,
    Stage,
    ThreatModel,
)
from holdfast.ops.stats import clopper_pearson

THIN = "\u202f"
"""Narrow space that does not break, between a number and its unit."""

UNJUDGED = "unjudged"
"""The tier of runs that are held against no limit."""
FAMILIES: Mapping[str, tuple[str, Property, Stage]] = {
    "evasion": ("Changed inputs", Property.ROBUSTNESS, Stage.TRAINING),
    "poisoning": ("Changed training data", Property.INTEGRITY, Stage.DATA),
    "backdoor": ("Hidden triggers", Property.INTEGRITY, Stage.DATA),
    "privacy": ("Leaks about people in the data", Property.PRIVACY, Stage.TRAINING),
    "extraction": ("Stolen models", Property.CONFIDENTIALITY, Stage.DEPLOYMENT),
    "trust": ("Faults without an attacker", Property.ROBUSTNESS, Stage.VALIDATION),
    "supply": ("Files and dependencies", Property.INTEGRITY, Stage.DEPLOYMENT),
}
"""Threat families: what they are about, and the property and stage of a check without a finding."""

_FAMILY_OF_KIND = {
    "EvasionAttack": "evasion",
    "UniversalAttack": "evasion",
    "PoisoningAttack": "poisoning",
    "FederatedAttack": "poisoning",
    "BackdoorAttack": "backdoor",
    "WeightScan": "backdoor",
    "MembershipAttack": "privacy",
    "ReconstructionAttack": "privacy",
    "ExtractionAttack": "extraction",
    "Scanner": "supply",
}
PROPERTY_TEXT: Mapping[Property, str] = {
    Property.CONFIDENTIALITY: "Can the model be copied?",
    Property.INTEGRITY: "Has anyone tampered, or could they?",
    Property.ROBUSTNESS: "Do answers hold when inputs change?",
    Property.PRIVACY: "Does it give away its training data?",
}
ACCESS: Mapping[str, str] = {
    "Nothing": "no access to the model",
    "Answers": "sees only the model's answers",
    "Scores": "sees the model's scores",
    "Gradients": "sees the model's gradients (white box)",
    "Features": "sees the model's inner features",
    "Shielded": "holds the model and the defence in front of it (white box)",
    "Trees": "holds the model's trees (white box)",
    "Uncertain": "sees the gradients of the model's scores and of its uncertainty (white box)",
    "Weights": "holds the model's weights (white box)",
    "WordGradients": "sees gradients of candidate words (white box)",
    "SharedGradients": "sees the updates that a training client shares",
}
TERMS: Mapping[str, str] = {
    "success kept in 8 bits": "of the inputs that misled the model, how many still do once stored as "
    "8-bit pixels",
    "median distance": "the change that half of the misled inputs need at most; beside it stand the "
    "quartiles, and inputs that were never misled are left out",
    "attack success, digital": "pasted as it is, without a change of place, angle, scale or light",
    "accuracy under one try": "the control: the attack's own first try, before it could learn anything",
    "fooling rate": "answers that changed, whether they were right before or not",
    "success of a plain crop": "the control: a piece of an input of the wanted class, put at the same "
    "place",
    "broken": "of the inputs that still stood when this stage of the attack began",
    "passes per row": "forward and backward passes of this stage, averaged over all attacked inputs",
}
"""What measurements mean whose names do not say it all."""
STANDING = ("robust accuracy", "rows not moved to the class", "attack success")
_BESIDE = re.compile(
    r"(accuracy under|rows not moved to the class by) (random noise|one try)|success of a random .*"
)

MEASURES: Mapping[str, str] = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_SHARE = re.compile(
    r"accuracy|\brate\b|share|success|agreement|recall|precision|coverage|\b[tf]pr\b", re.I
)
_CONTROL = re.compile(
    r"random|control|without|undefended|non-adaptive|uniform|clean copy|planted copy|null|by their mean"
    r"|of the independent|plain crop|limit|commonest|between two|^noise|by the attacked model"
    r"|on members",
    re.I,
)
_BAD = re.compile(
    r"attack|success|error|false|loss|\bauc\b|area under the curve|\b[tf]pr\b|advantage|exposure|anomaly"
    r"|gap|difference|disparity|drop|leak|fooling|suspicious|copy|psnr|ssim|recovered|recognised|reached"
    r"|refuted|abstained|changed|differently|time|uplift|\bepsilon\b|unsafe|other findings|answered as",
    re.I,
)
_GOOD = re.compile(
    r"accuracy|certified|radius|median distance|disparate impact|precision|recall", re.I
)
_STOLEN = re.compile(r"(agreement|copy)(?! of the)(?!.*\(undefended\))")
_CAUGHT = re.compile(r"^(area under|auc|recall|precision|detection|tpr)", re.I)


def family(outcome: Outcome) -> str:
    """Threat family of a check: its method's domain, or by kind for third-party methods."""
    domain = outcome.method.partition("/")[0]
    if domain in FAMILIES:
        return domain
    return _FAMILY_OF_KIND.get(outcome.record.kind if outcome.record else "", "trust")


def properties(outcome: Outcome) -> set[Property]:
    """The properties that a check speaks of: those of its findings, its own, or its family's."""
    own = outcome.property or FAMILIES[family(outcome)][1]
    return {finding.property for finding in outcome.findings} or {own}


def stages(outcome: Outcome) -> set[Stage]:
    """The stages that a check speaks of: those of its findings, its own, or its family's."""
    own = outcome.stage or FAMILIES[family(outcome)][2]
    return {finding.stage for finding in outcome.findings} or {own}


def worst(findings: list[Finding]) -> Severity | None:
    """The highest severity, None without findings."""
    return max((finding.severity for finding in findings), default=None)


def is_share(measurement: Measurement) -> bool:
    """Whether it is a share of something and so is written in percent.

    It is where its name says so, or where it has the exact interval of a count out of n.
    """
    ends = (measurement.value, measurement.low, measurement.high)
    if measurement.unit or not all(v is None or -1e-9 <= v <= 1 + 1e-9 for v in ends):
        return False
    return bool(_SHARE.search(measurement.name)) or _is_count(*ends, measurement.n)


@lru_cache(maxsize=4096)
def _is_count(value: float, low: float | None, high: float | None, n: int) -> bool:
    """Whether an interval is the exact one of a binomial count."""
    if low is None or high is None or n < 1 or low == high:
        return False
    exact = clopper_pearson(round(value * n), n)
    return abs(exact.low - low) < 1e-6 and abs(exact.high - high) < 1e-6


def plain(number: float) -> str:
    """Three significant digits, without exponents for everyday sizes."""
    if math.isnan(number):
        return "not measured"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if number == int(number) and abs(number) < 1e6:
        return f"{int(number):,}".replace(",", THIN).replace("-", "−")
    return f"{number:.3g}".replace("-", "−")


def number(measurement: Measurement) -> str:
    """Its value with its unit, shares in percent."""
    if is_share(measurement):
        return f"{100 * measurement.value:.1f}{THIN}%"
    return f"{plain(measurement.value)}{THIN if measurement.unit else ''}{measurement.unit}"


def interval(measurement: Measurement) -> str:
    """Its 95 % interval, "exact" where it has no width, a dash where it is unknown."""
    low, high = measurement.low, measurement.high
    if low is None or high is None:
        return "–"
    if low == high == measurement.value:
        return "exact"
    if is_share(measurement):
        return f"{100 * low:.1f} to {100 * high:.1f}{THIN}%"
    said = f"{plain(low)} to {plain(high)}"
    return f"{said} (quartiles)" if measurement.part == "quartiles" else said


def rising_is_good(kind: str, name: str) -> bool | None:
    """Whether a higher value is better for the owner of the model; None where that is not clear.

    Controls are neither good nor bad, and what a thief gets is bad whatever it is called.
    """
    if kind in ("ExtractionAttack", "OutputFilter") and _STOLEN.match(name):
        return False
    if _CONTROL.search(name):
        return None
    if kind in ("Detector", "DataFilter") and _CAUGHT.search(name):
        return True
    if kind == "Explainer" and name != "clean accuracy":
        return None
    if _BAD.search(name):
        return False
    return True if _GOOD.search(name) else None


def results(record: Record) -> list[tuple[Measurement, Measurement | None]]:
    """What an attack left at each budget, each beside its control.

    The first two measurements of a record that says neither.
    """
    told = [m for m in record.measurements if m.name in STANDING]
    beside = {m.part: m for m in reversed(record.measurements) if _BESIDE.fullmatch(m.name)}
    return [(m, beside.get(m.part)) for m in told or record.measurements[:2]]


def weaker(told: Measurement, beside: Measurement | None) -> bool:
    """Whether the control, which is no attack, misled the model more often than the attack did."""
    if beside is None:
        return False
    return beside.value > told.value if told.name == "attack success" else beside.value < told.value


def beaten(record: Record) -> list[str]:
    """The budgets at which the attack was weaker than its control."""
    return [
        budget(record, told) or "its own settings"
        for told, beside in results(record)
        if weaker(told, beside)
    ]


def budget(record: Record, told: Measurement) -> str:
    """`linf 0.1`, or what else tells this measurement from its neighbours."""
    return f"{record.threat.measure or ''} {told.part.removeprefix('eps=')}".strip()


def explained(measurements: Sequence[Measurement]) -> list[tuple[str, str]]:
    """The terms among the names of these measurements, with what they mean."""
    names = {m.name for m in measurements}
    return [(name, text) for name, text in TERMS.items() if name in names]


def threat(model: ThreatModel) -> str:
    """The supposed attacker in one sentence."""
    said = [ACCESS.get(model.knowledge, model.knowledge)]
    if model.measure:
        budget = listed([f"{eps:g}" for eps in model.eps])
        size = f" by at most {budget}" if budget else ""
        said.append(f"may change inputs{size} ({MEASURES.get(model.measure, model.measure)})")
    if model.queries is not None:
        said.append(f"may ask {model.queries:,} times per input".replace(",", THIN))
    if model.wanted is not None:
        said.append(f"wants the answer {model.wanted}")
    elif model.targeted:
        said.append("wants one chosen answer")
    if model.background:
        said.append(model.background)
    sentence = "; ".join(said)
    return sentence[:1].upper() + sentence[1:] + "."


def listed(items: list[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def seconds(time: float) -> str:
    """A duration that people read at a glance."""
    if time < 90:
        return f"{time:.3g}{THIN}s"
    return f"{time / 60:.1f}{THIN}min" if time < 5400 else f"{time / 3600:.1f}{THIN}h"


def sentence(text: str) -> str:
    """Text that begins with a capital and ends with a full stop."""
    ended = text if text.endswith((".", "!", "?", "…")) else f"{text}."
    return ended[:1].upper() + ended[1:]


def moment(text: str) -> str:
    """An ISO 8601 time for people, `20 November 2026, 14:34 UTC`; other text as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    day = f"{at.day} {_MONTHS[at.month - 1]} {at.year}"
    return day if len(text) == 10 else f"{day}, {at:%H:%M}{' UTC' if at.tzname() == 'UTC' else ''}"


def count(n: int, noun: str, plural: str = "") -> str:
    """`1 check`, `2 checks`."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def tool_version() -> str:
    """Version of Holdfast that writes the report."""
    try:
        return version("holdfast")
    except PackageNotFoundError:
        return "from source"


def atlas(reference: str) -> str:
    """Address of a MITRE ATLAS technique, empty for other references."""
    found = re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", reference)
    return f"https://atlas.mitre.org/techniques/{reference}" if found else ""
