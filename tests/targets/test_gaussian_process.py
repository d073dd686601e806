"""The Gaussian process as a target: scikit-learn's own numbers, and finite differences."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

from holdfast.core.errors import InputError
from holdfast.core.space import Box
from holdfast.core.target import Gradients, Uncertain
from holdfast.targets.gaussian_process import GaussianProcess
from holdfast.targets.sklearn import SklearnClassifier, wrap


def moons(kernel, labels=(0, 1)) -> tuple[GaussianProcessClassifier, torch.Tensor]:
    """A process fitted on two half-moons in the unit square, and points of the square."""
    from sklearn.datasets import make_moons

    x, y = make_moons(60, noise=0.1, random_state=0)
    x = (x - x.min(0)) / (x.max(0) - x.min(0))
    model = GaussianProcessClassifier(kernel, optimizer=None).fit(x, np.array(labels)[y])
    return model, torch.rand(20, 2, generator=torch.Generator().manual_seed(0)).double()


KERNELS = [RBF(0.3), ConstantKernel(9.0) * RBF(0.2), RBF([0.2, 0.5]) * ConstantKernel(4.0)]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_probabilities_are_those_of_scikit_learn(kernel) -> None:
    model, x = moons(kernel)
    target = wrap(model, Box())
    assert isinstance(target, GaussianProcess)
    assert isinstance(target, Gradients)
    told = target.scores(x).softmax(1).numpy()
    assert np.allclose(told, model.predict_proba(x.numpy()), atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_variance_is_that_of_the_latent_function(kernel) -> None:
    """Against (K + W^-1)^-1 written out, which the target never forms."""
    model, x = moons(kernel)
    base, target = model.base_estimator_, wrap(model, Box())
    covariance = base.kernel_(base.X_train_) + np.diag(1 / base.W_sr_**2)
    cross = base.kernel_(x.numpy(), base.X_train_)
    expected = base.kernel_.diag(x.numpy()) - np.einsum(
        "nm,nm->n", cross, np.linalg.solve(covariance, cross.T).T
    )
    assert np.allclose(target.uncertainty(x).numpy(), expected, atol=1e-8)


def test_both_gradients_are_those_of_finite_differences() -> None:
    model, x = moons(KERNELS[1])
    target = wrap(model, Box())
    assert isinstance(target, Uncertain)
    doubt = target.uncertainty_gradient(x)
    slope = target.gradient(x, lambda raw: raw[:, 1] - raw[:, 0])
    assert torch.equal(doubt.raw, target.uncertainty(x))
    for i in range(2):
        step = torch.zeros(2).double()
        step[i] = 1e-6
        up, down = target.scores(x + step), target.scores(x - step)
        wide = (up[:, 1] - up[:, 0] - down[:, 1] + down[:, 0]) / 2e-6
        assert torch.allclose(slope.wrt_input[:, i], wide, atol=1e-5)
        wide = (target.uncertainty(x + step) - target.uncertainty(x - step)) / 2e-6
        assert torch.allclose(doubt.wrt_input[:, i], wide, atol=1e-5)


def test_columns_follow_the_classes_of_the_data() -> None:
    model, x = moons(KERNELS[0], labels=(3, 7))
    plain, turned = wrap(model, Box()), wrap(model, Box(), ("7", "3"))
    assert torch.allclose(plain.scores(x), turned.scores(x).flip(1))
    told = torch.tensor(model.predict(x.numpy()) == 3).long()
    assert torch.equal(turned.answer(x), told)


def test_what_it_cannot_differentiate_is_a_plain_classifier() -> None:
    model, _x = moons(Matern(0.3))
    assert isinstance(wrap(model, Box()), SklearnClassifier)
    with pytest.raises(InputError, match="RBF kernel"):
        GaussianProcess(model)
    third = np.arange(60) % 3
    three = GaussianProcessClassifier(RBF(0.3), optimizer=None).fit(
        np.random.default_rng(0).random((60, 2)), third
    )
    assert isinstance(wrap(three, Box()), SklearnClassifier)
