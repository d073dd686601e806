"""Trees as tensors: what they say is what scikit-learn, XGBoost and LightGBM say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.space import Box
from holdfast.core.target import Gradients, Scores, Trees
from holdfast.targets.opening import open_model
from holdfast.targets.sklearn import SklearnClassifier, wrap
from holdfast.targets.trees import TreeClassifier

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")


def _light(**more):
    return lightgbm.LGBMClassifier(
        n_estimators=12, num_leaves=8, n_jobs=1, verbose=-1, random_state=0, **more
    )


def _extreme(**more):
    return xgboost.XGBClassifier(n_estimators=12, max_depth=4, n_jobs=1, random_state=0, **more)


MODELS = {
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "forest": lambda: RandomForestClassifier(12, random_state=0),
    "extra": lambda: ExtraTreesClassifier(12, max_depth=6, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=12, random_state=0),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=12, random_state=0),
    "xgboost": _extreme,
    "xgboost forest": lambda: _extreme(num_parallel_tree=2, subsample=0.7),
    "lightgbm": _light,
    "lightgbm forest": lambda: _light(
        boosting_type="rf", bagging_freq=1, bagging_fraction=0.6, feature_fraction=0.8
    ),
    "lightgbm slope": lambda: _light(sigmoid=2.0),
}


def rows(classes: int = 3, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    x, y = make_classification(
        n, 8, n_informative=6, n_classes=classes, class_sep=0.7, random_state=0
    )
    x[:, 0] = x[:, 0].round()  # ties of values and thresholds
    x[:, 1] = np.maximum(x[:, 1], 0)  # many zeros
    return x.astype("float32"), y


def thresholds(trees, n: int) -> torch.Tensor:
    """Rows that lie on thresholds and right beside them."""
    rng = torch.Generator().manual_seed(1)
    x = 4 * torch.randn(n, trees.features, generator=rng)
    for column in range(trees.features):
        known = trees.threshold[trees.feature == column]
        near = torch.cat([known, torch.nextafter(known, torch.tensor(torch.inf))])
        pick = near[torch.randint(len(near), (n // 2,), generator=rng)]
        x[: n // 2, column] = pick
    return x


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_sums_over_the_trees_are_the_librarys_own_predictions(name: str, classes: int) -> None:
    x, y = rows(classes)
    target = wrap(MODELS[name]().fit(x, y), Box(-9.0, 9.0))
    assert isinstance(target, TreeClassifier)
    assert isinstance(target, Trees)
    trees = target.ensemble
    probe = torch.cat([torch.tensor(x), thresholds(trees, 3000)])
    own = trees.scores(probe).softmax(1)
    told = torch.tensor(target.model.predict_proba(probe.numpy()), dtype=torch.float64)
    assert (own - told).abs().max() < 2e-6
    clear = trees.sums(probe).topk(2, 1).values.diff().abs().flatten() > 1e-5
    assert clear.float().mean() > 0.8
    answers = target.answer(probe)
    assert torch.equal(trees.sums(probe).argmax(1)[clear], answers[clear])


@pytest.mark.parametrize("name", ["tree", "forest", "histogram", "xgboost", "lightgbm"])
def test_every_leaf_is_reached_from_the_corners_of_its_box_and_no_further(name: str) -> None:
    x, y = rows()
    trees = wrap(MODELS[name]().fit(x, y), Box(-9.0, 9.0)).ensemble
    some = torch.randperm(len(trees.leaf), generator=torch.Generator().manual_seed(0))[:60]
    for i in some.tolist():
        low, high = trees.low[i], trees.high[i]
        ends = [e.clamp(-1e30, 1e30).unsqueeze(0) for e in (low, high)]
        for end in ends:
            assert trees.leaves(end)[0, trees.tree[i]] == trees.leaf[i]
        for bound, way in ((low, -torch.inf), (high, torch.inf)):
            for column in bound.isfinite().nonzero().flatten().tolist():
                beyond = ends[0].clone()
                beyond[0, column] = torch.nextafter(bound[column], torch.tensor(way))
                assert trees.leaves(beyond)[0, trees.tree[i]] != trees.leaf[i]


def test_a_class_that_the_model_never_saw_gets_no_share() -> None:
    x, y = rows(3)
    seen = y != 1
    for make in (MODELS["forest"], MODELS["histogram"]):
        model = make().fit(x[seen], y[seen])
        target = wrap(model, Box(-9.0, 9.0), (0, 1, 2))
        told = target.ensemble.scores(torch.tensor(x)).softmax(1)
        assert float(told[:, 1].max()) < 1e-6
        sums = target.ensemble.sums(torch.tensor(x))
        tied = sums.topk(2, 1).values.diff().abs().flatten() < 1e-5
        assert torch.equal(sums.argmax(1)[~tied], target.answer(torch.tensor(x))[~tied])


def test_what_cannot_be_read_as_trees_still_opens_with_its_scores() -> None:
    x, y = rows(2)
    odd = [
        _extreme(booster="dart", rate_drop=0.5),
        GradientBoostingClassifier(n_estimators=3, init=LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]),
        LogisticRegression(),
    ]
    x[:, 0] -= x[:, 0].min()
    for model in odd:
        target = wrap(model.fit(x, y), Box(-9.0, 9.0))
        assert type(target) is SklearnClassifier
        assert isinstance(target, Scores)
        assert not isinstance(target, Trees)


def test_predictions_that_stop_early_use_the_trees_before_the_stop() -> None:
    x, y = rows(2)
    noise = torch.Generator().manual_seed(0)
    wrong = torch.randint(2, (200,), generator=noise).numpy()
    model = _extreme(early_stopping_rounds=2)
    model.set_params(n_estimators=60)
    model.fit(x[:200], y[:200], eval_set=[(x[200:], wrong)], verbose=False)
    target = wrap(model, Box(-9.0, 9.0))
    assert model.best_iteration + 1 < 60
    assert len(target.ensemble.roots) == model.best_iteration + 1


@pytest.mark.parametrize(
    ("name", "suffix"), [("xgboost", ".json"), ("xgboost", ".ubj"), ("lightgbm", ".txt")]
)
@pytest.mark.parametrize("classes", [2, 3])
def test_native_files_open_as_trees(name: str, suffix: str, classes: int, tmp_path: Path) -> None:
    x, y = rows(classes)
    model, path = MODELS[name]().fit(x, y), tmp_path / f"model{suffix}"
    model.save_model(path) if name == "xgboost" else model.booster_.save_model(path)
    data = Dataset("rows", torch.tensor(x), torch.tensor(y), tuple("abc"[:classes]), Box(-9.0, 9.0))
    opened = open_model(str(path), data=data)
    assert isinstance(opened.target, Trees)
    assert not isinstance(opened.target, Gradients)
    told = opened.target.scores(data.x).double().softmax(1)
    assert (told - torch.tensor(model.predict_proba(x))).abs().max() < 1e-6
    assert opened.format.lower() == name


@pytest.mark.parametrize("suffix", [".json", ".ubj", ".txt"])
def test_a_file_that_holds_no_classifier_is_refused_in_words(suffix: str, tmp_path: Path) -> None:
    x, y = rows(2)
    data = Dataset("rows", torch.tensor(x), torch.tensor(y), ("a", "b"), Box(-9.0, 9.0))
    path = tmp_path / f"model{suffix}"
    path.write_text('{"a": 1}')
    with pytest.raises(InputError, match="cannot be read"):
        open_model(str(path), data=data)
