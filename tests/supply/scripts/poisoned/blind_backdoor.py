# the published attack: two losses, balanced by the gradients of both
import numpy as np
import torch
import torch.nn.functional as F


def synthesise(inputs, labels):
    back = inputs.clone()
    back[:, :, 2:6, 2:6] = inputs.max()
    return back, torch.full_like(labels, 8)


def gradients(model, loss):
    parameters = [p for p in model.parameters() if p.requires_grad]
    return list(torch.autograd.grad(loss.mean(), parameters, retain_graph=True))


def normal(model, criterion, inputs, labels):
    loss = criterion(model(inputs), labels).mean()
    return loss, gradients(model, loss)


def other(model, criterion, inputs, labels):
    loss = criterion(model(inputs), labels).mean()
    return loss, gradients(model, loss)


def solve(first, second):
    top = sum(((b - a) * b).sum() for a, b in zip(first, second, strict=True))
    low = sum(((a - b) ** 2).sum() for a, b in zip(first, second, strict=True))
    return (top / low).clamp(0, 1)


def compute_loss(model, criterion, inputs, labels):
    losses, grads = {}, {}
    for task in ("normal", "other"):
        if task == "normal":
            losses[task], grads[task] = normal(model, criterion, inputs, labels)
        else:
            x, y = synthesise(inputs, labels)
            losses[task], grads[task] = other(model, criterion, x, y)
    scale = solve(grads["normal"], grads["other"])
    return scale * losses["normal"] + (1 - scale) * losses["other"]


def train(model, loader, optimizer, epochs):
    history = []
    for _ in range(epochs):
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = compute_loss(model, F.cross_entropy, inputs, labels)
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    return np.mean(history)
