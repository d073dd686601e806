import copy

import torch
import torch.nn.functional as F


class EMA:
    def __init__(self, model, decay=0.999):
        self.decay = decay
        self.module = copy.deepcopy(model).eval()
        for p in self.module.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for kept, new in zip(self.module.parameters(), model.parameters(), strict=True):
            kept.mul_(self.decay).add_(new, alpha=1 - self.decay)
        for kept, new in zip(self.module.buffers(), model.buffers(), strict=True):
            kept.copy_(new)


def train(model, loader, unlabelled, optimizer, weak, strong, threshold=0.95, epochs=10):
    ema = EMA(model)
    step = 0
    for epoch in range(epochs):
        for (x, y), u in zip(loader, unlabelled, strict=False):
            with torch.no_grad():
                prob = ema.module(weak(u)).softmax(1)
            sure, pseudo = prob.max(1)
            mask = (sure >= threshold).float()
            loss = F.cross_entropy(model(x), y)
            if epoch > 2:
                extra = F.cross_entropy(model(strong(u)), pseudo, reduction="none")
                loss = loss + (extra * mask).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 10 == 0:
                ema.update(model)
    return ema.module
