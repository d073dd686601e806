"""Curves: accuracy against budget, certified accuracy, ROC on log axes, agreement with queries."""

from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from holdfast.core.record import Measurement, Record
from holdfast.ops.stats import clopper_pearson
from holdfast.report.figures.series import Point, along, ascending, series
from holdfast.report.figures.svg import (
    FIRST,
    INK,
    MUTED,
    SECOND,
    THIRD,
    Picture,
    decimals,
    drawing,
    label,
    legend,
    percent,
    plot,
    to_svg,
)
from holdfast.report.words import MEASURES, is_share, number, plain

CURVE_KEYS = ("eps", "queries", "rate", "epoch", "round", "radius", "samples", "depth", "k", "bits")
"""Keys of parts that are quantities, so that their points are joined by a line."""
NOISE = "accuracy under random noise"
_STYLES = ((FIRST, "-", "o"), (SECOND, "--", "s"), (THIRD, "-.", "^"), (MUTED, ":", "D"))


def secure_names(record: Record) -> set[str]:
    """Names of the measurements that a security curve shows."""
    names = {name for name, parts in series(record).items() if "eps" in parts}
    return {n for n in names if n.startswith("robust accuracy")} | {NOISE}


def security_curve(record: Record) -> Picture | None:
    """Accuracy against the attacker's budget, with its interval and the controls.

    Beside the curve under attack stand those of the same model without its defence, of an attack
    that does not know the defence, and of random noise, as far as they were measured.
    """
    lines = [(name, along(record, name, "eps")) for name in sorted(secure_names(record) - {NOISE})]
    if not any(name == "robust accuracy" and points for name, points in lines):
        return None
    control = along(record, NOISE, "eps")
    clean = record.find("clean accuracy")
    with drawing() as figure:
        axes = plot(figure, top=26 if len(lines) < 3 else 44)
        if control:
            spots = [Point("0", clean), *control] if clean else control
            axes.plot([p.x for p in spots], [p.measurement.value for p in spots], color=MUTED,
                      linestyle="--", marker="s", markersize=4, label="random noise")  # fmt: skip
        for (name, points), style in zip(lines, _STYLES, strict=False):
            bare = record.find(name.replace("robust", "clean", 1)) or clean
            spots = [Point("0", bare), *points] if bare else points
            extra = name.removeprefix("robust accuracy").strip(" ()")
            _band(axes, spots, *style, label(extra, 24) or "under attack")
        axes.set(ylim=(-0.02, 1.02), ylabel="answered correctly")
        axes.set_xlabel(f"largest allowed change{_measure(record)}")
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=6)
        percent(axes)
        legend(axes)
        said = "; ".join(
            f"{name} at {p.at}: {number(p.measurement)}" for name, points in lines for p in points
        )
        picture = to_svg(figure, f"Accuracy against the size of the allowed change. {said}.")
    caption = "The faster the solid line falls, the smaller the change that misleads the model."
    if control:
        caption += " Where the dashed grey line stays high, the attack is to blame, not noise."
    return Picture("Security curve", picture, f"{caption} Bands: 95 % intervals.")


def certified_curve(radius: Tensor, record: Record) -> Picture | None:
    """Share of inputs with a proof, against the radius that the proof covers."""
    radii = radius.double().flatten().numpy()
    proven = radii[np.isfinite(radii) & (radii > 0)]
    if not len(radii):
        return None
    grid = np.unique(np.concatenate([[0.0], proven]))
    if len(grid) > 200:
        grid = np.linspace(0, grid[-1], 200)
    grid = np.append(grid, 1.05 * grid[-1] or 1.0)  # beyond the largest radius nothing is proven
    held = [int((radii >= r).sum()) if r > 0 else int((radii >= 0).sum()) for r in grid]
    bounds = [clopper_pearson(count, len(radii)) for count in held]
    share = np.array(held) / len(radii)
    measure = _measure(record)
    with drawing() as figure:
        axes = plot(figure)
        axes.fill_between(grid, [b.low for b in bounds], [b.high for b in bounds],
                          step="pre", color=FIRST, alpha=0.18, linewidth=0)  # fmt: skip
        axes.step(grid, share, where="pre", color=FIRST)
        axes.set(ylim=(-0.02, 1.02), ylabel="proven correct")
        axes.set_xlabel(f"radius of the proof{measure}")
        axes.set_xlim(0, float(grid[-1]))
        axes.locator_params(axis="x", nbins=6)
        percent(axes)
        middle = float(np.median(radii))
        said = f"{100 * share[0]:.0f} % at radius 0; median radius {max(middle, 0):.3g}"
        picture = to_svg(figure, f"Certified accuracy against radius: {said}, n = {len(radii)}.")
    return Picture(
        "Certified accuracy",
        picture,
        "No attack within the radius, known or unknown, can change these answers, as surely as the "
        "method states. "
        f"Inputs without a proof count as wrong. Band: 95 % interval, n = {len(radii)}.",
    )


def roc_curve(false: Tensor, true: Tensor, record: Record) -> Picture | None:
    """True- against false-positive rate on logarithmic axes, with the line of guessing."""
    fpr, tpr = (t.double().flatten().numpy() for t in (false, true))
    known = np.isfinite(fpr) & np.isfinite(tpr)
    fpr, tpr = fpr[known], tpr[known]
    positive = fpr[fpr > 0]
    if len(positive) < 2 or len(fpr) != len(tpr):
        return None
    floor = 0.999 * float(np.clip(positive.min(), 1e-4, 0.1))  # the tick at the edge is drawn
    keep = (fpr > 0) & (tpr > 0)
    attack = record.kind == "MembershipAttack"
    with drawing(height=4.2) as figure:
        axes = plot(figure)
        axes.plot([floor, 1], [floor, 1], color=MUTED, linestyle="--", label="guessing")
        axes.plot(fpr[keep], tpr[keep], color=FIRST, label="attack" if attack else "detector")
        axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.1))
        axes.set_xlabel("outsiders called members" if attack else "clean inputs flagged")
        axes.set_ylabel("members found" if attack else "attacks caught")
        decimals(axes, "x")
        decimals(axes, "y")
        legend(axes)
        at = [
            (f, float(tpr[fpr <= f * (1 + 1e-6)].max(initial=0.0)))
            for f in (0.01, 0.1)
            if f >= floor
        ]
        said = "; ".join(f"{100 * t:.1f} % at {100 * f:g} % false positives" for f, t in at)
        picture = to_svg(figure, f"ROC curve on logarithmic axes: {said}.")
    if attack:
        caption = (
            "Left of 0.01 is what harms people: members named with near certainty. "
            "A curve on the dashed line learns nothing from the model."
        )
    else:
        caption = "The further above the dashed line, the more attacks are caught per false alarm."
    return Picture("ROC curve, log axes", picture, caption)


def theft_curve(record: Record, queries: Tensor | None, agreed: Tensor | None) -> Picture | None:
    """How closely a copy agrees with the model after so many queries, with its control."""
    copied = along(record, "agreement", "queries")
    if not copied and queries is not None and agreed is not None and len(queries) == len(agreed):
        pairs = zip(queries.flatten().tolist(), agreed.flatten().tolist(), strict=True)
        copied = ascending(Point(f"{q:g}", Measurement("agreement", a, 0)) for q, a in pairs)
    copied = [point for point in copied if point.x > 0]
    if not copied:
        return None
    control = along(record, "agreement of the control", "queries")
    with drawing() as figure:
        axes = plot(figure)
        _band(axes, copied, FIRST, "-", "o", "copy")
        if control:
            axes.plot([p.x for p in control], [p.measurement.value for p in control], color=MUTED,
                      linestyle="--", marker="s", label="control")  # fmt: skip
        axes.set(xscale="log", ylim=(-0.02, 1.02), ylabel="answers as the model does")
        axes.set_xlabel("queries to the model")
        decimals(axes, "x")
        percent(axes)
        legend(axes)
        last = copied[-1]
        said = f"{number(last.measurement)} after {plain(last.x)} queries"
        picture = to_svg(figure, f"Agreement of the copy with the model: {said}.")
    return Picture(
        "Agreement of the copy",
        picture,
        f"{said[:1].upper()}{said[1:]}. The further left the line rises, the cheaper the model is to "
        "copy; limit queries per account to stay left of the rise.",
    )


def waves(kept: Mapping[str, Tensor]) -> Picture | None:
    """The first sound before and after, as the range of its values over time."""
    clean, changed = kept["clean"], kept["adversarial"]
    if clean.shape != changed.shape or not len(clean):
        return None
    sound, change = clean[0].double(), (changed[0] - clean[0]).double()
    step = max(1, len(sound) // 400)
    with drawing(height=2.8) as figure:
        axes = plot(figure)
        for x, colour, name in ((sound, FIRST, "sound"), (change, SECOND, "what was added")):
            cut = x[: len(x) // step * step].reshape(-1, step)
            low, high = cut.min(1).values.tolist(), cut.max(1).values.tolist()
            axes.fill_between(
                range(len(low)), low, high, color=colour, alpha=0.8, linewidth=0.5, label=name
            )
        axes.set(xlabel="time", ylabel="amplitude", xticks=[])
        legend(axes)
        ratio = float(change.abs().max() / sound.abs().max().clamp(min=1e-12))
        said = f"the loudest added sample is {100 * ratio:.2g} % of the loudest of the sound"
        picture = to_svg(figure, f"First sound and what was added: {said}.")
    return Picture("What was added to the sound", picture, f"In the first recording, {said}.")


def quantity_curves(record: Record, shown: Collection[str] = ()) -> list[Picture]:
    """Every other series over a quantity with at least three points, one picture per key."""
    by_key: dict[str, list[tuple[str, list[Point]]]] = {}
    for name, parts in series(record).items():
        for key, points in parts.items():
            ordered = ascending(points)
            if key in CURVE_KEYS and name not in shown and len(ordered) >= 3:
                by_key.setdefault(key, []).append((name, ordered))
    return [_quantity(key, lines[:4]) for key, lines in by_key.items()]


def _quantity(key: str, lines: list[tuple[str, list[Point]]]) -> Picture:
    shares = all(is_share(p.measurement) for _, points in lines for p in points)
    with drawing() as figure:
        axes = plot(figure, top=26 if len(lines) < 3 else 16 * len(lines))
        for (name, points), style in zip(lines, _STYLES, strict=False):
            _band(axes, points, *style, label(name))
        axes.set_xlabel(key)
        axes.locator_params(axis="x", nbins=6)
        if shares:
            axes.set_ylim(-0.02, 1.02)
            percent(axes)
        legend(axes, 1 if len(lines) > 2 else 2)
        said = "; ".join(
            f"{name} from {number(points[0].measurement)} to {number(points[-1].measurement)}"
            for name, points in lines
        )
        first, last = plain(lines[0][1][0].x), plain(lines[0][1][-1].x)
        picture = to_svg(figure, f"Against {key} from {first} to {last}: {said}.")
    names = ", ".join(name for name, _ in lines)
    caption = f"{names[:1].upper()}{names[1:]} by {key}. Bands: 95 % intervals."
    return Picture(f"By {key}", picture, caption)


def _measure(record: Record) -> str:
    """How change is measured, for the label of an axis."""
    name = record.threat.measure
    return f" ({label(MEASURES.get(name, name), 12)})" if name else ""


def _band(axes: Axes, points: list[Point], colour: str, line: str, marker: str, name: str) -> None:
    """A line with its interval as a band."""
    x = [p.x for p in points]
    axes.fill_between(x, [p.low for p in points], [p.high for p in points],
                      color=colour, alpha=0.18, linewidth=0)  # fmt: skip
    axes.plot(x, [p.measurement.value for p in points], color=colour, linestyle=line,
              marker=marker, label=name, markeredgecolor=INK, markeredgewidth=0)  # fmt: skip
