"""One command, four forms of model: each runs what its access allows and says why not the rest."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import FACTORY, Command, environment

ROOT = Path(__file__).parents[2]


def outcomes(
    holdfast: Command, tmp_path: Path, plan: Path, *model: str
) -> dict[str, tuple[str, str]]:
    """Status and reason by check, from the JSON report."""
    done = holdfast("assess", *model, "--data", "digits", "--profile", str(plan), "--out", "out")
    assert done.returncode == 0, done.stderr + done.stdout
    for name in ("report.html", "report.json", "report.sarif"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
    (assessment,) = json.loads((tmp_path / "out" / "report.json").read_text())["assessments"]
    return {o["check"]: (o["status"], o["reason"]) for o in assessment["outcomes"]}


def ran(got: dict[str, tuple[str, str]]) -> set[str]:
    return {
        check for check, (status, _) in got.items() if status in ("passed", "failed", "measured")
    }


WHITE_BOX = {"evasion/pgd.linf", "evasion/pgd.l2"}
BLACK_BOX = {"evasion/hop_skip_jump.l2", "trust/corruptions"}
SCORED = {"privacy/loss_threshold"}
FILES = {"supply/pickle_scan"}


def test_a_factory_with_weights_runs_everything(
    holdfast: Command, tmp_path: Path, digits_weights: Path, small_plan: Path
) -> None:
    got = outcomes(
        holdfast, tmp_path, small_plan, "--model", FACTORY, "--weights", str(digits_weights)
    )
    assert ran(got) == WHITE_BOX | BLACK_BOX | SCORED | FILES


def test_onnx_is_white_box(
    holdfast: Command, tmp_path: Path, digits_weights: Path, small_plan: Path
) -> None:
    got = outcomes(
        holdfast, tmp_path, small_plan, "--model", str(digits_weights.with_suffix(".onnx"))
    )
    assert ran(got) >= WHITE_BOX | BLACK_BOX | SCORED


@pytest.mark.parametrize("form", ["skops", "pkl"])
@pytest.mark.parametrize("name", ["LogisticRegression", "RandomForestClassifier"])
def test_scikit_learn_gives_scores_but_no_gradients(
    holdfast: Command, tmp_path: Path, small_plan: Path, name: str, form: str
) -> None:
    from sklearn import ensemble, linear_model

    from holdfast.data import open_data

    factory = getattr(linear_model, name, None) or getattr(ensemble, name)
    model = factory(max_iter=2000) if name == "LogisticRegression" else factory(30, random_state=0)
    data = open_data("digits").train
    model.fit(data.tensor.flatten(1).numpy(), data.y.numpy())
    path = tmp_path / f"model.{form}"
    if form == "skops":
        import skops.io

        skops.io.dump(model, path)
    else:
        path.write_bytes(pickle.dumps(model))
    got = outcomes(
        holdfast,
        tmp_path,
        small_plan,
        "--model",
        str(path),
        *(["--trust"] if form == "pkl" else []),
    )
    assert ran(got) >= BLACK_BOX | SCORED
    assert all(
        got[check][0] == "not applicable" and "gradients" in got[check][1] for check in WHITE_BOX
    )


def test_a_service_is_a_black_box(
    holdfast: Command, tmp_path: Path, digits_weights: Path, small_plan: Path
) -> None:
    onnx = digits_weights.with_suffix(".onnx")
    command = [sys.executable, str(ROOT / "examples" / "serve_digits.py"), str(onnx), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            got = outcomes(holdfast, tmp_path, small_plan, "--model", url)
        finally:
            server.terminate()
    assert ran(got) >= BLACK_BOX | SCORED
    assert all(got[check][0] == "not applicable" and got[check][1] for check in WHITE_BOX)
