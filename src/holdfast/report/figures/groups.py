"""Parts that are compared side by side: groups, classes, corruptions, anomaly of each class."""

import math

from markupsafe import Markup
from torch import Tensor

from holdfast.core.record import Record
from holdfast.report.figures.curves import CURVE_KEYS
from holdfast.report.figures.series import Point, Series, ascending, is_numeric, series
from holdfast.report.figures.svg import (
    BAD,
    FIRST,
    MUTED,
    Picture,
    drawing,
    label,
    legend,
    percent,
    plot,
    scrolling,
    to_svg,
)
from holdfast.report.words import is_share, number, plain

MOST = 24
"""More rows than this are a table, not a picture."""


def heat_maps(record: Record) -> list[Picture]:
    """Measurements of several properties at the same severities, as a table with shaded cells."""
    return [
        _heat_map(name, rows) for name, parts in series(record).items() if (rows := _graded(parts))
    ]


def _graded(parts: Series) -> dict[str, list[Point]]:
    """Rows of a heat map: keys that all have the same three or more severities, counted from 1."""
    rows = {key: ascending(points) for key, points in parts.items() if key not in CURVE_KEYS}
    grades = {tuple(point.x for point in points) for points in rows.values()}
    if len(rows) < 2 or len(grades) != 1:
        return {}
    (grade,) = grades
    return rows if len(grade) >= 3 and grade == tuple(range(1, len(grade) + 1)) else {}


def _heat_map(name: str, rows: dict[str, list[Point]]) -> Picture:
    shares = all(is_share(p.measurement) for points in rows.values() for p in points)
    every = [p.measurement.value for points in rows.values() for p in points]
    low, span = min(every), (max(every) - min(every)) or 1.0
    head = Markup("").join(
        Markup('<th scope="col">{}</th>').format(point.at) for point in next(iter(rows.values()))
    )
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            key.replace("_", " "),
            Markup("").join(
                Markup('<td style="--heat:{}%" title="{}">{}</td>').format(
                    f"{5 + 45 * (p.measurement.value - low) / span:.0f}",
                    str(p.measurement),
                    f"{100 * p.measurement.value:.0f}" if shares else plain(p.measurement.value),
                )
                for p in points
            ),
        )
        for key, points in rows.items()
    )
    table = Markup(
        '<table class="heat"><thead><tr><th scope="col">severity</th>{}</tr></thead>'
        "<tbody>{}</tbody></table>"
    ).format(head, body)
    worst_key, worst = min(
        ((key, points[-1]) for key, points in rows.items()), key=lambda kp: kp[1].measurement.value
    )
    unit, title = " in percent" if shares else "", name[:1].upper() + name[1:]
    return Picture(
        f"{title}, by severity",
        scrolling(table, f"{name} by property and severity"),
        f"{title}{unit}; the stronger the colour, the higher. Along a row it should fade slowly. "
        f"Lowest at the strongest: {worst_key.replace('_', ' ')}, {number(worst.measurement)}.",
        wide=len(rows) > 8,
    )


def dot_plots(record: Record) -> list[Picture]:
    """One picture per attribute whose groups were measured, a row per group."""
    found = []
    graded = {name for name, parts in series(record).items() if _graded(parts)}
    by_key: dict[str, dict[str, list[Point]]] = {}
    for name, parts in series(record).items():
        for key, points in parts.items():
            if key not in CURVE_KEYS and name not in graded and 2 <= len(points) <= MOST:
                by_key.setdefault(key, {})[name] = points
    for key, names in by_key.items():
        for name, points in list(names.items())[:4]:
            found.append(_dots(key, name, points))
    return found


def _dots(key: str, name: str, points: list[Point]) -> Picture:
    rows = (ascending(points) if is_numeric(points) else points)[::-1]
    y = range(len(rows))
    values = [p.measurement.value for p in rows]
    names = [label(f"{key} = {point.at}", 24) for point in rows]
    with drawing(height=0.8 + 0.36 * len(rows)) as figure:
        axes = plot(figure, left=22 + 6.6 * max(map(len, names)), top=6)
        axes.hlines(y, [p.low for p in rows], [p.high for p in rows], color=FIRST, linewidth=2)
        axes.plot(values, y, color=FIRST, marker="o", linestyle="", markersize=7)
        axes.set_yticks(list(y), names)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(label(name))
        axes.locator_params(axis="x", nbins=6)
        if all(is_share(p.measurement) for p in rows):
            percent(axes, "x")
        said = "; ".join(
            f"{key} {p.at}: {number(p.measurement)}, n = {p.measurement.n}" for p in rows[::-1]
        )
        picture = to_svg(figure, f"{name} by {key}: {said}.")
    known = all(p.measurement.low is not None for p in rows)
    said = f"Lines are 95 % intervals. {_apart(rows)} " if known else ""
    smallest = min(p.measurement.n for p in rows)
    if key == "stage":
        return Picture(f"{name[:1].upper()}{name[1:]} by {key}", picture, _STAGES[known])
    return Picture(
        f"{name[:1].upper()}{name[1:]} by {key}",
        picture,
        f"{said}The smallest group has n = {smallest}.",
    )


_STAGES = {
    True: "In the order in which they ran: each stage is given what the ones before it left. Lines are "
    "95 % intervals.",
    False: "In the order in which they ran, averaged over all attacked inputs, so that the stages add "
    "up to the whole effort.",
}


def _apart(rows: list[Point]) -> str:
    """Whether the extreme groups differ by more than their intervals."""
    lowest = min(rows, key=lambda p: p.measurement.value)
    highest = max(rows, key=lambda p: p.measurement.value)
    if lowest.high < highest.low:
        return f"{lowest.at} and {highest.at} differ by more than chance explains."
    return "All intervals overlap: no difference is shown."


def anomaly_bars(index: Tensor, record: Record) -> Picture | None:
    """How unlike the other classes each class is, with the limit above which it is suspicious."""
    values = [float(v) for v in index.flatten()]
    if not values or len(values) > 100 or not all(map(math.isfinite, values)):
        return None
    limit = next((m.value for m in record.measurements if "limit" in m.name), None)
    over = [v > limit if limit is not None else False for v in values]
    with drawing(height=3.2) as figure:
        axes = plot(figure)
        axes.bar(range(len(values)), values, color=[BAD if o else FIRST for o in over], width=0.7)
        if limit is not None:
            axes.axhline(limit, color=MUTED, linestyle="--", label=f"limit {limit:g}")
            legend(axes)
        for spot, (value, high) in enumerate(zip(values, over, strict=True)):
            if high:
                axes.annotate(f"{value:.1f}", (spot, value), ha="center", va="bottom", xytext=(0, 2),
                              textcoords="offset points")  # fmt: skip
        axes.set(xlabel="class", ylabel="anomaly index")
        axes.grid(visible=False, axis="x")
        if len(values) <= 20:
            axes.set_xticks(range(len(values)))
        said = "; ".join(f"class {k}: {v:.2f}" for k, v in enumerate(values))
        picture = to_svg(figure, f"Anomaly index of each class. {said}.")
    named = ", ".join(str(k) for k, high in enumerate(over) if high)
    if limit is None:
        caption = "A bar far above the others is suspicious; no limit is known for this method."
    elif named:
        caption = f"Class {named} stands out: a far smaller change leads there than to the others."
    else:
        caption = "No class stands out: none is reached by a far smaller change than the others."
    return Picture("Anomaly of each class", picture, caption)
