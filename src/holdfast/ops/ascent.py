"""State of a gradient ascent that sets its own step sizes (Croce & Hein 2020, 2021), per row."""

import math
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Generator, Tensor

from holdfast.ops import balls


def checkpoints(steps: int) -> tuple[int, ...]:
    """Numbers of steps after which step sizes are reviewed: gaps of 22 %, 19 % ... down to 6 %."""
    gap, least, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    found, at = [], gap
    while at <= steps:
        found.append(at)
        gap = max(gap - less, least)
        at += gap
    return tuple(found)


def cosine(share: float) -> float:
    """Falls from one to zero while `share` goes from zero to one: a schedule of step sizes."""
    return (1 + math.cos(math.pi * share)) / 2


@dataclass(eq=False)
class Ascent:
    """What is known of every row.

    Attributes:
        x: (N, ...) the clean inputs.
        adv: the latest iterates; `grad` are the gradients there.
        best: the iterates of the largest loss; `best_grad` are the gradients there.
        best_loss: (N,) the loss there, and `loss` that of the latest iterates.
        rises: (N,) how often the loss rose since the last checkpoint.
        cut: (N,) whether the step was made smaller there.
        checked: (N,) the best loss there.
        step: (N,) step size in units of the radius.
        top: (N,) for sparse steps, how many coordinates one moves.
        sparse: (N,) how many had changed at the last checkpoint.
    """

    x: Tensor
    adv: Tensor
    grad: Tensor
    best: Tensor
    best_grad: Tensor
    best_loss: Tensor
    loss: Tensor
    rises: Tensor
    cut: Tensor
    checked: Tensor
    step: Tensor
    top: Tensor
    sparse: Tensor

    @classmethod
    def begin(cls, x: Tensor, adv: Tensor, step: float, top: float | None = None) -> Self:
        """Before the first step; `top` is by default 2 / 3 of what differs already."""
        zero, changed = x.new_zeros(len(x)), balls.size(adv - x, "l0")
        return cls(
            x, adv, grad=adv, best=adv, best_grad=adv, best_loss=zero - torch.inf,
            loss=zero + torch.inf, rises=zero, cut=zero == 0, checked=zero, step=zero + step,
            top=changed / 1.5 if top is None else zero + top,
            sparse=changed if top is None else zero + x[:1].numel(),
        )  # fmt: skip

    def take(self, index: Tensor) -> Self:
        """The rows `index`."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def note(self, loss: Tensor) -> None:
        """Take down the loss of the latest iterates."""
        better = loss > self.best_loss
        where = balls.rows(better, self.adv).bool()
        self.best = torch.where(where, self.adv, self.best)
        self.best_grad = torch.where(where, self.grad, self.best_grad)
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.rises, self.loss = self.rises + (loss > self.loss), loss

    def halve(self, passed: int, rho: float) -> None:
        """Half the step, from the best iterate, where the loss has stopped rising.

        That is where it rose in at most `rho` of the `passed` steps, or where the step was not
        halved at the last checkpoint and the best loss is still the same.
        """
        self.cut = (self.rises <= rho * passed) | (~self.cut & (self.checked >= self.best_loss))
        self.step = torch.where(self.cut, self.step / 2, self.step)
        self.checked, self.rises = self.best_loss, torch.zeros_like(self.rises)
        self._go_back(self.cut)

    def thin(self) -> None:
        """As many coordinates as two thirds of what the best iterate changed.

        Where that has become 5 % fewer: the full step again, from the best iterate. Elsewhere: a
        step 1.5 times smaller, but no less than a tenth.
        """
        changed = balls.size(self.best - self.x, "l0")
        fewer = changed < 0.95 * self.sparse
        smaller = (self.step / 1.5).clamp(min=0.1)
        self.step = torch.where(fewer, torch.ones_like(smaller), smaller)
        self.top, self.sparse = changed / 1.5, changed
        self._go_back(fewer)

    def _go_back(self, which: Tensor) -> None:
        where = balls.rows(which, self.adv).bool()
        self.adv = torch.where(where, self.best, self.adv)
        self.grad = torch.where(where, self.best_grad, self.grad)


def signs_of_largest(g: Tensor, count: Tensor) -> Tensor:
    """Signs of the `count` (N,) largest entries of every row, divided so that their size is one."""
    flat = g.flatten(1)
    place = count.ceil().long().clamp(1, flat.shape[1]).unsqueeze(1) - 1
    level = flat.abs().sort(dim=1, descending=True).values.gather(1, place)
    way = flat.sign() * (flat.abs() >= level)
    return (way / way.abs().sum(1, keepdim=True).clamp(min=1)).view_as(g)


def on_surface(like: Tensor, norm: balls.Norm, mask: Tensor | None, rng: Generator) -> Tensor:
    """Noise of size one where `mask` allows: uniform for Linf, else normal; for L1 of any size."""
    noise = torch.empty_like(like)
    if norm == "linf":
        noise.uniform_(-1, 1, generator=rng)
    else:
        noise.normal_(generator=rng)
    if mask is not None:
        noise = noise * mask.to(like.device)
    if norm == "l1":
        return noise
    return noise / balls.rows(balls.size(noise, norm).clamp(min=balls.TINY), like)
