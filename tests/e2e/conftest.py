"""The command line as a user runs it: in a process of its own, in an empty folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.targets.weights import save_safetensors

FACTORY = "holdfast.targets.zoo:digits_cnn"
Command = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """Quiet, narrow output of a fixed width."""
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "HOLDFAST_WORKERS": "2"}


@pytest.fixture
def holdfast(tmp_path: Path) -> Command:
    """Runs `holdfast ...` in `tmp_path`."""

    def run(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "holdfast", *arguments]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def digits_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained digit CNN as safetensors, with digits.onnx beside it."""
    from holdfast.data import open_data
    from holdfast.targets.export import export_onnx
    from holdfast.targets.training import ClassifierRecipe
    from holdfast.targets.zoo import digits_cnn

    data = open_data("digits").train
    module = ClassifierRecipe(digits_cnn, epochs=8).train(data, seed=0).module
    path = tmp_path_factory.mktemp("model") / "digits.safetensors"
    save_safetensors(module, path)
    export_onnx(module, data.tensor[:2], path.with_suffix(".onnx"))
    return path


@pytest.fixture
def small_plan(tmp_path: Path) -> Path:
    """Five quick checks."""
    path = tmp_path / "plan.yaml"
    checks = [
        "evasion/pgd.linf, method: evasion/pgd, measure: linf, eps: [0.05, 0.1], rows: 60",
        "evasion/pgd.l2, method: evasion/pgd, measure: l2, eps: [0.5], rows: 60",
        "evasion/hop_skip_jump.l2, method: evasion/hop_skip_jump, measure: l2, eps: [0.5, 1.0],"
        " rows: 6, queries: 300",
        "trust/corruptions, method: trust/corruptions, rows: 60",
        "privacy/loss_threshold, method: privacy/loss_threshold",
        "supply/pickle_scan, method: supply/pickle_scan",
    ]
    path.write_text("name: small\nchecks:\n" + "".join(f"  - {{id: {c}}}\n" for c in checks))
    return path


@pytest.fixture
def long_plan(small_plan: Path) -> Path:
    """The same, and one check of some seconds that is begun last: there is time to stop it."""
    check = "evasion/pgd.long, method: evasion/pgd, measure: linf, eps: [0.001], weight: 0.1"
    long = f"  - {{id: {check}, params: {{steps: 200}}}}\n"
    small_plan.write_text(small_plan.read_text() + long)
    return small_plan
