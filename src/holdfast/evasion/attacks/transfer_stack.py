"""What raises transfer to unknown models, in one attack, each part of it optional."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Generator, Tensor

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.goal import Goal
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Box, Budget
from holdfast.core.target import Gradients
from holdfast.ops import balls, transfer
from holdfast.ops.rows import take
from holdfast.ops.surrogates import pulled

Slope = Callable[[Tensor], Tensor]


@method(cites="lin2020", where="alg. 1 (NI, SI)")
@dataclass(frozen=True)
class TransferStack(EvasionAttack[Gradients]):
    r"""Transfer stack (NI, DI, TI, SI, VMI over MI-FGSM).

    NI   look = x_t + alpha * decay * g_t / mean |g_t|; else look = x_t
    SI   G(x) = mean_i grad_x L(f(D(x / 2^i))),   i = 0 ... scales - 1
    DI   D shrinks to a random size and place, with probability `diversity`; else D(x) = x
    VMI  v_{t+1} = mean_j G(x_t + r_j) - G(look),   r_j uniform within spread * eps;   v_0 = 0
    TI   W: convolution with a normal kernel
    g_{t+1} = decay * g_t + W (G(look) + v_t) / |W (G(look) + v_t)|_1
    x_{t+1} = Pi_{B(x, eps)} ( x_t + alpha * steepest( g_{t+1} ) ),   alpha = eps / steps

    DI: Xie et al. 2019; TI: Dong et al. 2019; VMI: Wang & He 2021. The gradients are a surrogate's;
    of the target nothing but two answers is used, to the clean input and to the last iterate. With
    all parts off this is MI-FGSM. DI and TI are about images.
    """

    transfers: ClassVar[bool] = True

    steps: int = hyper(10, "sec. 4.1", low=1)
    decay: float = hyper(1.0, "sec. 4.1", low=0)
    nesterov: bool = hyper(True, "NI, sec. 3.2")
    scales: int = hyper(5, "SI, sec. 4.1; 1 is off", low=1, high=16)
    diversity: float = hyper(
        0.0, "DI; 0.5 in Xie et al.; ours: off, as for images only", low=0, high=1
    )
    shrink: float = hyper(0.9, "DI: 299 of 330 pixels in Xie et al., sec. 4.1", low=0.1, high=1)
    kernel: int = hyper(1, "TI, odd; 15 of 299 pixels in Dong et al.; ours: 1, off", low=1)
    neighbours: int = hyper(0, "VMI; 20 in Wang & He; ours: off, as 20 times the passes", low=0)
    spread: float = hyper(1.5, "VMI: beta in Wang & He, sec. 4.1", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        if x.ndim != 4 and (self.diversity or self.kernel > 1):
            raise NotApplicable("shrinks images (DI) or smooths over them (TI): these are none")
        if self.kernel % 2 == 0:
            raise InputError("TI kernel must be odd", got=self.kernel, fix="give an odd size")
        space = cast(Box, target.space)
        keep = yield Candidate(x, goal.degree(target.answer(x)))
        x, goal, budget = take(keep, x, goal, budget)
        unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
        adv, momentum, variance = x, torch.zeros_like(x), torch.zeros_like(x)
        alpha = budget.rows(x) / self.steps

        def slope(at: Tensor) -> Tensor:
            return self._slope(target, goal, at, rng)

        for _ in range(self.steps):
            ahead = alpha * self.decay * unit * _typical(unit * momentum, budget)
            found = slope(adv + ahead if self.nesterov else adv)
            grad = found + variance
            if self.neighbours:
                variance = self._around(space, slope, adv, budget, rng) - found
            if self.kernel > 1:
                grad = transfer.smooth(grad, transfer.gaussian(self.kernel))
            momentum = transfer.accumulated(momentum, grad, self.decay, unit)
            adv = space.project(adv + alpha * space.steepest(momentum, adv, budget), x, budget)
        yield Candidate(adv, goal.degree(target.answer(adv)))

    def _slope(self, target: Gradients, goal: Goal, x: Tensor, rng: Generator) -> Tensor:
        """G(x): the mean over scale copies, each seen in a random view."""
        total = torch.zeros_like(x)
        for i in range(self.scales):
            copy, changed = x / 2**i, False
            if self.diversity:
                draw = torch.rand(1, generator=rng, device=rng.device)
                changed = bool(draw < self.diversity)
            if changed:
                view = partial(_view, transfer.place(x, self.shrink, rng))
                grad = target.gradient(view(copy), goal.loss).wrt_input
                grad = pulled(view, copy, grad)
            else:
                grad = target.gradient(copy, goal.loss).wrt_input
            total = total + grad / 2**i  # the chain rule of the scaling
        return total / self.scales

    def _around(
        self, space: Box, slope: Slope, x: Tensor, budget: Budget, rng: Generator
    ) -> Tensor:
        """Mean of G over random neighbours."""
        unit = torch.as_tensor(space.scale, dtype=x.dtype, device=x.device)
        total = torch.zeros_like(x)
        for _ in range(self.neighbours):
            noise = unit * balls.sample(x, budget.norm, self.spread * budget.eps, rng)
            if space.editable is not None:
                noise = noise * space.editable.to(x.device)
            total = total + slope(x + noise)
        return total / self.neighbours


def _typical(momentum: Tensor, budget: Budget) -> Tensor:
    """As long as one step: g / mean |g| for Linf (authors' code), g / its size for L2."""
    if budget.measure == "l2":
        return balls.steepest(momentum, "l2")
    mean = momentum.abs().flatten(1).mean(1).clamp(min=balls.TINY)
    return momentum / balls.rows(mean, momentum)


def _view(place: tuple[int, int, int], x: Tensor) -> Tensor:
    return transfer.shrunk(x, *place)
