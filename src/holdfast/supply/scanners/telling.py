"""What a scanner that keeps to no format says last: what it looked at."""

from holdfast.core.record import Finding, Measurement, Property, Severity, Stage
from holdfast.supply import rules


def told(rule: str, title: str, where: str, parts: int, size: int, detail: str = "") -> Finding:
    """A finding without weight, with how many parts and bytes were read."""
    return Finding(
        rule=f"supply/{rule}", severity=Severity.INFO, title=title, detail=detail, where=where,
        property=Property.INTEGRITY, stage=Stage.DEPLOYMENT, refs=rules.REFS,
        evidence=(
            Measurement("parts read", parts, parts, parts, parts),
            Measurement("bytes read", size, parts, size, size, unit="bytes"),
        ),
    )  # fmt: skip
