"""Scikit-learn models as targets: their own numbers, in the order of the data's classes."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, TargetError
from holdfast.core.recipe import Recipe
from holdfast.core.space import Box
from holdfast.core.target import Answers, Gradients, Scores
from holdfast.targets.sklearn import SklearnClassifier, SklearnLabels, SklearnRecipe, wrap


class Only:
    """A fitted classifier with nothing but the parts it is given."""

    def __init__(self, model: object, *parts: str) -> None:
        for part in ("classes_", *parts):
            setattr(self, part, getattr(model, part))


def _rows(classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x, y = make_classification(
        150, 8, n_informative=6, n_classes=classes, class_sep=0.7, random_state=0
    )
    return x.astype("float32"), y


def _data(classes: int = 3) -> Dataset:
    x, y = _rows(classes)
    return Dataset("rows", torch.tensor(x), torch.tensor(y), tuple("abc"[:classes]), Box(-9.0, 9.0))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        RandomForestClassifier(10, random_state=0),
        KNeighborsClassifier(3),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
)
def test_the_softmax_of_the_scores_is_predict_proba(model, classes: int) -> None:
    x, y = _rows(classes)
    target = SklearnClassifier(model.fit(x, y))
    wanted = np.log(np.clip(model.predict_proba(x), 1e-12, None)).astype("float32")
    scores = target.scores(torch.tensor(x))
    torch.testing.assert_close(scores, torch.tensor(wanted), rtol=1e-6, atol=1e-6)
    told = scores.double().softmax(1)
    assert (told - torch.tensor(model.predict_proba(x))).abs().max() < 1e-6
    assert target.answer(torch.tensor(x)).tolist() == model.predict(x).tolist()


def test_certain_trees_give_the_floor_and_no_infinity() -> None:
    x, y = _rows()
    model = KNeighborsClassifier(1).fit(x, y)
    scores = SklearnClassifier(model).scores(torch.tensor(x))
    assert scores.isfinite().all()
    assert scores.min() == pytest.approx(np.log(1e-12))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("model", [LinearSVC(random_state=0), RidgeClassifier(), SVC()])
def test_a_decision_function_gives_the_scores_as_they_are(model, classes: int) -> None:
    x, y = _rows(classes)
    target = wrap(model.fit(x, y), Box())
    raw = torch.tensor(model.decision_function(x), dtype=torch.float32)
    wanted = raw if classes > 2 else torch.stack([-raw / 2, raw / 2], 1)
    assert torch.equal(target.scores(torch.tensor(x)), wanted)
    assert isinstance(target, Scores)
    if not isinstance(model, SVC):  # whose votes may differ from its scores
        assert target.answer(torch.tensor(x)).tolist() == model.predict(x).tolist()


def test_a_model_that_only_predicts_offers_answers_only() -> None:
    x, y = _rows()
    names = np.array(["cat", "dog", "eel"])[y]
    model = LogisticRegression().fit(x, names)
    target = wrap(Only(model, "predict"), Box())
    assert isinstance(target, SklearnLabels)
    assert isinstance(target, Answers)
    assert not isinstance(target, Scores)
    wanted = [["cat", "dog", "eel"].index(name) for name in model.predict(x)]
    assert target.answer(torch.tensor(x)).tolist() == wanted
    with pytest.raises(InputError, match="predict_proba or decision_function"):
        SklearnClassifier(Only(model, "predict"))


def test_columns_follow_the_order_of_the_data_not_of_the_model() -> None:
    x, y = _rows()
    names = np.array(["cat", "dog", "eel"])[y]
    model = LogisticRegression().fit(x, names)
    target = SklearnClassifier(model, Box(), ("eel", "cat", "dog"))
    swapped = model.predict_proba(x)[:, [2, 0, 1]]
    got = target.scores(torch.tensor(x)).exp().numpy()
    np.testing.assert_allclose(got, swapped, rtol=1e-5)
    answers = SklearnLabels(Only(model, "predict"), Box(), ("eel", "cat", "dog"))
    assert torch.equal(answers.answer(torch.tensor(x)), target.answer(torch.tensor(x)))


@pytest.mark.parametrize("model", [LogisticRegression(), LinearSVC(random_state=0)])
def test_a_class_the_model_never_saw_is_never_answered(model) -> None:
    data = _data()
    seen = data.take((data.y != 1).nonzero().flatten())
    target = SklearnRecipe(model).train(seen, seed=0)
    scores = target.scores(data.tensor)
    assert scores.shape == (150, 3)
    assert (scores[:, 1] < scores[:, [0, 2]].amax(1) - 20).all()
    told = target.answer(seen.tensor)
    assert set(told.tolist()) == {0, 2}
    assert told.tolist() == target.model.predict(seen.tensor.numpy()).tolist()


def test_images_are_flattened_row_by_row(digits) -> None:
    train, test = digits
    model = LogisticRegression(max_iter=300).fit(train.tensor.flatten(1).numpy(), train.y.numpy())
    target = SklearnClassifier(model)
    wanted = model.predict(test.tensor.numpy().reshape(len(test), 64))
    assert target.answer(test.tensor).tolist() == wanted.tolist()
    assert (target.answer(test.tensor) == test.y).float().mean() > 0.95


def test_no_rows_give_no_scores() -> None:
    x, y = _rows()
    model = LogisticRegression().fit(x, y)
    assert SklearnClassifier(model).scores(torch.zeros(0, 8)).shape == (0, 3)
    assert SklearnClassifier(model).answer(torch.zeros(0, 8)).shape == (0,)
    assert SklearnLabels(model).answer(torch.zeros(0, 8)).shape == (0,)


def test_rows_of_another_width_are_the_targets_error() -> None:
    x, y = _rows()
    target = SklearnClassifier(LogisticRegression().fit(x, y))
    with pytest.raises(TargetError, match="7 features, but LogisticRegression is expecting 8"):
        target.scores(torch.zeros(2, 7))


def test_pairwise_decisions_are_refused() -> None:
    x, y = make_classification(200, 8, n_informative=6, n_classes=4, random_state=0)
    model = SVC(decision_function_shape="ovo").fit(x, y)
    with pytest.raises(TargetError, match=r"one score for each of its 4 classes.*\(2, 6\)"):
        SklearnClassifier(model).scores(torch.tensor(x[:2], dtype=torch.float32))


def test_a_label_that_is_none_of_the_datas_is_the_targets_error() -> None:
    x, y = _rows()
    target = SklearnLabels(LogisticRegression().fit(x, y), Box(), ("0", "1"))
    with pytest.raises(TargetError, match="none of the data's: got '2'"):
        target.answer(torch.tensor(x))


def test_a_model_fitted_on_a_data_frame_is_asked_without_a_warning() -> None:
    x, y = _rows()
    model = LogisticRegression().fit(pd.DataFrame(x, columns=list("abcdefgh")), y)
    assert SklearnClassifier(model).scores(torch.tensor(x)).shape == (150, 3)


def test_a_recipe_trains_clones_that_depend_on_the_seed_alone() -> None:
    model = RandomForestClassifier(5, max_depth=3)
    recipe, data = SklearnRecipe(model), _data()
    assert isinstance(recipe, Recipe)
    first, again, other = (recipe.train(data, seed=s).scores(data.tensor) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not hasattr(model, "classes_")  # the given model stays unfitted
    direct = RandomForestClassifier(5, max_depth=3, random_state=1)
    direct.fit(data.tensor.numpy(), data.y.numpy())
    wanted = torch.tensor(direct.predict_proba(data.tensor.numpy())).clamp(min=1e-12).log().float()
    assert torch.equal(first, wanted)
    assert recipe.train(data, seed=0).space is data.space


def test_the_seed_reaches_the_steps_of_a_pipeline() -> None:
    recipe = SklearnRecipe(make_pipeline(StandardScaler(), RandomForestClassifier(3)))
    trained = recipe.train(_data(), seed=7).model
    assert trained[-1].random_state == 7


def test_a_recipes_digest_is_its_settings() -> None:
    digests = [
        SklearnRecipe(m).digest
        for m in (
            LogisticRegression(), LogisticRegression(C=2), RidgeClassifier(),
            make_pipeline(LogisticRegression(C=2)), make_pipeline(LogisticRegression(C=3)),
        )
    ]  # fmt: skip
    assert len(set(digests)) == 5
    fitted = LogisticRegression().fit(*_rows())
    assert SklearnRecipe(fitted).digest == digests[0]


def test_training_rows_of_one_class_are_refused() -> None:
    data = _data()
    with pytest.raises(InputError, match="two classes at least: got 1 in"):
        SklearnRecipe(LogisticRegression()).train(data.take((data.y == 0).nonzero().flatten()), 0)


def test_a_scikit_learn_model_offers_no_gradients() -> None:
    assert not isinstance(SklearnClassifier(LogisticRegression().fit(*_rows())), Gradients)
