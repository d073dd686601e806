"""The HTML report: complete, closed in itself, the same every time, safe against hostile names."""

import re
from dataclasses import replace

import matplotlib as mpl
import pytest

from holdfast.core.record import Measurement, Outcome, Status
from holdfast.report import html
from holdfast.report.view import model
from tests.report import samples
from tests.report.building import outcome, record, share
from tests.report.reading import Page


def nothing(digest: str):
    raise KeyError(digest)


def test_the_page_is_well_nested_and_every_link_inside_it_leads_somewhere(page: str) -> None:
    read = Page(page)
    ids = [found["id"] for _, found in read.elements if "id" in found]
    assert len(ids) == len(set(ids))
    inside = {
        found["href"][1:] for _, found in read.elements if found.get("href", "").startswith("#")
    }
    assert inside
    assert inside <= set(ids)
    used = set(re.findall(r"url\(#([^)]+)\)", page))
    assert used
    assert used <= set(ids)


def test_the_page_asks_for_nothing_outside_of_itself(page: str) -> None:
    read = Page(page)
    assert not read.all("script")
    assert {found["src"][:22] for found in read.all("img")} == {"data:image/png;base64,"}
    assert [found["href"] for found in read.all("link")] == ["data:,"]
    outside = {found["href"] for found in read.all("a") if not found["href"].startswith("#")}
    assert all(
        re.fullmatch(r"https://atlas\.mitre\.org/techniques/AML\.[T\d.]+", u) for u in outside
    )
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    policy = [found for found in read.all("meta") if "http-equiv" in found]
    assert "default-src 'none'" in policy[0]["content"]


def test_the_same_records_give_the_same_bytes_whatever_matplotlib_is_set_to(page: str) -> None:
    settings = dict(mpl.rcParams)
    try:
        mpl.rcParams["font.size"] = 31
        mpl.rcParams["svg.fonttype"] = "path"
        both = [samples.assessment(), samples.assessment(hard=True)]
        assert html.render(both, samples.tensor, "today") == page
        assert mpl.rcParams["font.size"] == 31
        assert mpl.rcParams["svg.fonttype"] == "path"
    finally:
        mpl.rcParams.update(settings)


def test_forty_checks_stay_far_below_three_megabytes(page: str) -> None:
    assert sum(len(samples.assessment(hard=h).outcomes) for h in (True, False)) >= 40
    assert len(page.encode()) < 1_500_000


def test_hostile_names_are_text_and_nothing_else(hostile_page: str) -> None:
    read = Page(hostile_page)
    assert not read.all("script")
    assert all(name not in {"iframe", "object", "embed", "form"} for name, _ in read.elements)
    assert not [key for _, found in read.elements for key in found if key.startswith("on")]
    assert all(found["src"].startswith("data:image/png") for found in read.all("img"))
    assert all(
        found["href"].startswith(("#", "data:,")) for _, found in read.elements if "href" in found
    )
    assert len(read.all("style")) == 1
    assert "<script>alert(1)</script>" in read.text
    assert "$x^2$" in read.text
    assert "\u202e" not in hostile_page


def test_a_verdict_and_its_reasons_come_first(page: str) -> None:
    text = Page(page).text
    places = ["Blocked", "Tiny changes mislead the model (critical)", "Allowed", "Before and after"]
    order = [text.index(place, text.index("security report")) for place in places]
    assert order == sorted(order)
    assert order[-1] < text.index("Threats by stage", order[-1])
    shown = model(samples.assessment(), 1, samples.tensor)
    assert shown.headline == "8 of 20 checks failed; 2 could not be applied and 1 broke off."
    assert {reason.check for reason in shown.against} <= shown.links.keys()


def test_what_was_not_run_never_looks_passed() -> None:
    whole = samples.assessment(hard=True)
    only = replace(
        whole,
        outcomes=tuple(o for o in whole.outcomes if o.status is Status.NOT_APPLICABLE),
        verdict=None,
    )
    shown = model(only, 1, nothing)
    assert all(each.tally.passed == 0 for each in shown.properties)
    cells = [cell for _, _, row in shown.matrix for cell in row if cell.tally.total]
    assert {cell.text for cell in cells} == {"not run"}
    read = Page(html.render([only], nothing, "today"))
    assert not read.all("span", class_="chip st-passed")
    assert "Not reviewed" in read.text


def test_a_run_of_attacks_is_measured_and_not_judged() -> None:
    whole = samples.assessment()
    ran = [
        replace(o, status=Status.MEASURED, findings=())
        for o in whole.outcomes
        if o.record and o.method.startswith("evasion/") and "robust accuracy" in str(o.record)
    ]
    run = replace(whole, title="Attack", tier="unjudged", outcomes=tuple(ran), verdict=None)
    shown = model(run, 1, nothing)
    assert (shown.answer, shown.headline) == ("Measured, not judged", f"{len(ran)} checks ran.")
    text = Page(html.render([run], nothing, "today")).text
    assert "robust accuracy, linf 0.1" in text
    assert "holdfast assess" in text
    for misleading in ("Not reviewed", "failed", "Threats by stage", "unjudged", "not checked"):
        assert misleading not in text.partition("How to read this")[0]


def test_an_attack_that_its_control_beats_is_called_too_weak() -> None:
    counts = (
        share("robust accuracy", 1.0, 5, "eps=0.1"),
        share("accuracy under random noise", 0.4, 5, "eps=0.1"),
    )
    made = outcome("NES", record("evasion/nes", "EvasionAttack", counts))
    ran = replace(made, status=Status.MEASURED)
    run = replace(samples.assessment(), tier="unjudged", outcomes=(ran,), verdict=None)
    text = Page(html.render([run], nothing, "today")).text
    assert "attack too weak" in text
    assert "believe the control" in text


def test_measurements_whose_names_do_not_say_it_all_are_explained_where_they_occur() -> None:
    kept = share("success kept in 8 bits", 0.9)
    median = Measurement("median distance", 2.0, 29, 1.0, 3.0, "quartiles")
    made = record("evasion/fmn", "EvasionAttack", (kept, median))
    whole = replace(samples.assessment(), outcomes=(outcome("FMN", made),))
    text = Page(html.render([whole], nothing, "today")).text
    assert "stored as 8-bit pixels" in text
    assert "1 to 3 (quartiles)" in text
    assert "fooling rate" not in text


def test_the_matrix_counts_every_check_of_a_family_and_shows_its_worst_finding() -> None:
    shown = model(samples.assessment(), 1, nothing)
    rows = {name: cells for name, _, cells in shown.matrix}
    assert len(rows) == 7
    assert all(len(cells) == 7 for cells in rows.values())
    validation, training = rows["evasion"][3], rows["evasion"][2]
    assert (validation.text, validation.tally.total) == ("critical", 2)
    assert (training.text, training.tally.total) == ("passed", 6)
    assert rows["poisoning"][1].text == "error"
    assert rows["supply"][4].text == "high"
    assert rows["supply"][0].text == "–"


def test_a_check_without_any_trace_and_tensors_that_are_gone_do_not_break_the_page() -> None:
    bare = Outcome("a/b", "a/b", "Third-party check", Status.FAILED, "limit broken")
    whole = replace(samples.assessment(), outcomes=(*samples.assessment().outcomes, bare))
    read = Page(html.render([whole], nothing, "today"))
    assert "Third-party check" in read.text
    assert "limit broken" in read.text
    assert not read.all("img")
    assert "Nothing was assessed" in Page(html.render([], nothing, "today")).text


def test_every_record_is_there_with_what_repeats_it(page: str) -> None:
    text = Page(page).text
    for made in (o.record for o in samples.assessment().outcomes if o.record):
        assert made.key in text
        assert all(digest in text for digest in made.tensors.values())
    assert samples.assessment().command in text
    assert (
        "- id: evasion/pgd.linf method: evasion/pgd measure: linf eps: [0.02, 0.05, 0.1, 0.2, 0.3]"
        in text
    )


def test_the_excerpt_of_a_plan_is_what_yaml_reads_back() -> None:
    import yaml

    values = {
        "a": 'x": [y',
        "b": True,
        "c": 0.5,
        "d": None,
        "e": "no",
        "f": "evasion/pgd",
        "g": "1e3",
    }
    made = record(
        "trust/x", "Metric", (share("accuracy", 0.5),), params=values, given=tuple(values)
    )
    read = yaml.safe_load(html.excerpt(made))
    assert read == [{"id": "trust/x", "method": "trust/x", "params": values}]


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_has_enough_contrast_in_every_scheme(scheme: str) -> None:
    css = (html.HERE / "report.css").read_text(encoding="utf-8")
    blocks = {
        "light": css[: css.index("@media")],
        "dark": css[css.index("prefers-color-scheme: dark") : css.index("*, *::before")],
        "print": css[css.index("@media print") :],
    }
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", blocks["light"]))
    colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", blocks[scheme]))
    on = ["paper", "surface", "sunk"]
    pairs = [(text, back) for text in ("ink", "muted", "link") for back in on]
    tones = ("critical", "high", "medium", "low", "info", "good")
    pairs += [(tone, f"{tone}-bg") for tone in tones] + [(tone, "paper") for tone in tones]
    for text, back in pairs:
        assert contrast(colours[text], colours[back]) >= 4.5, (text, back)
    heat = mix(colours["series-1"], colours["surface"], 0.5)
    assert contrast(colours["ink"], heat) >= 4.5
    lines = [f"series-{n}" for n in (1, 2, 3, "bad")]
    assert all(contrast(colours[line], colours["surface"]) >= 3 for line in lines)


def light(colour: str) -> tuple[float, float, float]:
    """Channels of #rrggbb or #rgb in [0, 1]."""
    text = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    r, g, b = (int(text[k : k + 2], 16) / 255 for k in (0, 2, 4))
    return r, g, b


def contrast(a: str, b: str) -> float:
    """Contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in light(colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mix(a: str, b: str, share: float) -> str:
    """A colour between two."""
    mixed = [
        round(255 * (share * x + (1 - share) * y)) for x, y in zip(light(a), light(b), strict=True)
    ]
    return "#" + "".join(f"{c:02x}" for c in mixed)
