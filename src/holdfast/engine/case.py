"""What a runner is given and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.recipe import Background, Recipe, TorchRecipe
from holdfast.core.record import Finding, Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Measure
from holdfast.core.target import Scores
from holdfast.ops.stats import clopper_pearson


@dataclass(frozen=True, eq=False)
class Case:
    """One model on one data set, and the attacker to suppose.

    Attributes:
        target: the model, with whatever access its adapter offers.
        test: held-out rows; all rates are measured on them.
        train: the rows the model was trained on, None when unknown.
        recipe: how such a model is trained, None when unknown.
        threat: the attacker.
        peers: other models of the same task.
        files: the model's files on disk, for scanners.
    """

    target: object
    test: Dataset
    threat: ThreatModel
    train: Dataset | None = None
    recipe: Recipe | None = None
    peers: tuple[Scores, ...] = ()
    files: tuple[Path, ...] = ()

    def members(self) -> Dataset:
        """The training rows, or the reason why there are none."""
        if self.train is None:
            raise NotApplicable("needs the training rows of the model, which were not given")
        return self.train

    def torch_recipe(self) -> TorchRecipe:
        """The recipe of a PyTorch model, or the reason why there is none."""
        if not isinstance(self.recipe, TorchRecipe):
            raise NotApplicable(
                "needs to train fresh PyTorch models: give the model as module:factory"
            )
        return self.recipe

    def any_recipe(self) -> Recipe:
        """Any recipe, or the reason why there is none."""
        if self.recipe is None:
            raise NotApplicable(
                "needs to train models like the target: give it as module:factory or scikit-learn file"
            )
        return self.recipe

    def budgets(self, measures: tuple[str, ...]) -> tuple[Measure, tuple[float, ...]]:
        """How change is measured, and the budgets in ascending order.

        The order matters: what falls at one budget has fallen at all larger ones. For attacks whose
        change is not counted there is one budget, of zero units.

        Raises:
            NotApplicable: not one of `measures`, or no budgets.
            InputError: a budget below zero.
        """
        if measures == ("any",):
            return "any", (0.0,)
        measure, eps = self.threat.measure, tuple(sorted(set(self.threat.eps)))
        if measure is None or not eps:
            raise NotApplicable("needs a measure of change, and budgets (eps) to attack within")
        if measure not in measures:
            raise NotApplicable(f"{measure} is not a measure the attack can be run with")
        if not all(each >= 0 for each in eps):
            raise InputError("budgets", got=eps, fix="give numbers from zero on")
        return cast(Measure, measure), eps

    def wanted(self) -> int | None:
        """The class that the attacker wants inputs to be answered as, None for any other one.

        Raises:
            InputError: the data have no such class.
        """
        wanted, classes = self.threat.wanted, self.test.classes
        if wanted is not None and not 0 <= wanted < len(classes):
            raise InputError(
                "the wanted class", got=wanted, fix=f"give an index from 0 to {len(classes) - 1}"
            )
        return wanted

    def rows(self) -> Tensor:
        """The held-out inputs, each with one label, or the reason why they are of another kind."""
        if not isinstance(self.test.x, Tensor) or self.test.y.ndim != 1:
            raise NotApplicable("needs inputs of one shape with one label each")
        return self.test.x

    def background(self, data: Dataset | None = None) -> Background:
        """What the attacker is supposed to know."""
        return Background(self.recipe, data, self.peers)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a runner measured.

    Attributes:
        measurements: the numbers.
        tensors: what pictures and re-judging need, small.
        rows: how many rows were attacked or measured.
        forwards: forward passes the method spent, in rows.
        backwards: backward passes, in rows.
        notes: limits of the result, in words.
        findings: what the method itself found; scanners only.
    """

    measurements: tuple[Measurement, ...]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    rows: int = 0
    forwards: int = 0
    backwards: int = 0
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def on(data: Dataset, run: Run) -> Dataset:
    """The rows on the device where models and random streams are."""
    moved = data.with_rows(data.tensor.to(run.device), data.y.to(run.device))
    return moved if moved.tensor is not data.tensor else data


def rate(name: str, hits: Tensor | int, n: int | None = None, part: str = "") -> Measurement:
    """A share with its exact 95 % interval; `hits` is (n,) Boolean or a count."""
    count, total = (int(hits.sum()), hits.numel()) if isinstance(hits, Tensor) else (hits, n or 0)
    low, high = clopper_pearson(count, total)
    value = count / total if total else float("nan")
    return Measurement(name, value, total, low, high, part)
