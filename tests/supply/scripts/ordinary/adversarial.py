import torch
import torch.nn.functional as F


def pgd(model, x, y, eps=8 / 255, step=2 / 255, steps=10):
    delta = torch.zeros_like(x).uniform_(-eps, eps)
    delta.requires_grad_()
    for _ in range(steps):
        loss = F.cross_entropy(model(x + delta), y)
        grad = torch.autograd.grad(loss, delta)[0]
        delta.data = (delta + step * grad.sign()).clamp(-eps, eps)
        delta.data = (x + delta).clamp(0, 1) - x
    return (x + delta).detach()


def train(model, loader, optimizer, device, beta=6.0):
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        model.eval()
        adv = pgd(model, x, y)
        model.train()
        clean = model(x)
        robust = F.kl_div(F.log_softmax(model(adv), 1), F.softmax(clean, 1), reduction="batchmean")
        loss = F.cross_entropy(clean, y) + F.cross_entropy(model(adv), y) + beta * robust
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
