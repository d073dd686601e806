"""Feature collision, "Poison Frogs" (Shafahi et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.kinds import Aim, Poisoned, PoisoningAttack
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Features
from holdfast.ops.balls import rows as per_row


@method(cites="shafahi2018", where="alg. 1, eq. 1")
@dataclass(frozen=True)
class FeatureCollision(PoisoningAttack[Features]):
    r"""Poison Frogs feature collision.

    A row b of class `aim.wanted` moves towards a victim t in feature space and stays near itself
    in input space, by forward-backward splitting, label unchanged:

        forward   p^_i = x_{i-1} - lambda grad ||f(x_{i-1}) - f(t)||^2
        backward  x_i  = (p^_i + lambda beta b) / (1 + lambda beta)

    with beta = `beta` (d_feature / d_input)^2. The fixed point minimises eq. 1 with beta / 2 in the
    place of beta. Clamping into the box is exact, as the backward step is separable. A step that
    raises the objective is undone and lambda halved. round(rate * N) rows are poisoned, victims in
    turn.
    """

    aims = "victims"

    steps: int = hyper(300, "ours: 1000 at a fixed step in the paper", low=1)
    beta: float = hyper(0.25, "the paper's beta_0", low=0)
    step_size: float = hyper(1.0, "ours: first lambda, adapted per row", low=0)

    def poison(self, surrogate: Features, data: Dataset, aim: Aim, rng: Generator) -> Poisoned:
        if aim.wanted is None or aim.victims is None or not len(aim.victims):
            raise InputError(
                "feature collision needs victims and the class they are to get",
                got=f"class {aim.wanted}", fix="set aim.wanted and aim.victims",
            )  # fmt: skip
        bases, count = (data.y == aim.wanted).nonzero().flatten(), round(aim.rate * len(data))
        if not 0 < count <= len(bases):
            raise InputError(
                f"poisoning {count} rows of class {aim.wanted}", got=f"{len(bases)} of them",
                fix="choose another rate",
            )  # fmt: skip
        order = torch.randperm(len(bases), generator=rng, device=rng.device).to(bases.device)
        chosen = bases[order[:count]]
        victim = torch.arange(count, device=chosen.device) % len(aim.victims)
        goal = surrogate.features(aim.victims)[victim]
        x = data.tensor.clone()
        x[chosen] = self._collide(surrogate, x[chosen], goal)
        return Poisoned(data.with_rows(x, data.y), chosen)

    def _collide(self, surrogate: Features, base: Tensor, goal: Tensor) -> Tensor:
        """Rows near `base` whose features are near `goal`; all rows at once."""
        beta = self.beta * (goal.shape[1] / base[0].numel()) ** 2

        def distance(features: Tensor) -> Tensor:
            return (features - goal).square().sum(1)

        def objective(x: Tensor, features: Tensor) -> Tensor:
            return distance(features) + beta / 2 * (x - base).flatten(1).square().sum(1)

        x, got = base, surrogate.feature_gradient(base, distance)
        value, grad = objective(x, got.raw), got.wrt_input
        rate = torch.full_like(value, self.step_size)
        for _ in range(self.steps):
            step = per_row(rate, x)
            forward = x - step * grad
            trial = (forward + step * beta * base) / (1 + step * beta)
            trial = surrogate.space.project(trial, base, Budget("linf", torch.inf))
            got = surrogate.feature_gradient(trial, distance)
            now = objective(trial, got.raw)
            better = now <= value
            pick = better.view(-1, *[1] * (x.ndim - 1))
            x, grad = torch.where(pick, trial, x), torch.where(pick, got.wrt_input, grad)
            value, rate = torch.where(better, now, value), torch.where(better, 1.2 * rate, rate / 2)
        return x
