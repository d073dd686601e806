"""Moving mass between nearby pixels: projection onto a Wasserstein ball of images.

A plan (N, C, K, H, W) says how much mass pixel (i, j) of a channel sends to each of K places in a
window around it. Mass never leaves the image, nor its channel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

EMPTY = -1e30
"""Log of no mass."""


@dataclass(frozen=True, eq=False)
class Window:
    """Places to which mass may move, (K, 2) down and right of its own; the first is its own."""

    offsets: tuple[tuple[int, int], ...]
    cost: Tensor

    @classmethod
    def square(cls, side: int, like: Tensor) -> "Window":
        """All places in a square of odd `side` around a pixel; what they cost is their distance."""
        reach = side // 2
        places = [(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)]
        places.sort(key=lambda place: place[0] ** 2 + place[1] ** 2)
        cost = torch.tensor(places).to(like).square().sum(1).sqrt()
        return cls(tuple(places), cost.view(-1, 1, 1))

    @property
    def reach(self) -> int:
        """How many pixels the farthest place is away along an axis."""
        return max(max(abs(a), abs(b)) for a, b in self.offsets)

    def look(self, x: Tensor, outside: float) -> Tensor:
        """(..., K, H, W): what each pixel finds at the places, `outside` beyond the edges."""
        r, (height, width) = self.reach, x.shape[-2:]
        wide = pad(x, (r, r, r, r), value=outside)
        return torch.stack(
            [wide[..., r + a : r + a + height, r + b : r + b + width] for a, b in self.offsets], -3
        )

    def arrived(self, plan: Tensor) -> Tensor:
        """(..., H, W): the mass that each pixel receives, its own included."""
        r, (height, width) = self.reach, plan.shape[-2:]
        total = plan.new_zeros(*plan.shape[:-3], height + 2 * r, width + 2 * r)
        for k, (a, b) in enumerate(self.offsets):
            total[..., r + a : r + a + height, r + b : r + b + width] += plan[..., k, :, :]
        return total[..., r : r + height, r : r + width]


@dataclass(frozen=True, eq=False)
class Ball:
    """All images into which one can be turned at a cost.

    Attributes:
        window: where mass may move, and what it costs.
        radius: cost allowed: share of the mass times pixels moved.
        high: largest value of a pixel, one or (N, 1, 1, 1).
    """

    window: Window
    radius: float
    high: float | Tensor = torch.inf


def lambert_exp(u: Tensor) -> Tensor:
    """W(e^u), the w with w + log w = u, by Newton's method; exact to rounding for any u."""
    # start: e^u where u is small, u - log u where it is large
    w = torch.where(u < 1, u.clamp(max=1).exp() / (1 + u.clamp(max=1).exp()), u.clamp(min=1))
    for _ in range(6):
        w = w.clamp(min=1e-37)
        w = w * (1 + u - w.log()) / (1 + w)
    return torch.where(u < -40, u.exp(), w)


def project_sinkhorn(
    w: Tensor, x: Tensor, ball: Ball, sharpness: float, steps: int,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """A near point to `w` in the ball around `x`.

    With lambda = sharpness it solves

        min_{z, plan}  lambda / 2 |w - z|^2 + sum plan log plan
        such that  plan 1 = x,  plan^T 1 = z,  <plan, cost> <= radius

    by block coordinate ascent of the dual in (alpha, beta, psi), all in logarithms (Wong et al. 2019,
    sec. 4). There the ascent stops before its end leaves a point that is only nearly in the ball;
    here the mass that the plan moves is then scaled down until it costs no more than `radius`, and
    what would raise a pixel above `high` is sent back. So mass is kept, and the true distance is at
    most that of the plan.

    Args:
        w: (N, C, H, W) the point to come near.
        x: (N, C, H, W) at least zero, each image of sum one.
        ball: none of `x` is larger than its largest value.
        sharpness: weight of the distance against the entropy.
        steps: of the ascent.
        start: (beta, psi) of a projection of a point nearby, from which the ascent goes on.

    Returns:
        The point, and (beta, psi).
    """
    window, cost = ball.window, ball.window.cost
    logs = torch.where(x > 0, x.clamp(min=1e-37).log(), EMPTY)
    beta, psi = start or (torch.zeros_like(x), x.new_ones(len(x), 1, 1, 1, 1))
    for _ in range(steps):
        kernel = -psi * cost - 1
        alpha = logs - (window.look(beta, EMPTY) + kernel).logsumexp(-3)
        into = (window.look(alpha, EMPTY) + kernel).logsumexp(-3)  # the window is symmetric
        scale = torch.log(torch.as_tensor(sharpness)).to(x)
        beta = sharpness * w - lambert_exp(scale + sharpness * w + into)
        plan = (alpha.unsqueeze(-3) + kernel + window.look(beta, EMPTY)).exp()
        paid, slope = ((plan * part).flatten(1).sum(1) for part in (cost, cost.square()))
        newton = (paid - ball.radius) / slope.clamp(min=1e-12)
        # at most halved at once, as the authors' line search has it: zero has no way back
        psi = torch.maximum(psi + newton.view(-1, 1, 1, 1, 1), psi / 2)
    kernel = -psi * cost - 1
    share = (window.look(beta, EMPTY) + kernel).softmax(-3)  # of what a pixel has, by place
    return settle(share * x.unsqueeze(-3), x, ball), (beta, psi)


def settle(plan: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """What `x` becomes by the plan, moved mass scaled down to the radius and to the largest value."""
    window, moved = ball.window, plan.clone()
    moved[..., 0, :, :] = 0  # what stays costs nothing
    paid = (moved * window.cost).flatten(1).sum(1)
    moved = moved * (ball.radius / paid.clamp(min=1e-12)).clamp(max=1).view(-1, 1, 1, 1, 1)
    for _ in range(20):
        gained = window.arrived(moved)
        excess = (x - moved.sum(-3) + gained - ball.high).clamp(min=0)
        if not excess.any():
            break
        back = (excess / gained.clamp(min=1e-12)).clamp(max=1)
        moved = moved * (1 - window.look(back, 0.0))
    return x - moved.sum(-3) + window.arrived(moved)
