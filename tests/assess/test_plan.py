"""Plans are checked in full before anything runs."""

from pathlib import Path

import pytest

from holdfast import catalogue
from holdfast.assess.plan import Check, load_plan, profiles
from holdfast.core.errors import InputError

catalogue.load_all()


@pytest.mark.parametrize("name", profiles())
def test_every_shipped_profile_names_methods_and_parameters_that_exist(name: str) -> None:
    for check in load_plan(name).checks:
        check.build()
        assert tuple(sorted(check.eps)) == check.eps


def test_a_setting_changes_one_check_alone() -> None:
    plain = load_plan("image-classifier")
    plan = load_plan(
        "image-classifier", ["evasion/pgd.linf.params.steps=5", "evasion/pgd.linf.eps=[0.3]"]
    )
    changed = {a.id for a, b in zip(plan.checks, plain.checks, strict=True) if a != b}
    assert changed == {"evasion/pgd.linf"}
    check = plan.only(["evasion/pgd.linf"]).checks[0]
    assert check.params["steps"] == 5
    assert check.eps == (0.3,)


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (Check(id="x", method="evasion/pgdd"), "no method has this id"),
        (Check(id="x", method="evasion/pgd", params={"step": 3}), "it has: steps"),
        (Check(id="x", method="evasion/pgd", params={"steps": "many"}), "must be a int"),
        (Check(id="x", method="evasion/pgd", params={"steps": 0}), "at least 1"),
    ],
)
def test_a_wrong_check_is_one_clear_error(check: Check, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check.build()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nchecks: [", "not valid YAML"),
        ("name: a\nchecks: [{id: x}]", "method"),
        ("name: a\nchecks: [{id: x, method: y, speed: 3}]", "speed"),
        ("name: a\nchecks: [{id: x, method: y}, {id: x, method: y}]", "ids must differ"),
        ("3", "plan.yaml"),
    ],
)
def test_a_wrong_plan_file_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        load_plan(path)


def test_an_unknown_plan_or_setting_names_the_choices() -> None:
    with pytest.raises(InputError, match="image-classifier"):
        load_plan("imageclassifier")
    with pytest.raises(InputError, match=r"check-id\.key=value"):
        load_plan("image-classifier", ["steps=5"])
    for wrong in (
        "evasion/pgd.linf.eps.first=1",
        "evasion/pgd.linf.eps=[",
        "evasion/pgd.linf.rows=x",
    ):
        with pytest.raises(InputError, match="got"):
            load_plan("image-classifier", [wrong])
    with pytest.raises(InputError, match="no such check"):
        load_plan("image-classifier").only(["evasion/none"])
