"""Before and after: the same measurement of the same check in several assessments."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from holdfast.core.assessment import Assessment
from holdfast.core.record import Measurement, Outcome, Status
from holdfast.report.words import count, rising_is_good


class Trend(StrEnum):
    """What became of a measurement between the first and the last assessment."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "no clear change"
    CHANGED = "changed"
    ONCE = "not in both"


@dataclass(frozen=True)
class Row:
    """One measurement in all assessments.

    Attributes:
        check: id of the check.
        title: the method's title.
        name: what was measured, with its part.
        values: one per assessment, None where it was not measured.
        rose: whether the last value is above the first.
        trend: better or worse only where the intervals do not overlap.
        headline: whether it belongs in the short table.
    """

    check: str
    title: str
    name: str
    values: tuple[Measurement | None, ...]
    rose: bool
    trend: Trend
    headline: bool


@dataclass(frozen=True)
class Comparison:
    """Everything that changed between assessments.

    Attributes:
        rows: all measurements, in plan order.
        mended: titles of checks that failed first and pass now.
        broken: titles of checks that passed first and fail now.
        still: titles of checks that fail in both.
    """

    rows: tuple[Row, ...]
    mended: tuple[str, ...]
    broken: tuple[str, ...]
    still: tuple[str, ...]

    @property
    def headlines(self) -> tuple[Row, ...]:
        """The rows that findings rest on, and clean accuracy."""
        return tuple(row for row in self.rows if row.headline)

    @property
    def summary(self) -> str:
        """The change in one sentence."""
        better, worse, same = (
            sum(row.trend is trend for row in self.headlines)
            for trend in (Trend.BETTER, Trend.WORSE, Trend.SAME)
        )
        return (
            f"{count(len(self.mended), 'check')} that failed now "
            f"{'passes' if len(self.mended) == 1 else 'pass'}, {len(self.still)} still "
            f"{'fails' if len(self.still) == 1 else 'fail'} and {len(self.broken)} newly "
            f"{'fails' if len(self.broken) == 1 else 'fail'}. Of the measurements below, "
            f"{better} became better, {worse} worse, and {same} did not change beyond chance."
        )


def compare(assessments: Sequence[Assessment]) -> Comparison | None:
    """How the last assessment differs from the first; None for fewer than two."""
    if len(assessments) < 2:
        return None
    outcomes = [{outcome.check: outcome for outcome in a.outcomes} for a in assessments]
    every = dict.fromkeys(check for by_id in outcomes for check in by_id)
    checks = [c for c in every if not _shared([by_id.get(c) for by_id in outcomes])]
    rows = [row for check in checks for row in _rows([by_id.get(check) for by_id in outcomes])]
    seen_clean = False
    kept = []
    for row in rows:  # clean accuracy is measured by many checks; one row of it is enough on top
        if row.name == "clean accuracy":
            row = _with_headline(row, not seen_clean)
            seen_clean = True
        kept.append(row)
    first, last = outcomes[0], outcomes[-1]
    moved = [
        (first[check].title, first[check].status, last[check].status)
        for check in checks
        if check in first and check in last
    ]
    return Comparison(
        tuple(kept),
        tuple(t for t, a, b in moved if a is Status.FAILED and b is Status.PASSED),
        tuple(t for t, a, b in moved if a is Status.PASSED and b is Status.FAILED),
        tuple(t for t, a, b in moved if a is b is Status.FAILED),
    )


def _shared(outcomes: list[Outcome | None]) -> bool:
    """Whether all are one record: a check about training says nothing of what was mended."""
    records = [each.record for each in outcomes if each and each.record]
    if len(records) < len(outcomes):
        return False
    return len({(record.key, record.measurements) for record in records}) == 1


def _rows(outcomes: list[Outcome | None]) -> list[Row]:
    """The measurements of one check."""
    known = next(outcome for outcome in outcomes if outcome)
    measured = [
        {(m.name, m.part): m for m in outcome.record.measurements}
        if outcome and outcome.record
        else {}
        for outcome in outcomes
    ]
    kind = next((o.record.kind for o in outcomes if o and o.record), "")
    cited = {
        (evidence.name, evidence.part)
        for outcome in outcomes
        if outcome
        for finding in outcome.findings
        for evidence in finding.evidence[:1]  # what the finding is about; the rest are controls
    }
    rows = []
    for name, part in dict.fromkeys(key for by_name in measured for key in by_name):
        values = tuple(by_name.get((name, part)) for by_name in measured)
        trend = _trend(kind, name, values[0], values[-1])
        rose = bool(values[0] and values[-1] and values[-1].value > values[0].value)
        rows.append(
            Row(
                known.check,
                known.title,
                f"{name} ({part})" if part else name,
                values,
                rose,
                trend,
                (name, part) in cited,
            )
        )
    return rows


def _trend(kind: str, name: str, first: Measurement | None, last: Measurement | None) -> Trend:
    """Better or worse only beyond chance: where the 95 % intervals do not overlap.

    Without intervals nobody knows, so a change is shown but not judged.
    """
    if first is None or last is None:
        return Trend.ONCE
    ends = (first.low, first.high, last.low, last.high)
    if any(end is None for end in ends):
        return Trend.SAME if first.value == last.value else Trend.CHANGED
    a_low, a_high, b_low, b_high = (float(end) for end in ends if end is not None)
    if a_low <= b_high and b_low <= a_high:
        return Trend.SAME
    good = rising_is_good(kind, name)
    if good is None:
        return Trend.CHANGED
    return Trend.BETTER if (last.value > first.value) == good else Trend.WORSE


def _with_headline(row: Row, headline: bool) -> Row:
    return Row(row.check, row.title, row.name, row.values, row.rose, row.trend, headline)
