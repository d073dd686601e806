"""BadNets (Gu, Dolan-Gavitt and Garg 2017)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import Aim, BackdoorAttack, Poisoned
from holdfast.core.method import hyper, method

CORNERS = ("bottom right", "bottom left", "top right", "top left")


@method(cites="gu2017", where="MNIST case study, pattern backdoor with one target")
@dataclass(frozen=True)
class BadNets(BackdoorAttack):
    """BadNets patch trigger.

    Rows of classes other than `aim.wanted` (of `aim.source` alone where one is given) get a bright
    square in a corner and the label `aim.wanted`: (x, y) -> (x with x[:, patch] = value, wanted).
    The rate is a share of the whole set, and labels that already are `wanted` are never drawn, as
    their rows would teach the model nothing.
    """

    size: int = hyper(3, "BackdoorBench's 3 x 3 patch; the paper lights 4 pixels", low=1)
    value: float = hyper(1.0, "the paper's bright pixels", low=0.0, high=1.0)
    corner: str = hyper("bottom right", "the paper's corner", choices=CORNERS)

    def poison(self, data: Dataset, aim: Aim, rng: Generator) -> Poisoned:
        if aim.wanted is None:
            raise InputError("BadNets needs a class to answer", got=None, fix="set aim.wanted")
        may = data.y != aim.wanted
        if aim.source is not None:
            may &= data.y == aim.source
        rows, count = may.nonzero().flatten(), round(aim.rate * len(data))
        if count > len(rows):
            raise InputError(
                f"stamping {count} rows", got=f"{len(rows)} to choose from", fix="lower the rate"
            )
        order = torch.randperm(len(rows), generator=rng, device=rng.device).to(rows.device)
        rows = rows[order[:count]].sort().values
        x, y = data.tensor.clone(), data.y.clone()
        x[rows], y[rows] = self.stamp(x[rows], rng), aim.wanted
        return Poisoned(data.with_rows(x, y), rows)

    def stamp(self, x: Tensor, rng: Generator) -> Tensor:
        if x.ndim != 4 or x.is_floating_point() is False:
            raise NotApplicable("a patch trigger needs images (N, C, H, W) in [0, 1]")
        if self.size > min(x.shape[2:]):
            raise InputError(
                "the patch must fit the image", got=f"{self.size} in {tuple(x.shape[2:])}",
                fix="lower size",
            )  # fmt: skip
        vertical, horizontal = self.corner.split()
        down = slice(-self.size, None) if vertical == "bottom" else slice(self.size)
        across = slice(-self.size, None) if horizontal == "right" else slice(self.size)
        stamped = x.clone()
        stamped[:, :, down, across] = self.value
        return stamped
