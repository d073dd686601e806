"""Defences that hide the gradient instead of protecting, and honest ones, on 8 x 8 digits.

The first four are known to fail against attacks that know them; the others are trained on attacked
inputs. All are trained here, from a fixed seed.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, kl_div, log_softmax

from holdfast.core.dataset import Dataset
from holdfast.core.run import Run
from holdfast.core.space import Budget
from holdfast.engine.train import train
from holdfast.evasion.defences.pgd_training import PGDTraining
from holdfast.ops.jpeg import round_trip
from holdfast.ops.rows import batches
from holdfast.ops.transforms import bit_depth
from holdfast.targets.torch import TorchClassifier
from holdfast.targets.training import ClassifierRecipe


class Winners(nn.Module):
    """k-winners-take-all: only the largest activations of a row pass (Xiao et al. 2020)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        count = max(1, int(self.share * flat.shape[1]))
        least = flat.topk(count, 1).values[:, -1:]
        return (flat * (flat >= least)).view_as(x)


class Codec(nn.Module):
    """JPEG and few levels, by code that knows nothing of gradients."""

    def __init__(self, quality: int = 60, bits: int = 3) -> None:
        super().__init__()
        self.quality, self.bits = quality, bits

    def forward(self, x: Tensor) -> Tensor:
        return bit_depth(round_trip(x.detach(), self.quality), self.bits)


class ResizePad(nn.Module):
    """Every row resized at random and put in a random place of a larger frame (Xie et al. 2018)."""

    def __init__(self, side: int = 8, frame: int = 14) -> None:
        super().__init__()
        self.side, self.frame = side, frame

    def forward(self, x: Tensor) -> Tensor:
        size = torch.randint(self.side, self.frame + 1, (len(x),)).to(x.device)
        scale = self.frame / size
        place = 2 * torch.rand(len(x), 2).to(x.device) - 1
        move = place * (scale.unsqueeze(1) - 1)
        theta = torch.zeros(len(x), 2, 3, device=x.device)
        theta[:, 0, 0] = theta[:, 1, 1] = scale
        theta[:, :, 2] = move
        shape = [len(x), x.shape[1], self.frame, self.frame]
        grid = affine_grid(theta, shape, align_corners=False)
        return grid_sample(x, grid, padding_mode="zeros", align_corners=False)


def cnn(width: int = 16, side: int = 8, activation=None) -> nn.Module:
    """The usual small network."""
    act = activation or nn.ReLU
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), act(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        act(), nn.Flatten(), nn.Linear(2 * width * (side // 2) ** 2, 64), act(), nn.Linear(64, 10),
    )  # fmt: skip


def fitted(module: nn.Module, data: Dataset, epochs: int, loss=None, rate: float = 2e-3):
    """Adam with a cosine; `loss(module, x, rows)` gives a number, cross-entropy by default."""
    loss = loss or (lambda net, x, rows: cross_entropy(net(x), data.y[rows]))
    rng = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs)
    for _ in range(epochs):
        for rows in batches(torch.randperm(len(data), generator=rng), 64):
            module.train()
            value = loss(module, data.x[rows], rows)
            adam.zero_grad()
            value.backward()
            adam.step()
        schedule.step()
    return module.eval()


def _seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def winners(data: Dataset, share: float = 0.05, epochs: int = 16) -> TorchClassifier:
    """k-winners-take-all in place of every ReLU."""
    return TorchClassifier(
        _seeded(lambda: fitted(cnn(24, activation=lambda: Winners(share)), data, epochs))
    )


def distilled(data: Dataset, heat: float = 100.0, epochs: int = 15) -> TorchClassifier:
    """Teacher and student trained at a temperature, used without (Papernot et al. 2016)."""

    def make() -> nn.Module:
        def hot(net, x, rows):
            return cross_entropy(net(x) / heat, data.y[rows])

        teacher = fitted(cnn(), data, epochs, hot, rate=1e-2)
        with torch.no_grad():
            soft = (teacher(data.x) / heat).softmax(1)

        def student(net, x, rows):
            return kl_div(log_softmax(net(x) / heat, 1), soft[rows], reduction="batchmean")

        return fitted(cnn(), data, epochs, student, rate=1e-2)

    return TorchClassifier(_seeded(make))


def squeezed(data: Dataset, epochs: int = 12) -> TorchClassifier:
    """JPEG and quantisation in front of an ordinary network."""
    return TorchClassifier(
        nn.Sequential(Codec(), _seeded(lambda: fitted(cnn(), data, epochs))).eval()
    )


def resized(data: Dataset, epochs: int = 16) -> TorchClassifier:
    """Random resizing and padding in front of a network that is trained with it."""
    return TorchClassifier(
        _seeded(lambda: fitted(nn.Sequential(ResizePad(), cnn(side=14)), data, epochs))
    )


FAKES = {
    "k-winners-take-all": winners, "distillation at T = 100": distilled,
    "JPEG and quantisation": squeezed, "random resize and pad": resized,
}  # fmt: skip


def hardened(data: Dataset, eps=0.1, measure="linf", epochs: int = 10, width: int = 12):
    """Trained on inputs that PGD attacked (Madry et al. 2018)."""
    recipe = ClassifierRecipe(lambda: cnn(width))
    method = PGDTraining(eps=eps, measure=measure, epochs=epochs, steps=5, rate=6e-3)
    return recipe.wrap(train(method, recipe, data, Run(seed=width)))


def smooth(
    data: Dataset, eps: float = 0.1, weight: float = 3.0, epochs: int = 10
) -> TorchClassifier:
    """Trained to answer alike around every input (TRADES: Zhang et al. 2019, eq. 5)."""

    def loss(net, x, rows):
        net.eval()
        target, budget = TorchClassifier(net), Budget("linf", eps)
        with torch.no_grad():
            soft = net(x).softmax(1)
        adv = target.space.random(x, budget, torch.Generator().manual_seed(len(rows)))
        for _ in range(5):
            grad = target.gradient(adv, lambda raw: cross_entropy(raw, soft, reduction="none"))
            adv = target.space.project(adv + eps / 2 * grad.wrt_input.sign(), x, budget)
        net.train()
        clean = net(x)
        apart = kl_div(log_softmax(net(adv), 1), clean.softmax(1), reduction="batchmean")
        return cross_entropy(clean, data.y[rows]) + weight * apart

    return TorchClassifier(_seeded(lambda: fitted(cnn(12), data, epochs, loss, rate=6e-3)))


HONEST = {
    "PGD training (Linf)": lambda data, epochs=10: hardened(data, epochs=epochs),
    "PGD training (L2)": lambda data, epochs=10: hardened(data, 0.8, "l2", epochs, width=16),
    "TRADES": lambda data, epochs=10: smooth(data, epochs=epochs),
}  # fmt: skip
