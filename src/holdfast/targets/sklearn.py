"""Scikit-learn classifiers as targets, and how to train more of them."""

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, TargetError
from holdfast.core.space import Box
from holdfast.core.target import Answers
from holdfast.ops.losses import two_logits

FLOOR = 1e-12
"""Probabilities are clipped here before the logarithm; trees give exact zeros."""


@dataclass(frozen=True, eq=False)
class SklearnLabels:
    """A fitted classifier that shows decisions only.

    Attributes:
        model: the fitted estimator.
        space: what a valid input is.
        classes: the model's label of each class index; `model.classes_` where it is empty.
    """

    model: Any  # scikit-learn has no types
    space: Box = field(default_factory=Box)
    classes: tuple[object, ...] = ()

    def answer(self, x: Tensor) -> Tensor:
        """Class indices (N,)."""
        told = _ask(self.model.predict, x) if len(x) else np.zeros(0)
        indices = _places(told.tolist(), _classes(self.model, self.classes))
        return torch.tensor(indices, dtype=torch.long, device=x.device)


@dataclass(frozen=True, eq=False)
class SklearnClassifier:
    """A fitted classifier that shows scores: log-probabilities, or else its decision function.

    A class index that the model has never seen gets probability FLOOR.

    Attributes:
        model: the fitted estimator.
        space: what a valid input is.
        classes: the model's label of each class index; `model.classes_` where it is empty.
    """

    model: Any  # scikit-learn has no types
    space: Box = field(default_factory=Box)
    classes: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        if not _has_scores(self.model):
            raise InputError(
                "scores need predict_proba or decision_function",
                got=type(self.model).__name__,
                fix="use SklearnLabels",
            )

    def scores(self, x: Tensor) -> Tensor:
        """(N, K) whose softmax is the model's probabilities where it gives any."""
        labels = _classes(self.model, self.classes)
        if not len(x):
            return torch.zeros(0, len(labels), device=x.device)
        raw = self._raw(x)
        seen = torch.tensor(_places(self.model.classes_.tolist(), labels))
        if raw.ndim != 2 or raw.shape != (len(x), len(seen)):
            raise TargetError(
                f"the model must give one score for each of its {len(seen)} classes",
                got=tuple(raw.shape),
                fix="use one-vs-rest scores (decision_function_shape='ovr')",
            )
        unseen = raw.amax(1, keepdim=True) + float(np.log(FLOOR))
        return unseen.repeat(1, len(labels)).index_copy(1, seen, raw).float().to(x.device)

    def decode(self, raw: Tensor) -> Tensor:
        """Index of the largest score over axis 1."""
        return raw.argmax(1)

    def answer(self, x: Tensor) -> Tensor:
        """Class indices (N,) by the scores."""
        return self.decode(self.scores(x))

    def _raw(self, x: Tensor) -> Tensor:
        if hasattr(self.model, "predict_proba"):
            return torch.as_tensor(_ask(self.model.predict_proba, x)).clamp(min=FLOOR).log()
        return two_logits(torch.as_tensor(_ask(self.model.decision_function, x)))


@dataclass(frozen=True, eq=False)
class SklearnRecipe:
    """Fits a clone of a scikit-learn classifier, with all its settings, on class indices.

    Attributes:
        model: an estimator, fitted or not; it is never changed.
    """

    model: Any  # scikit-learn has no types

    @property
    def digest(self) -> str:
        """sha256 of the kind of model and of all its settings."""
        settings = sorted((key, repr(value)) for key, value in self.model.get_params().items())
        told = repr((type(self.model).__module__, type(self.model).__qualname__, settings))
        return hashlib.sha256(told.encode()).hexdigest()

    def train(self, data: Dataset, seed: int) -> SklearnClassifier:
        """A fresh model, fitted on `data`; every `random_state` inside it is set to `seed`."""
        from sklearn.base import clone

        present = data.y.unique()
        if len(present) < 2:
            raise InputError(
                "a classifier is trained on two classes at least",
                got=f"{len(present)} in {len(data)} rows",
                fix="give more rows",
            )
        model = clone(self.model)
        states = [key for key in model.get_params() if key.split("__")[-1] == "random_state"]
        model.set_params(**dict.fromkeys(states, seed % 2**32))
        model.fit(_flat(data.tensor), data.y.cpu().numpy())
        return SklearnClassifier(model, cast(Box, data.space), tuple(range(len(data.classes))))


def wrap(model: Any, space: Box, classes: tuple[object, ...] = ()) -> Answers:
    """The model with the most access that it offers."""
    from holdfast.targets import gaussian_process  # which, like trees, builds on this module
    from holdfast.targets.trees import tree_target

    trees = tree_target(model, space, classes)
    if trees is not None:
        return trees
    if gaussian_process.fits(model, classes):
        return gaussian_process.GaussianProcess(model, space, classes)
    kind = SklearnClassifier if _has_scores(model) else SklearnLabels
    return kind(model, space, classes)


def _has_scores(model: Any) -> bool:
    return hasattr(model, "predict_proba") or hasattr(model, "decision_function")


def _classes(model: Any, classes: tuple[object, ...]) -> tuple[object, ...]:
    return classes or tuple(model.classes_.tolist())


def class_places(model: Any, classes: tuple[object, ...]) -> list[int]:
    """The class index of each of the model's own classes."""
    return _places(model.classes_.tolist(), _classes(model, classes))


def _places(told: Iterable[object], labels: tuple[object, ...]) -> list[int]:
    """Class index of every label that the model told, compared as text (1 is "1")."""
    place = {text(label): i for i, label in enumerate(labels)}
    try:
        return [place[text(label)] for label in told]
    except KeyError as error:
        raise TargetError(
            "the model tells a class that is none of the data's",
            got=error,
            fix=f"the classes are {', '.join(place)}",
        ) from error


def text(label: object) -> str:
    """A label as text; 1.0 is "1"."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _flat(x: Tensor) -> np.ndarray:
    """(N, D) in the CPU's memory."""
    flat: np.ndarray = x.detach().flatten(1).cpu().numpy()
    return flat


def _ask(call: Callable[[np.ndarray], Any], x: Tensor) -> np.ndarray:
    """Call the model; what it refuses is an error of the target with the model's own words."""
    try:
        with warnings.catch_warnings():
            # models fitted on data frames say at every call that rows come without column names
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            told: np.ndarray = np.asarray(call(_flat(x)))
    except ValueError as error:
        raise TargetError(
            "the scikit-learn model refused its input",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="give rows with the columns that it was fitted on",
        ) from error
    return told
