"""Read measurements as series: `eps=0.1` parts as points of a curve, `sex=1` parts as groups."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from holdfast.core.record import Measurement, Record


@dataclass(frozen=True)
class Point:
    """One measurement of a series and the value of its part."""

    at: str
    measurement: Measurement

    @property
    def x(self) -> float:
        """The part's value as a number, NaN where it is not one."""
        try:
            return float(self.at)
        except ValueError:
            return math.nan

    @property
    def low(self) -> float:
        """Lower end of the interval, or the value itself."""
        low = self.measurement.low
        return self.measurement.value if low is None or math.isinf(low) else low

    @property
    def high(self) -> float:
        """Upper end of the interval, or the value itself."""
        high = self.measurement.high
        return self.measurement.value if high is None or math.isinf(high) else high


Series = Mapping[str, list[Point]]
"""Points by the key of their part."""


def series(record: Record) -> Mapping[str, Series]:
    """Measurements by name, then by key: {"robust accuracy": {"eps": [...]}}."""
    found: dict[str, dict[str, list[Point]]] = {}
    for measurement in record.measurements:
        key, sign, at = measurement.part.partition("=")
        if sign and math.isfinite(measurement.value):
            found.setdefault(measurement.name, {}).setdefault(key, []).append(
                Point(at, measurement)
            )
    return found


def along(record: Record, name: str, key: str) -> list[Point]:
    """The points of one series in ascending order; empty where it was not measured."""
    return ascending(series(record).get(name, {}).get(key, []))


def ascending(points: Iterable[Point]) -> list[Point]:
    """Points whose part is a number, in its order."""
    return sorted((p for p in points if math.isfinite(p.x)), key=lambda p: p.x)


def is_numeric(points: list[Point]) -> bool:
    """Whether all parts are numbers."""
    return all(math.isfinite(point.x) for point in points)
