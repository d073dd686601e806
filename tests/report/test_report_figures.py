"""Pictures show what the records say: coordinates, pixels, captions and text alternatives."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.core.record import Measurement, Record, ThreatModel
from holdfast.report.figures import curves, groups, images
from holdfast.report.figures.choose import pictures
from holdfast.report.figures.svg import drawing, plot, to_svg
from tests.report import samples
from tests.report.building import record, share
from tests.report.reading import Page


def titles(made: Record) -> list[str]:
    return [picture.title for picture in pictures(made, samples.tensor, "here")]


def points(svg: str, colour: str) -> np.ndarray:
    """Vertices of the line that is drawn in one colour."""
    path = next(
        m[1]
        for m in re.finditer(r'<path d="([^"]+)"[^>]*style="fill: none[^"]*"', svg, re.S)
        if f"stroke: {colour}" in m[0]
    )
    return np.array(
        [[float(v) for v in pair] for pair in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path)]
    )


def test_every_kind_of_record_gets_its_pictures() -> None:
    drawn = {
        o.check: titles(o.record) for o in samples.assessment().outcomes if o.record is not None
    }
    assert drawn["evasion/pgd.linf"] == ["Security curve", "What misled the model"]
    assert drawn["evasion/patch"] == ["One change for all inputs", "Inputs before and after"]
    assert drawn["privacy/lira"] == ["ROC curve, log axes"]
    assert drawn["privacy/gradient_leakage"] == ["What was recovered"]
    assert drawn["extraction/copycat"] == ["Agreement of the copy"]
    assert drawn["backdoor/badnets"] == ["The trigger", "By rate"]
    assert drawn["backdoor/neural_cleanse"] == ["Anomaly of each class", "Recovered triggers"]
    assert drawn["trust/corruptions"] == ["Accuracy, by severity"]
    assert drawn["trust/discrimination"] == ["Positive rate by hand", "True positive rate by age"]
    assert drawn["trust/randomized_smoothing"] == ["Certified accuracy"]
    assert drawn["trust/integrated_gradients"] == ["What the model looked at"]
    assert drawn["poisoning/label_flip"] == ["By rate"]
    assert drawn["trust/deepxplore"] == ["Where models of the same task disagree"]
    assert drawn["evasion/audio_targeted"] == ["What was added to the sound"]
    assert drawn["evasion/pgd.table"] == ["Security curve", "What misled the model"]
    assert drawn["supply/pickle_scan"] == []


def test_every_picture_says_in_words_what_it_shows() -> None:
    for outcome in samples.assessment().outcomes:
        for picture in pictures(outcome.record, samples.tensor, "x") if outcome.record else []:
            assert len(picture.caption) > 30
            read = Page(picture.html)
            assert all(found["alt"] for found in read.all("img"))
            assert all(found["aria-label"] for found in read.all("svg"))


def test_the_security_curve_falls_where_the_accuracy_falls() -> None:
    made = samples.assessment().outcomes[0].record
    assert made is not None
    picture = curves.security_curve(made)
    assert picture is not None
    xy = points(picture.html, "var(--series-1)")
    budgets = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.3])
    values = [made.measurements[0].value, *(m.value for m in made.measurements[1:6])]
    assert np.corrcoef(xy[:, 0], budgets)[0, 1] == pytest.approx(1, abs=1e-6)
    assert np.corrcoef(xy[:, 1], values)[0, 1] == pytest.approx(-1, abs=1e-4)  # SVG counts y down
    assert "0.1: 12.1" in picture.html
    assert "random noise" in picture.html


def test_the_certified_curve_has_the_share_of_radii_at_every_radius() -> None:
    radius = torch.tensor([-1.0, -1.0, 0.1, 0.2, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4])
    made = record("trust/ibp", "Certifier", (), threat=ThreatModel("Weights", measure="linf"))
    picture = curves.certified_curve(radius, made)
    assert picture is not None
    heights = points(picture.html, "var(--series-1)")[:, 1]
    levels = sorted({round(float(h), 1) for h in heights})  # top of the page first
    steps = np.diff(levels)
    assert len(levels) == 4  # 80 % up to 0.1, 70 % up to 0.2, 50 % up to 0.4, then none
    assert steps / steps[0] == pytest.approx([1, 2, 5], rel=0.05)


def test_the_roc_is_on_log_axes_with_guessing_on_the_diagonal() -> None:
    fpr = torch.logspace(-3, 0, 31)
    made = record("privacy/lira", "MembershipAttack", ())
    picture = curves.roc_curve(fpr, fpr.sqrt(), made)
    assert picture is not None
    xy = points(picture.html, "var(--series-1)")
    diagonal = points(picture.html, "var(--muted)")
    across, down = xy[-1] - xy[0]
    aside, below = diagonal[-1] - diagonal[0]
    assert (down / across) / (below / aside) == pytest.approx(0.5, abs=0.01)  # tpr = fpr ** 0.5
    assert "10.0 % at 1 % false positives" in picture.html


def test_groups_that_differ_and_groups_that_do_not_are_told_apart() -> None:
    apart = record(
        "trust/discrimination",
        "Metric",
        (share("rate", 0.2, 500, "sex=0"), share("rate", 0.8, 500, "sex=1")),
    )
    close = record(
        "trust/discrimination",
        "Metric",
        (share("rate", 0.5, 20, "sex=0"), share("rate", 0.6, 20, "sex=1")),
    )
    assert "differ by more than chance" in groups.dot_plots(apart)[0].caption
    assert "no difference is shown" in groups.dot_plots(close)[0].caption
    assert "n = 20" in groups.dot_plots(close)[0].caption


def test_stages_of_an_attack_are_not_compared_as_if_they_were_groups() -> None:
    parts = [
        share("broken", v, n, f"stage={s}") for s, v, n in [("first", 0.9, 99), ("last", 0.0, 9)]
    ]
    parts += [
        Measurement("passes per row", v, 99, part=f"stage={s}")
        for s, v in [("first", 9), ("last", 1)]
    ]
    broken, passes = groups.dot_plots(record("evasion/x", "EvasionAttack", tuple(parts)))
    assert "chance" not in broken.caption
    assert "what the ones before it left" in broken.caption
    assert "add up to the whole" in passes.caption


def test_a_patch_is_clear_where_it_covers_nothing() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:4, 2:4] = 1
    pixels = images.covering(images.grey(torch.zeros(1, 8, 8)), mask)
    assert pixels.shape == (8, 8, 4)
    assert pixels[2, 2, 3] == 255
    assert pixels[0, 0, 3] == 0


def test_only_classes_above_the_limit_are_named_suspicious() -> None:
    index = torch.tensor([0.1, 2.5, 1.9])
    limit = (Measurement("anomaly limit", 2.0, 1),)
    found = groups.anomaly_bars(index, record("backdoor/nc", "WeightScan", limit))
    assert found is not None
    assert found.caption.startswith("Class 1 stands out")
    none = groups.anomaly_bars(index.clamp(max=2), record("backdoor/nc", "WeightScan", limit))
    assert none is not None
    assert none.caption.startswith("No class stands out")


def test_images_are_what_the_tensor_holds() -> None:
    x = torch.zeros(1, 4, 5)
    x[0, 1, 2] = 1.0
    back = np.array(
        Image.open(
            io.BytesIO(base64.b64decode(images.png(images.grey(x)).partition(",")[2]))
        ).convert("L")
    )
    assert back.shape == (4, 5)
    assert (back == (x[0] * 255).numpy()).all()
    change = images.signed(torch.tensor([[[1.0, -1.0, 0.0]]]), 1.0)
    assert change[0, 0, 0] > change[0, 0, 2]  # brighter is orange
    assert change[0, 1, 2] > change[0, 1, 0]  # darker is blue
    assert change[0, 2, 3] == 0  # unchanged is clear


def test_large_images_are_thinned_out() -> None:
    whole = images.png(
        images.grey(torch.rand(3, 1000, 700, generator=torch.Generator().manual_seed(0)))
    )
    assert len(whole) < 20_000


def test_names_in_drawings_are_neither_tex_nor_markup() -> None:
    with drawing() as figure:
        axes = plot(figure)
        axes.plot([0, 1], [0, 1], label="$x^2$ <b>&")
        axes.legend()
        svg = to_svg(figure, 'alt "<')
    assert "$x^2$ &lt;b&gt;&amp;" in svg
    assert 'aria-label="alt &#34;&lt;"' in svg
    Page(svg)


def test_odd_tensors_give_fewer_pictures_but_no_error() -> None:
    odd = {
        "clean": torch.zeros(0, 1, 8, 8), "adversarial": torch.zeros(0, 1, 8, 8), "fpr": torch.zeros(0),
        "tpr": torch.zeros(0), "index": torch.tensor([float("nan")]), "mask": torch.zeros(3),
        "pattern": torch.zeros(3), "radius": torch.zeros(0), "queries": torch.zeros(2),
        "agreement": torch.zeros(3), "truth": torch.zeros(2, 3),
        "reconstruction": torch.zeros(2, 4), "attribution": torch.zeros(1),
        "delta": torch.zeros(()), "generated": torch.zeros(1), "stamped": torch.zeros(1, 1),
    }  # fmt: skip
    for kind in ("Certifier", "MembershipAttack", "ExtractionAttack", "Explainer"):
        part = Measurement("accuracy", float("nan"), 0, None, None, "eps=x")
        assert titles(record("a/b", kind, (part,), tensors=odd)) == []
