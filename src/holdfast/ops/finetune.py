"""Training a module on, a little and in place: what repairs and their controls share."""

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.ops.losses import two_logits
from holdfast.ops.rows import batches


def finetune(
    module: nn.Module, x: Tensor, y: Tensor, epochs: int, rate: float, rng: Generator
) -> None:
    """Train in place by Adam with a cosine schedule on batches of 16; ends in evaluation mode.

    Batches are small because a handful of clean rows would otherwise give one step per epoch.
    """
    optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs))
    seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)  # dropout layers draw from the global stream
        module.train()
        for _ in range(epochs):
            order = torch.randperm(len(y), generator=rng, device=rng.device).to(y.device)
            for rows in batches(order, 16):
                loss = cross_entropy(two_logits(module(x[rows])), y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            schedule.step()
    optimiser.zero_grad(set_to_none=True)
    module.eval()
