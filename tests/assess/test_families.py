"""Families of attacks: every attack on inputs is in one of them, with a norm it has."""

import re
from pathlib import Path

import pytest

from holdfast import catalogue
from holdfast.assess.plan import load_plan, profiles
from holdfast.core.method import REGISTRY

FAMILIES = [name for name in profiles() if name not in ("image-classifier", "tabular-classifier")]
DOCS = Path(__file__).parents[2] / "docs" / "attacks"
OTHER_MODALITIES = {"evasion/audio_targeted", "evasion/text_hotflip"}


def members(family: str) -> list[str]:
    return [check.method for check in load_plan(family).checks]


def test_every_attack_on_inputs_is_in_exactly_one_family() -> None:
    catalogue.load_all()
    attacks = {
        each.id
        for each in catalogue.listings().values()
        if each.id.startswith("evasion/") and each.kind in ("EvasionAttack", "UniversalAttack")
    }
    found = [id_ for family in FAMILIES for id_ in set(members(family))]
    assert sorted(found) == sorted(attacks - OTHER_MODALITIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_members_have_the_norms_that_the_family_asks_for(family) -> None:
    catalogue.load_all()
    for check in load_plan(family).checks:
        if check.method not in REGISTRY:  # its extra is not installed
            continue
        check.build()
        measures = getattr(REGISTRY[check.method].cls, "measures", ("any",))
        assert (check.measure or "any") in measures, check.id


def test_every_family_has_a_page_and_every_page_a_family() -> None:
    named = [
        family
        for page in DOCS.glob("*.md")
        for family in re.findall(r"<!-- family: (\S+) -->", page.read_text(encoding="utf-8"))
    ]
    assert sorted(named) == FAMILIES
