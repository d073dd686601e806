"""Classifiers made of trees as targets that show their trees: scikit-learn, XGBoost, LightGBM."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.core.errors import InputError, MissingExtra
from holdfast.core.space import Box
from holdfast.ops.losses import two_logits
from holdfast.ops.trees import TreeEnsemble, largest_left
from holdfast.targets.sklearn import SklearnClassifier, class_places

PROBES = 64
"""Rows on and just above thresholds on which the trees that were read must agree with the model."""
ONE, ZERO = np.float32(1), np.float32(1e-35)
NEVER = -1e6
"""Class sum of a class that the model has never seen."""
FORESTS = (
    "DecisionTreeClassifier",
    "ExtraTreeClassifier",
    "RandomForestClassifier",
    "ExtraTreesClassifier",
)


class _Unread(Exception):
    """The model is no sum of trees over numeric columns that we can read."""


@dataclass(frozen=True, eq=False)
class TreeClassifier(SklearnClassifier):
    """A fitted sum of trees: the library's own scores, and the trees behind them.

    Attributes:
        trees: the ensemble, its classes in the order of the data's.
    """

    trees: TreeEnsemble | None = None

    @property
    def ensemble(self) -> TreeEnsemble:
        """The trees as tensors."""
        if self.trees is None:
            raise InputError("the trees are missing", got="None", fix="open models with wrap()")
        return self.trees


def tree_target(model: Any, space: Box, classes: tuple[object, ...] = ()) -> TreeClassifier | None:
    """The model as a target that shows its trees, or None where they cannot be read.

    That is so for anything that is not a sum of trees over numbers: categorical splits, linear
    leaves, custom objectives, several outputs.
    """
    try:
        trees = read_trees(model)
    except (_Unread, AttributeError, KeyError, IndexError, ValueError):
        return None  # the last four: another version of the library lays its trees out otherwise
    seen = torch.tensor(class_places(model, classes))
    count = len(classes) or len(seen)
    value = torch.zeros(len(trees.value), count, dtype=torch.float64)
    base = torch.full((count,), 0.0 if trees.link == "probability" else NEVER, dtype=torch.float64)
    trees = replace(
        trees, value=value.index_copy(1, seen, trees.value), base=base.index_copy(0, seen, trees.base)
    )  # fmt: skip
    return TreeClassifier(model, space, classes, trees)


def read_trees(model: Any) -> TreeEnsemble:
    """The trees of a fitted classifier, its classes in the order of `model.classes_`.

    Raises:
        _Unread: it has none, or ones of a kind that is not read here.
    """
    name, library = type(model).__name__, type(model).__module__.split(".")[0]
    if library == "sklearn" and name in FORESTS:
        trees = _forest(model)
    elif library == "sklearn" and name == "GradientBoostingClassifier":
        trees = _boosting(model)
    elif library == "sklearn" and name == "HistGradientBoostingClassifier":
        trees = _histogram(model)
    elif library == "xgboost" and hasattr(model, "get_booster"):
        trees = _xgboost(model)
    elif hasattr(model, "booster_"):
        trees = _lightgbm(model)
    else:
        raise _Unread(name)
    if not _agrees(model, trees):  # a version or a setting of the library that is read wrongly
        raise _Unread(f"{name}: other answers than its trees give")
    return trees


@dataclass(frozen=True)
class _Tree:
    """One tree as a library holds it: children that are below zero mark leaves."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray  # (nodes, K)


def _join(
    trees: Sequence[_Tree], features: int, base: Tensor | None = None, *, strict: bool = False,
    link: Any = "logit",
) -> TreeEnsemble:  # fmt: skip
    if not trees:
        raise _Unread("no trees")
    sizes = [len(tree.feature) for tree in trees]
    first = np.cumsum([0, *sizes])

    def all_of(part: str, kind: Any) -> Any:
        return np.concatenate([np.asarray(getattr(tree, part)) for tree in trees]).astype(kind)

    left, right = all_of("left", np.int64), all_of("right", np.int64)
    start, leaf = np.repeat(first[:-1], sizes), left < 0
    itself = np.arange(first[-1])
    value = all_of("value", np.float64) * leaf[:, None]
    threshold = np.where(leaf, 0.0, all_of("threshold", np.float64))
    return TreeEnsemble(
        torch.tensor(np.where(leaf, -1, all_of("feature", np.int64))),
        largest_left(torch.tensor(threshold), strict),
        torch.tensor(np.where(leaf, itself, left + start)),
        torch.tensor(np.where(leaf, itself, right + start)),
        torch.tensor(value), torch.tensor(first[:-1]),
        torch.zeros(value.shape[1], dtype=torch.float64) if base is None else base,
        features, link,
    )  # fmt: skip


def _columns(value: Any, column: int, classes: int) -> np.ndarray:
    """What leaves add to every class: halves with opposite signs for a single logit."""
    flat = np.asarray(value, dtype=np.float64).reshape(-1, 1)
    if classes == 2:
        return np.concatenate([-flat / 2, flat / 2], 1)
    one: np.ndarray = flat * (np.arange(classes) == column)
    return one


def _plain(tree: Any, value: np.ndarray) -> _Tree:
    """A scikit-learn tree with other values."""
    return _Tree(tree.feature, tree.threshold, tree.children_left, tree.children_right, value)


def _forest(model: Any) -> TreeEnsemble:
    """Means of the class shares in the leaves; a single tree is a forest of one."""
    if model.n_outputs_ != 1:
        raise _Unread("several outputs")
    grown = [each.tree_ for each in getattr(model, "estimators_", [model])]
    shares = [t.value[:, 0] / t.value[:, 0].sum(1, keepdims=True) / len(grown) for t in grown]
    trees = [_plain(tree, share) for tree, share in zip(grown, shares, strict=True)]
    return _join(trees, model.n_features_in_, link="probability")


def _boosting(model: Any) -> TreeEnsemble:
    classes = len(model.classes_)
    rate = model.learning_rate * (2 if model.loss == "exponential" else 1)
    grown = [
        _plain(one.tree_, _columns(rate * one.tree_.value[:, 0, 0], column, classes))
        for stage in model.estimators_
        for column, one in enumerate(stage)
    ]
    trees = _join(grown, model.n_features_in_)
    return _based(trees, rate / model.learning_rate * model.decision_function(_row(trees)))


def _histogram(model: Any) -> TreeEnsemble:
    classes, grown = len(model.classes_), []
    for stage in model._predictors:
        for column, one in enumerate(stage):
            nodes = one.nodes
            if nodes["is_categorical"].any():
                raise _Unread("categorical splits")
            leaf = nodes["is_leaf"].astype(bool)
            left, right = (
                np.where(leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right")
            )
            value = _columns(nodes["value"], column, classes)
            grown.append(_Tree(nodes["feature_idx"], nodes["num_threshold"], left, right, value))
    trees = _join(grown, model.n_features_in_)
    return _based(trees, model.decision_function(_row(trees)))


def _xgboost(model: Any) -> TreeEnsemble:
    told = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    kind, booster = told["objective"]["name"], told["gradient_booster"]
    if booster["name"] != "gbtree" or kind not in ("binary:logistic", "multi:softprob"):
        raise _Unread(f"{booster['name']} for {kind}")
    classes, known = len(model.classes_), booster["model"]["trees"]
    used = len(known)
    if "best_iteration" in told["attributes"]:  # predictions stop there
        used = booster["model"]["iteration_indptr"][int(told["attributes"]["best_iteration"]) + 1]
    grown = []
    for tree, column in zip(known[:used], booster["model"]["tree_info"][:used], strict=True):
        if any(tree["split_type"]) or int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
            raise _Unread("categorical splits or several outputs")
        # what is a threshold at inner nodes is the value at leaves
        limit = np.asarray(tree["split_conditions"], dtype=np.float32)
        grown.append(_Tree(
            np.asarray(tree["split_indices"]), limit, np.asarray(tree["left_children"]),
            np.asarray(tree["right_children"]), _columns(limit, column, classes),
        ))  # fmt: skip
    trees = _join(grown, model.n_features_in_, strict=True)
    return _based(trees, model.predict(_row(trees), output_margin=True))


def _lightgbm(model: Any) -> TreeEnsemble:
    """Read from the text form, whose children below zero are leaves, ~child being their number."""
    head, *blocks = model.booster_.model_to_string().split("\nTree=")
    about = dict(line.partition("=")[::2] for line in head.splitlines())
    kind = about.get("objective", "").split(" ")[0]
    if kind not in ("binary", "multiclass"):
        raise _Unread(f"LightGBM for {kind}")
    classes, turns = len(model.classes_), int(about["num_tree_per_iteration"])
    share = turns / len(blocks) if "average_output" in about else 1.0
    slope = float(about["objective"].partition("sigmoid:")[2] or 1) if kind == "binary" else 1.0
    trees = []
    for number, block in enumerate(blocks):
        part = dict(line.partition("=")[::2] for line in block.splitlines())
        how = np.array(part.get("decision_type", "").split(), dtype=np.int64)
        if int(part["num_cat"]) or part.get("is_linear", "0") != "0" or ((how >> 2) & 3 == 1).any():
            raise _Unread("categorical splits, linear leaves or zeros that stand for missing")
        inner, leaves = len(how), np.array(part["leaf_value"].split(), dtype=np.float64)

        def child(side: str, part: Any = part, inner: int = inner, ends: int = len(leaves)) -> Any:
            own = np.array(part.get(side, "").split(), dtype=np.int64)
            return np.concatenate([np.where(own < 0, inner + ~own, own), np.full(ends, -1)])

        pad = np.zeros(len(leaves))
        feature = np.array(part.get("split_feature", "").split(), dtype=np.int64)
        threshold = np.array(part.get("threshold", "").split(), dtype=np.float64)
        # rows are read as sparse: what is as near to zero as ZERO is taken for zero
        tiny = np.where(threshold < 0, np.nextafter(-ZERO, -ONE), ZERO)
        threshold = np.where(np.abs(threshold) <= ZERO, tiny, threshold)
        value = np.concatenate([np.zeros(inner), leaves * share * slope])
        trees.append(_Tree(
            np.concatenate([feature, pad]), np.concatenate([threshold, pad]),
            child("left_child"), child("right_child"), _columns(value, number % turns, classes),
        ))  # fmt: skip
    return _join(trees, int(about["max_feature_idx"]) + 1)


def _row(trees: TreeEnsemble) -> np.ndarray:
    return np.zeros((1, trees.features), dtype=np.float32)


def _based(trees: TreeEnsemble, logits: Any) -> TreeEnsemble:
    """With the constant that the model starts from, told by its logits of the row of zeros.

    Where that start is no constant, other rows will not agree (`_agrees`).
    """
    told = two_logits(torch.tensor(np.asarray(logits, dtype=np.float64)))
    return replace(trees, base=(told - trees.sums(torch.tensor(_row(trees))))[0])


def _probes(trees: TreeEnsemble) -> Tensor:
    """(PROBES, D) rows of thresholds, which go left, and of the next numbers, which go right."""
    rng = torch.Generator().manual_seed(0)
    rows = torch.zeros(PROBES, trees.features)
    for column in trees.feature[trees.feature >= 0].unique():
        known = trees.threshold[trees.feature == column]
        known = known[known.isfinite()]
        values = torch.cat([known, torch.nextafter(known, torch.tensor(torch.inf)), torch.zeros(1)])
        rows[:, column] = values[torch.randint(len(values), (PROBES,), generator=rng)]
    return rows


def _agrees(model: Any, trees: TreeEnsemble) -> bool:
    import warnings

    rows = _probes(trees)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        told = torch.tensor(np.asarray(model.predict_proba(rows.numpy()), dtype=np.float64))
    own = trees.scores(rows).softmax(1)
    return own.shape == told.shape and bool(((own - told).abs() < 1e-5).all())


@dataclass(frozen=True, eq=False)
class LightGBMFile:
    """A LightGBM booster read from its text file, in the form of a scikit-learn classifier."""

    booster_: Any  # lightgbm has no types

    @property
    def classes_(self) -> np.ndarray:
        """Class indices; the file does not keep what they stood for."""
        return np.arange(max(2, self.booster_.num_model_per_iteration()))

    @property
    def n_features_in_(self) -> int:
        """Columns that the model was fitted on."""
        return int(self.booster_.num_feature())

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """(N, K) probabilities."""
        told = np.asarray(self.booster_.predict(x, num_threads=1))
        return np.stack([1 - told, told], 1) if told.ndim == 1 else told

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(N,) class indices."""
        best: np.ndarray = self.predict_proba(x).argmax(1)
        return best


def load_xgboost(path: Path) -> Any:
    """An XGBoost classifier from a JSON or UBJ file, which holds numbers and runs nothing."""
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtra("xgboost", "trees") from error
    model = xgboost.XGBClassifier()
    try:
        model.load_model(path)
        found = len(model.classes_)
    except Exception as error:  # a damaged or foreign file fails in many ways
        raise InputError(
            f"{path} cannot be read as an XGBoost classifier",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            fix="save it with XGBClassifier.save_model",
        ) from error
    if found < 2:
        raise InputError(
            f"{path} must hold a classifier", got="a regressor", fix="give another model"
        )
    return model


def load_lightgbm(path: Path) -> LightGBMFile:
    """A LightGBM classifier from its text file, which holds numbers and runs nothing."""
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtra("lightgbm", "trees") from error
    try:
        text = path.read_text(encoding="utf-8")
        kind = text.partition("\nobjective=")[2].split(" ")[0]
        if kind not in ("binary", "multiclass"):
            raise ValueError(f"objective {kind!r}")
        return LightGBMFile(lightgbm.Booster(model_str=text))
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a LightGBM classifier",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            fix="save it with Booster.save_model",
        ) from error
