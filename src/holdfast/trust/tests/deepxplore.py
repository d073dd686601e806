"""Differential testing guided by neuron coverage (Pei et al. 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Explored, TestGenerator
from holdfast.core.method import hyper, method
from holdfast.core.space import Box
from holdfast.core.target import Features, Gradients, Scores
from holdfast.ops.balls import TINY, rows


@method(cites="pei2017", where="sec. 4.2, eq. 2 and 3; alg. 1")
@dataclass(frozen=True)
class DeepXplore(TestGenerator[Features]):
    """Differential testing guided by neuron coverage (DeepXplore).

    x_{t+1} = x_t + step * constraint( grad [ mean_k z_k[c] - lambda1 * z[c] + lambda2 * h_n ] )

    where all models answer c on the seed, z are the scores of the tested model and z_k those of the
    others. (The paper sums over k; with the mean, lambda1 does not depend on how many there are.)
    A seed is done when any of the models answers something else. Neurons h are the units of the
    penultimate layer, all that this access shows; one is covered when its value, scaled from
    smallest to largest over the layer for that one input, is above `threshold`. Each seed aims at a
    random neuron n that no seed covers, if possible one that responds to it: a dead unit has no
    gradient. A step has a root mean square of `step`, in units of the space's scale; 'light' moves
    all values of an input by the same amount, towards the mean of the gradient. The first yield is
    the seeds alone.
    """

    lambda1: float = hyper(2.0, "ours: at 1, the released value, alike models cancel", low=0)
    lambda2: float = hyper(1.0, "ours: at 0.1, the released value, coverage stays", low=0)
    step: float = hyper(0.01, "ours: 20 steps change a value by 0.2 on average", low=0)
    steps: int = hyper(20, "released code, main loop", low=1)
    threshold: float = hyper(0.75, "sec. 6, the strictest of its four", low=0, high=1)
    constraint: str = hyper("none", "sec. 5.2 has 'light'", choices=("light", "none"))

    def explore(
        self, target: Features, peers: tuple[Scores, ...], seeds: Tensor, rng: Generator
    ) -> Iterator[Explored]:
        space, others = target.space, [peer for peer in peers if isinstance(peer, Gradients)]
        if len(others) < max(1, len(peers)):
            raise NotApplicable("needs gradients of at least one other model of the same task")
        if not isinstance(space, Box):
            raise NotApplicable("changes real-valued inputs: images and tables")
        if self.constraint == "light" and seeds.ndim != 4:
            raise NotApplicable("light is a property of images; use constraint = none")
        scale = torch.as_tensor(space.scale).to(seeds)  # a table's columns differ in range
        features, labels = target.features(seeds), target.answer(seeds)
        covered = covers(features, self.threshold).any(0)
        neuron = _aims(features, covered, rng)
        x, open_ = seeds, ~_differ(target, others, seeds, labels)
        found, origin = [seeds[:0]], [torch.arange(0, device=seeds.device)]
        yield Explored(found[0], origin[0], float(covered.double().mean()), covered.numel())
        for _ in range(self.steps):
            if not open_.any():
                break
            grad = scale * self._gradient(target, others, x, labels, neuron)
            if self.constraint == "light":
                grad = rows(grad.flatten(1).mean(1), grad).expand_as(grad)
            root = rows(grad.flatten(1).square().mean(1).sqrt(), grad).clamp(min=TINY)
            moved = x + self.step * scale * grad / root
            x = torch.where(rows(open_, x) > 0, space.clamp(moved), x)
            new = (open_ & _differ(target, others, x, labels)).nonzero().flatten()
            open_[new] = False
            if len(new):
                found.append(x[new])
                origin.append(new)
                covered = covered | covers(target.features(x[new]), self.threshold).any(0)
            share = float(covered.double().mean())
            yield Explored(torch.cat(found), torch.cat(origin), share, covered.numel())

    def _gradient(
        self, target: Features, others: list[Gradients], x: Tensor, labels: Tensor, neuron: Tensor
    ) -> Tensor:
        """Gradient of the joint objective."""

        def own(raw: Tensor) -> Tensor:
            return raw.gather(1, labels[:, None]).flatten()

        grad = -self.lambda1 * target.gradient(x, own).wrt_input
        for other in others:
            grad = grad + other.gradient(x, own).wrt_input / len(others)
        fire = target.feature_gradient(x, lambda h: h.gather(1, neuron[:, None]).flatten())
        return grad + self.lambda2 * fire.wrt_input


def covers(features: Tensor, threshold: float) -> Tensor:
    """(N, D) Boolean: units above `threshold` after scaling each row of (N, D) to [0, 1].

    A row whose units are all equal covers none.
    """
    low, high = features.amin(1, keepdim=True), features.amax(1, keepdim=True)
    return (features - low) / (high - low).clamp(min=TINY) > threshold


def _aims(features: Tensor, covered: Tensor, rng: Generator) -> Tensor:
    """(N,) a random uncovered unit per row, one that responds to it where there is one."""
    weight = 1e-12 + 1e-6 * (~covered) + (~covered & (features != 0))
    return torch.multinomial(weight, 1, generator=rng).flatten()


def _differ(target: Features, others: list[Gradients], x: Tensor, labels: Tensor) -> Tensor:
    """(N,) Boolean: one of the models does not answer `labels`."""
    return torch.stack([model.answer(x) != labels for model in (target, *others)]).any(0)
