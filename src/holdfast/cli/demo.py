"""`demo`: the whole life cycle on the handwritten digits that ship with scikit-learn."""

import time
from dataclasses import replace
from pathlib import Path

import torch

from holdfast import catalogue
from holdfast.assess.plan import load_plan
from holdfast.cli.assessing import assess, with_verdict, write_report
from holdfast.cli.console import compare_table, out, progress, verdict_lines
from holdfast.cli.hardening import harden
from holdfast.cli.opening import Source, open_source
from holdfast.data import open_data
from holdfast.review.policy import load_policy
from holdfast.store.sql import Store
from holdfast.targets.export import export_onnx
from holdfast.targets.training import ClassifierRecipe
from holdfast.targets.weights import save_safetensors
from holdfast.targets.zoo import digits_cnn

MODEL = "holdfast.targets.zoo:digits_cnn"
SHOWN = (
    ("accuracy on clean images", "evasion/pgd.linf", "clean accuracy", ""),
    ("under PGD, Linf 0.05", "evasion/pgd.linf", "robust accuracy", "eps=0.05"),
    ("under PGD, Linf 0.1", "evasion/pgd.linf", "robust accuracy", "eps=0.1"),
    ("under random noise, Linf 0.1", "evasion/pgd.linf", "accuracy under random noise", "eps=0.1"),
    ("under PGD, L2 0.5", "evasion/pgd.l2", "robust accuracy", "eps=0.5"),
    ("under HopSkipJump, L2 0.5", "evasion/hop_skip_jump.l2", "robust accuracy", "eps=0.5"),
    (
        "certified by smoothing, L2 0.25",
        "trust/randomized_smoothing",
        "certified accuracy",
        "eps=0.25",
    ),
    ("under corruptions", "trust/corruptions", "mean corruption accuracy", ""),
    ("success of a patch", "evasion/patch", "attack success", ""),
    ("membership AUC by loss", "privacy/loss_threshold", "area under the curve", ""),
    ("membership AUC by LiRA", "privacy/lira", "area under the curve", ""),
    ("agreement of a stolen copy", "extraction/copycat", "agreement", ""),
)
"""Rows of the closing table: (label, check, measurement, part)."""


def run(folder: Path, seed: int) -> None:
    """Train, assess, harden, assess again, review both, report."""
    began = time.perf_counter()
    torch.set_num_threads(1)  # a network this small only loses by more
    catalogue.load_all()
    folder.mkdir(parents=True, exist_ok=True)
    policy, plan = load_policy(), load_plan("image-classifier")
    plain = Source(MODEL, "digits", str(_train(folder, seed)))
    with Store(folder / "store") as store:
        before = assess(
            plain, open_source(plain), plan, policy.tier("medium"), seed, store, "Before hardening"
        )
        before = with_verdict(before, policy, "medium")
        weights = harden(plain, "evasion/pgd_training", (), folder, seed)
        hard = replace(plain, weights=str(weights))
        after = assess(
            hard, open_source(hard), plan, policy.tier("medium"), seed, store, "After hardening"
        )
        after = with_verdict(after, policy, "medium")
        for each in (before, after):
            store.add_assessment(each)
        write_report([before, after], store, folder)
    out.print(compare_table(before, after, SHOWN))
    for each in (before, after):
        out.print()
        for line in verdict_lines(each):
            out.print(line)
    seconds = time.perf_counter() - began
    out.print(
        f"\n{seconds:.0f} s in all; report: [bold]{folder / 'report.html'}[/], report.json, report.sarif"
    )


def _train(folder: Path, seed: int) -> Path:
    """The undefended classifier, as safetensors and ONNX."""
    data = open_data("digits").train
    recipe = ClassifierRecipe(digits_cnn)
    module = recipe.build(seed)
    with progress() as bar:
        task = bar.add_task("Training a digit classifier", total=recipe.epochs)
        for _ in recipe.fit(module, data, seed):
            bar.advance(task)
    weights = folder / "digits.safetensors"
    save_safetensors(module, weights)
    export_onnx(module, data.tensor[:2], weights.with_suffix(".onnx"))
    return weights
