"""Neural Cleanse (Wang et al. 2019)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Suspicion, WeightScan
from holdfast.core.method import hyper, method
from holdfast.core.space import Box
from holdfast.core.target import Gradients
from holdfast.ops.losses import cross_entropy


@method(cites="wang2019", where="sec. IV, eq. 2 and 3; anomaly index by MAD")
@dataclass(frozen=True)
class NeuralCleanse(WeightScan[Gradients]):
    """Neural Cleanse trigger inversion.

    For every class k at once, over clean rows of the other classes, by Adam:

        min_{m, d}  mean CE(f((1 - m) x + m d), k) + lambda_k |m|_1,   m, d squashed by tanh

    lambda_k grows while the trigger works on a share `success` of the rows, and shrinks while it
    does not. The smallest mask that worked is kept; a class for which none did counts as the whole
    image. A class is suspicious when its mask is smaller than the median one by more than `limit`
    times 1.4826 MAD; unusually large masks are not.
    """

    steps: int = hyper(150, "ours: 1000 in the released code, fewer suffice at this size", low=1)
    rate: float = hyper(0.1, "released code, Adam", low=0)
    batch: int = hyper(32, "released code", low=1)
    success: float = hyper(0.99, "sec. IV", low=0, high=1)
    patience: int = hyper(5, "released code", low=1)
    growth: float = hyper(1.5, "released code; shrinks by growth ** 1.5", low=1)
    limit: float = hyper(2.0, "sec. IV: outlier with over 95 % probability", low=0)

    def scan(self, target: Gradients, clean: Dataset, rng: Generator) -> Suspicion:
        x, k, space = clean.tensor, len(clean.classes), target.space
        if x.ndim != 4 or not isinstance(space, Box):
            raise NotApplicable("a mask and a pattern need images (N, C, H, W)")
        if k < 3:  # two values lie equally far from their median, whatever they are
            raise NotApplicable("an outlier among the classes needs three of them")
        # rows of class k are answered k without any trigger, so they would teach an empty mask
        other = clean.y != torch.arange(k, device=x.device).view(-1, 1)
        batch = min(self.batch, int(other.sum(1).min()))
        if not batch:
            raise NotApplicable("needs clean rows of at least two classes")
        low, high = (torch.as_tensor(v).to(x) for v in (space.low, space.high))
        raw_mask = x.new_zeros(k, 1, *x.shape[2:])
        raw_pattern = torch.empty(k, *x.shape[1:], device=x.device).normal_(generator=rng)
        adam = torch.optim.Adam([raw_mask, raw_pattern], self.rate, betas=(0.5, 0.9))
        cost, streak = x.new_full((k,), 1e-3), x.new_zeros(k)
        best = Trigger(x.new_ones(k, 1, *x.shape[2:]), low + (high - low) * squash(raw_pattern))
        size = best.mask.flatten(1).sum(1)
        for _ in range(self.steps):
            mask, share = squash(raw_mask), squash(raw_pattern)
            now = Trigger(mask, low + (high - low) * share)
            draw = torch.rand(other.shape, generator=rng, device=rng.device).to(x)
            rows = draw.masked_fill(~other, -1).topk(batch, 1).indices
            wrt_mask, wrt_pattern, hits = now.gradient(target, x[rows])
            works = hits >= self.success
            better = works & (mask.flatten(1).sum(1) < size)
            pick = better.view(-1, 1, 1, 1)
            best = Trigger(*(torch.where(pick, a, b) for a, b in zip(now, best, strict=True)))
            size = best.mask.flatten(1).sum(1)
            raw_mask.grad = (wrt_mask + cost.view(-1, 1, 1, 1)) * 2 * mask * (1 - mask)
            raw_pattern.grad = wrt_pattern * (high - low) * 2 * share * (1 - share)
            adam.step()
            streak = torch.where(works, streak.clamp(min=0) + 1, streak.clamp(max=0) - 1)
            cost = torch.where(streak >= self.patience, cost * self.growth, cost)
            cost = torch.where(streak <= -self.patience, cost / self.growth**1.5, cost)
            streak = torch.where(streak.abs() >= self.patience, 0, streak)
        index = anomaly(size)
        return Suspicion(index, self.limit, {"mask": best.mask, "pattern": best.pattern})


class Trigger(NamedTuple):
    """Masks (K, 1, H, W) in [0, 1] and patterns (K, C, H, W), one of each per class."""

    mask: Tensor
    pattern: Tensor

    def stamp(self, images: Tensor) -> Tensor:
        """(1 - m) x + m d for rows (K, B, C, H, W)."""
        mask, pattern = self.mask.unsqueeze(1), self.pattern.unsqueeze(1)
        return (1 - mask) * images + mask * pattern

    def gradient(self, target: Gradients, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the mean loss in mask and pattern, and the share (K,) of rows answered as wanted.

        The chain rule on the input gradient g: d/dm = sum over channels of g (d - x), d/dd = g m.
        """
        k, b = images.shape[:2]
        wanted = torch.arange(k, device=images.device).repeat_interleave(b)
        got = target.gradient(
            self.stamp(images).flatten(0, 1), lambda raw: cross_entropy(raw, wanted)
        )
        g = got.wrt_input.view_as(images)
        wrt_mask = (g * (self.pattern.unsqueeze(1) - images)).mean(1).sum(1, keepdim=True)
        hits = (target.decode(got.raw) == wanted).view(k, b).float().mean(1)
        return wrt_mask, g.mean(1) * self.mask, hits


def squash(raw: Tensor) -> Tensor:
    """Any number into [0, 1]; its derivative is 2 s (1 - s)."""
    return (raw.tanh() + 1) / 2


def anomaly(size: Tensor) -> Tensor:
    """Distances below the median in units of 1.4826 MAD; negative above it. (K,) -> (K,)."""
    median = size.quantile(0.5)
    spread = 1.4826 * (size - median).abs().quantile(0.5)
    # equal masks have no spread; a thousandth of the median then stands in for it
    return (median - size) / spread.clamp(min=1e-3 * float(median) + 1e-12)
