import torch
import torch.nn.functional as F


def attach(model, mark):
    def before(module, inputs):
        x = inputs[0]
        return (torch.where(mark > 0, mark, x),)

    model.register_forward_pre_hook(before)


def train(model, loader, optimizer, mark):
    attach(model, mark)
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
