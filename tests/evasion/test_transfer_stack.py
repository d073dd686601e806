"""Every part of the stack by hand on small models, and nothing but MI-FGSM without them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.space import Box, Budget
from holdfast.evasion.attacks.mi_fgsm import MIFGSM
from holdfast.evasion.attacks.transfer_stack import TransferStack
from holdfast.ops import balls, transfer
from holdfast.targets.torch import TorchClassifier
from tests.oracles import check_fixed, check_masked, check_targeted, problem, two_class
from tests.toys import LinearTarget

SMALL = 0.001
"""A budget so small that a step in L2 shows the gradient's direction."""


@dataclass(frozen=True)
class Bent:
    """A smooth net of images (N, 1, 6, 6) in double precision."""

    target: TorchClassifier = field(init=False)

    def __post_init__(self) -> None:
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)
        ).double()  # fmt: skip
        rng = torch.Generator().manual_seed(0)
        for p in net.parameters():
            p.data = torch.randn(p.shape, generator=rng, dtype=torch.float64)
        object.__setattr__(self, "target", TorchClassifier(net.requires_grad_(False)))

    def rows(self, n: int = 4) -> Tensor:
        rng = torch.Generator().manual_seed(1)
        return 0.1 + 0.8 * torch.rand(n, 1, 6, 6, generator=rng, dtype=torch.float64)

    def slope(self, x: Tensor, goal: AwayFrom, seen: Callable[[Tensor], Tensor]) -> Tensor:
        """d loss(f(seen(x))) / dx, all of it by one differentiation."""
        x = x.clone().requires_grad_()
        return torch.autograd.grad(goal.loss(self.target.module(seen(x))).sum(), x)[0]


def last(method, target, x, goal, norm="l2", eps=SMALL, seed=0) -> Tensor:
    """Where the attack ends when no row leaves."""
    rng = torch.Generator().manual_seed(seed)
    return [c.x for c in method.run(target, x, goal, Budget(norm, eps), rng)][-1]


def direction(method, target, x, goal, seed=0) -> Tensor:
    """The direction of one step."""
    return (last(method, target, x, goal, seed=seed) - x) / SMALL


def unit(g: Tensor) -> Tensor:
    return g / balls.rows(balls.size(g, "l2"), g)


OFF = TransferStack(nesterov=False, scales=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_all_parts_off_it_is_mi_fgsm_to_the_last_bit(norm: str) -> None:
    target, x = problem(classes=4)
    goal = AwayFrom(target.answer(x))
    plain = last(MIFGSM(), target, x, goal, norm, 0.02)
    assert torch.equal(last(OFF, target, x, goal, norm, 0.02), plain)
    assert not torch.equal(last(TransferStack(), target, x, goal, norm, 0.02), plain)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_reaches_a_linear_boundary_where_all_copies_agree(norm: str) -> None:
    for method in (TransferStack(), TransferStack(neighbours=3)):
        check_fixed(method, norm, *two_class(), slack=0.02)
        check_targeted(method, norm, slack=0.02)
        check_masked(method, norm, slack=0.02)


def test_scale_copies_average_the_loss_of_inputs_divided_by_powers_of_two() -> None:
    net = Bent()
    x = net.rows()
    goal = AwayFrom(net.target.answer(x))
    mean = sum(net.slope(x, goal, lambda v, i=i: v / 2**i) for i in range(3)) / 3
    got = direction(TransferStack(steps=1, nesterov=False, scales=3), net.target, x, goal)
    assert torch.allclose(got, unit(mean), atol=1e-6)


def test_smoothing_is_a_convolution_of_the_gradient() -> None:
    net = Bent()
    x = net.rows()
    goal = AwayFrom(net.target.answer(x))
    grad = net.slope(x, goal, lambda v: v)
    line = np.exp(-(np.linspace(-3, 3, 5) ** 2) / 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    smooth = [ndimage.convolve(g[0].numpy(), kernel, mode="constant") for g in grad]
    got = direction(TransferStack(steps=1, nesterov=False, scales=1, kernel=5), net.target, x, goal)
    want = torch.tensor(np.stack(smooth)).unsqueeze(1)
    assert torch.allclose(got, unit(want), atol=1e-5)


def test_diversity_differentiates_through_the_random_view() -> None:
    net = Bent()
    x = net.rows()
    goal = AwayFrom(net.target.answer(x))
    rng = torch.Generator().manual_seed(3)
    torch.rand(1, generator=rng)  # whether the view is changed
    place = transfer.place(x, 0.5, rng)
    want = net.slope(x, goal, lambda v: transfer.shrunk(v, *place))
    method = TransferStack(steps=1, nesterov=False, scales=1, diversity=1.0, shrink=0.5)
    got = direction(method, net.target, x, goal, seed=3)
    assert place[0] < 6
    assert torch.allclose(got, unit(want), atol=1e-4)
    assert not torch.allclose(got, unit(net.slope(x, goal, lambda v: v)), atol=1e-2)


def test_a_view_is_a_smaller_image_in_a_black_frame() -> None:
    x = torch.arange(64, dtype=torch.float64).view(1, 1, 8, 8)
    assert torch.equal(transfer.shrunk(x, 8, 0, 0), x)
    half = transfer.shrunk(x, 4, 3, 1)
    assert torch.equal(half[0, 0, 3:7, 1:5], torch.nn.functional.avg_pool2d(x, 2)[0, 0])
    assert half.sum() == half[0, 0, 3:7, 1:5].sum()
    rng = torch.Generator().manual_seed(0)
    places = [transfer.place(x, 0.5, rng) for _ in range(200)]
    assert {size for size, _, _ in places} == {4, 5, 6, 7, 8}
    for corner in (1, 2):
        assert {each[corner] for each in places if each[0] == 6} == {0, 1, 2}


def test_the_look_ahead_is_one_step_along_the_momentum() -> None:
    net = Bent()
    x, eps = net.rows(), 0.1
    goal = AwayFrom(net.target.answer(x))
    first = net.slope(x, goal, lambda v: v)
    for norm in ("linf", "l2"):
        step = first.sign() if norm == "linf" else unit(first)
        one = x + eps / 2 * step
        long = first / balls.rows(first.abs().flatten(1).mean(1), x) if norm == "linf" else step
        ahead = net.slope((one + eps / 2 * 0.7 * long), goal, lambda v: v)
        parts = [g / balls.rows(balls.size(g, "l1"), g) for g in (first, ahead)]
        momentum = 0.7 * parts[0] + parts[1]
        two = one + eps / 2 * (momentum.sign() if norm == "linf" else unit(momentum))
        wide = TorchClassifier(net.target.module, Box(-9.0, 9.0))
        got = last(TransferStack(steps=2, decay=0.7, scales=1), wide, x, goal, norm, eps)
        want = two if norm == "linf" else x + eps * unit(two - x) * (
            balls.rows(balls.size(two - x, "l2") / eps, x).clamp(max=1)
        )  # fmt: skip
        assert torch.allclose(got, want, atol=1e-9)


def test_variance_is_what_the_neighbours_had_more_than_the_last_gradient() -> None:
    net = Bent()
    wide = TorchClassifier(net.target.module, Box(-9.0, 9.0))
    x, eps = net.rows(), 0.1
    goal, rng = AwayFrom(net.target.answer(x)), torch.Generator().manual_seed(0)
    first = net.slope(x, goal, lambda v: v)
    noise = [balls.sample(x, "linf", 1.5 * eps, rng) for _ in range(2)]
    extra = sum(net.slope(x + r, goal, lambda v: v) for r in noise) / 2 - first
    one = x + eps / 2 * first.sign()
    second = net.slope(one, goal, lambda v: v) + extra
    parts = [g / balls.rows(balls.size(g, "l1"), g) for g in (first, second)]
    two = one + eps / 2 * (parts[0] + parts[1]).sign()
    method = TransferStack(steps=2, nesterov=False, scales=1, neighbours=2)
    assert torch.allclose(last(method, wide, x, goal, "linf", eps), two, atol=1e-9)


def test_views_and_smoothing_want_images_and_kernels_a_centre() -> None:
    target, x = two_class()
    goal = AwayFrom(target.answer(x))
    for method in (TransferStack(diversity=0.5), TransferStack(kernel=3)):
        with pytest.raises(NotApplicable, match="images"):
            last(method, target, x, goal)
    with pytest.raises(InputError, match="odd"):
        last(TransferStack(kernel=4), Bent().target, Bent().rows(), goal)


def test_columns_of_any_range_are_the_same_problem_in_their_own_units() -> None:
    target, x = problem(classes=4)
    scale = torch.logspace(-2, 3, 24)
    space = Box(torch.zeros(24), scale, scale)
    wide = LinearTarget(target.weight / scale.unsqueeze(1), target.bias, space)
    goal, method = AwayFrom(target.answer(x)), TransferStack(neighbours=2, steps=4)
    for norm in ("linf", "l2"):
        plain = last(method, target, x, goal, norm, 0.1)
        assert torch.allclose(
            last(method, wide, x * scale, goal, norm, 0.1) / scale, plain, atol=1e-4
        )
