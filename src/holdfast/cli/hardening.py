"""`harden`: train anew with a defence and write the model in both formats."""

from collections.abc import Sequence
from pathlib import Path

import torch

from holdfast import catalogue
from holdfast.assess.plan import Check
from holdfast.cli.console import out, progress
from holdfast.cli.opening import Source, open_source
from holdfast.core import yamlfile
from holdfast.core.errors import InputError
from holdfast.core.kinds import TrainingDefence
from holdfast.core.recipe import TorchRecipe
from holdfast.core.run import Run
from holdfast.engine.train import train
from holdfast.targets.export import export_onnx
from holdfast.targets.weights import save_safetensors

SMALL = 1_000_000
"""Networks with fewer parameters train faster on one thread than on several."""


def run(source: Source, remedy: str, settings: Sequence[str], folder: Path, seed: int) -> None:
    """The verb `harden`."""
    weights = harden(source, remedy, settings, folder, seed)
    out.print(f"wrote [bold]{weights}[/] and {weights.with_suffix('.onnx')}")
    out.print(
        f"next: holdfast assess --model {source.model} --weights {weights} --data {source.data}"
    )


def harden(source: Source, remedy: str, settings: Sequence[str], folder: Path, seed: int) -> Path:
    """Train `source`'s architecture with a training defence; returns the path of its weights.

    Raises:
        InputError: the remedy is no training defence, or the model has no recipe.
    """
    catalogue.load_all()
    catalogue.load(remedy)
    params = dict(_setting(s) for s in settings)
    method = Check(id=remedy, method=remedy, params=params).build()
    if not isinstance(method, TrainingDefence):
        kinds = [i for i, each in catalogue.listings().items() if each.kind == "TrainingDefence"]
        raise InputError(
            "the remedy must train a model", got=remedy, fix=f"choose {' or '.join(kinds)}"
        )
    opened = open_source(source)
    if not isinstance(opened.recipe, TorchRecipe) or opened.train is None:
        raise InputError(
            "hardening trains a fresh model",
            got=source.model,
            fix="give the model as file.py:factory",
        )
    folder.mkdir(parents=True, exist_ok=True)
    if sum(p.numel() for p in opened.recipe.build(seed).parameters()) < SMALL:
        torch.set_num_threads(1)
    with progress() as bar:
        task = bar.add_task(f"Hardening with {remedy}", total=None)
        told = Run(
            seed=seed, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
        module = train(method, opened.recipe, opened.train, told)
    weights = folder / "hardened.safetensors"
    save_safetensors(module, weights)
    export_onnx(module, opened.test.tensor[:2], weights.with_suffix(".onnx"))
    return weights


def _setting(text: str) -> tuple[str, float | int | str | bool]:
    name, sign, value = text.partition("=")
    if not sign:
        raise InputError("a setting", got=text, fix="write parameter=value, such as eps=0.1")
    return name, yamlfile.value(value)
