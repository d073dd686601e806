"""Harden, review, report and scan, as a user runs them."""

import pickle
from pathlib import Path

import pytest
import torch

from holdfast.data import open_data
from holdfast.targets.weights import load_safetensors
from holdfast.targets.zoo import digits_cnn
from tests.e2e.conftest import FACTORY, Command

STRICT = """
name: strict
tiers:
  medium:
    required: [evasion/pgd.linf, privacy/lira]
    limits: [{check: evasion/pgd.linf, measurement: clean accuracy, at_least: 0.5, severity: high}]
"""


def test_hardening_writes_a_model_in_both_formats(holdfast: Command, tmp_path: Path) -> None:
    done = holdfast(
        "harden", "--model", FACTORY, "--data", "digits", "--set", "epochs=3", "--out", "hard"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hard" / "hardened.onnx").stat().st_size > 10_000
    module = digits_cnn().eval()
    load_safetensors(module, tmp_path / "hard" / "hardened.safetensors")
    test = open_data("digits").test
    with torch.no_grad():
        assert float((module(test.tensor).argmax(1) == test.y).float().mean()) > 0.7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--remedy", "evasion/jpeg"], "evasion/pgd_training"),
        (["--set", "epoch=3"], "it has: eps"),
        (["--set", "epochs"], "parameter=value"),
    ],
)
def test_a_remedy_that_cannot_be_used_is_one_clear_error(
    holdfast: Command, tmp_path: Path, options: list[str], says: str
) -> None:
    done = holdfast("harden", "--model", FACTORY, "--data", "digits", "--out", "hard", *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "hard").exists()


def test_review_exits_by_its_verdict_and_the_report_can_be_written_again(
    holdfast: Command, tmp_path: Path, digits_weights: Path, small_plan: Path
) -> None:
    arguments = ["--model", FACTORY, "--weights", str(digits_weights), "--data", "digits"]
    done = holdfast("assess", *arguments, "--profile", str(small_plan), "--out", "out")
    assert done.returncode == 0, done.stderr
    kind = tmp_path / "kind.yaml"
    kind.write_text(STRICT.replace(", privacy/lira", ""))
    assert holdfast("review", "--policy", str(kind)).returncode == 0
    strict = tmp_path / "strict.yaml"
    strict.write_text(STRICT)
    refused = holdfast("review", "--policy", str(strict), "--out", "verdict")
    assert refused.returncode == 1
    assert "privacy/lira" in refused.stdout
    assert "it was not run" in refused.stdout
    assert "Blocked" in (tmp_path / "verdict" / "report.html").read_text()
    assert holdfast("report", "1", "--out", "again").returncode == 0
    assert (tmp_path / "again" / "report.sarif").stat().st_size > 1000


class Harmless:
    """A pickle that would call a function when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("was loaded",))


def test_scan_exits_by_what_it_found(holdfast: Command, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "good.pt")
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Harmless()))
    good = holdfast("scan", "good.pt")
    assert good.returncode == 0, good.stdout
    bad = holdfast("scan", "good.pt", "bad.pkl")
    assert bad.returncode == 1
    assert "print" in bad.stdout
    assert "was loaded" not in bad.stdout.splitlines()
    missing = holdfast("scan", "none.pkl")
    assert missing.returncode == 2
    assert "none.pkl" in missing.stderr
