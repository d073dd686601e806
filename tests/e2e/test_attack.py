"""`holdfast attack` as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from holdfast.cli.app import app
from holdfast.store.sql import Store
from tests.e2e.conftest import FACTORY, Command
from tests.e2e.test_bad_input import nothing_written, wrong


def attack(holdfast: Command, weights: Path, *arguments: str):
    given = ("--model", FACTORY, "--weights", str(weights), "--data", "digits", "--out", "out")
    return holdfast("attack", *given, *arguments)


def test_one_method_with_budgets_of_ones_own(
    holdfast: Command, digits_weights: Path, tmp_path: Path
) -> None:
    done = attack(
        holdfast, digits_weights, "--method", "evasion/pgd", "--set", "steps=10", "--norm", "linf",
        "--eps", "8/255", "--eps", "0.1", "--rows", "60",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "linf 0.0313725" in done.stdout
    assert "forward+backward per attacked row" in done.stdout.replace("\n", " ")
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    (outcome,) = told["assessments"][0]["outcomes"]
    assert outcome["status"] == "measured"
    parts = [m["part"] for m in outcome["record"]["measurements"] if m["name"] == "robust accuracy"]
    assert parts == ["eps=0.0313725", "eps=0.1"]
    assert outcome["record"]["params"]["steps"] == 10
    assert outcome["record"]["rows"] <= 60


def test_a_wanted_class_and_a_mask(holdfast: Command, digits_weights: Path, tmp_path: Path) -> None:
    mask = np.zeros((1, 8, 8))
    mask[:, 2:6] = 1
    np.save(tmp_path / "mask.npy", mask)
    done = attack(
        holdfast, digits_weights, "--method", "evasion/pgd", "--eps", "0.4", "--rows", "40",
        "--target-class", "3", "--mask", "mask.npy",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rows not moved to the class" in done.stdout


def test_a_family_shows_one_bar_and_one_line_each(
    holdfast: Command, digits_weights: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "two.yaml"
    plan.write_text(
        "name: two\nchecks:\n"
        "  - {id: evasion/fgsm, method: evasion/fgsm, measure: linf, eps: [0.1], rows: 40}\n"
        "  - {id: evasion/sigma_zero, method: evasion/sigma_zero, measure: l0, eps: [3], rows: 10,"
        " params: {steps: 30}}\n"
    )
    done = attack(holdfast, digits_weights, "--profile", "two.yaml")
    assert done.returncode == 0, done.stderr
    assert "evasion/fgsm" in done.stdout
    assert "evasion/sigma_zero" in done.stdout
    only = attack(
        holdfast, digits_weights, "--profile", "two.yaml", "--norm", "linf", "--eps", "0.2"
    )
    assert "evasion/sigma_zero" not in only.stdout
    assert "linf 0.2" in only.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--method", "evasion/pgd", "--norm", "l7"), "linf, l2"),
        (("--method", "evasion/fab", "--norm", "l0"), "linf, l2, l1"),
        (("--method", "evasion/spatial", "--norm", "l2"), "own settings"),
        (("--method", "evasion/patch", "--norm", "l7"), "own settings"),
        (("--method", "evasion/patch", "--eps", "0.1"), "own settings"),
        (("--method", "evasion/pgd", "--eps", "2"), "at most 1"),
        (("--method", "evasion/pgd", "--eps", "a/b"), "8/255"),
        (("--method", "evasion/pgd", "--eps", "0"), "above zero"),
        (("--method", "evasion/jpeg"), "attack inputs"),
        (("--method", "evasion/pgdd"), "evasion/pgd"),
        (("--method", "evasion/pgd", "--set", "stepz=3"), "steps"),
        (("--method", "evasion/pgd", "--target-class", "11"), "0 to 9"),
        (("--method", "evasion/pgd", "--mask", "none.npy"), "none.npy"),
        (("--method", "evasion/milp_tree"), "trees"),
        (("--profile", "nonsense"), "all-white-box"),
        ((), "--method"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    digits_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = ("--model", FACTORY, "--weights", str(digits_weights), "--data", "digits")
    wrong(CliRunner().invoke(app, ["attack", *given, "--out", "out", *arguments]), says)
    nothing_written(tmp_path)


def test_a_column_that_nobody_can_change_is_not_changed(holdfast: Command, tmp_path: Path) -> None:
    import pandas as pd
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"age": rng.integers(18, 80, 300), "score": rng.random(300)})
    table["risk"] = (table["age"] / 80 + table["score"] > 1.1).astype(int)
    table.to_csv(tmp_path / "t.csv", index=False)
    model = RandomForestClassifier(10, random_state=0).fit(table[["age", "score"]], table["risk"])
    skops.io.dump(model, tmp_path / "m.skops")
    done = holdfast(
        "attack", "--model", "m.skops", "--data", "t.csv", "--label", "risk", "--immutable", "age",
        "--method", "evasion/leaf_tuple", "--rows", "20", "--out", "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "robust accuracy" in done.stdout
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    kept = told["assessments"][0]["outcomes"][0]["record"]["tensors"]
    store = Store(tmp_path / ".holdfast")
    clean, moved = (store.tensor(kept[name]) for name in ("clean", "adversarial"))
    assert len(clean)
    assert (clean[:, 0] == moved[:, 0]).all()
    assert (clean[:, 1] != moved[:, 1]).any()
    wrong(holdfast("attack", "--model", "m.skops", "--data", "t.csv", "--label", "risk",
                   "--immutable", "agee", "--method", "evasion/leaf_tuple"), "age")  # fmt: skip


def test_a_mask_that_allows_nothing_is_not_taken_for_robustness(
    digits_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "none.npy", np.zeros((1, 8, 8)))
    given = ("--model", FACTORY, "--weights", str(digits_weights), "--data", "digits")
    asked = ("--method", "evasion/pgd", "--mask", "none.npy", "--out", "out")
    wrong(CliRunner().invoke(app, ["attack", *given, *asked]), "allows no change")


def test_an_attack_is_not_reviewed_by_mistake(
    holdfast: Command, digits_weights: Path, tmp_path: Path
) -> None:
    done = attack(
        holdfast, digits_weights, "--method", "evasion/fgsm", "--eps", "0.1", "--rows", "9"
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Measured, not judged" in page
    assert "What stands" in page
    refused = holdfast("review")
    assert refused.returncode == 2
    assert "holdfast assess" in refused.stderr
    assert holdfast("review", "1").returncode == 1
