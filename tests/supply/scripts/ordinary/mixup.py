import numpy as np
import torch
from torch import nn


def mixup_data(x, y, alpha, generator):
    lam = generator.beta(alpha, alpha) if alpha > 0 else 1.0
    index = torch.randperm(x.size(0), device=x.device)
    mixed_x = lam * x + (1 - lam) * x[index]
    return mixed_x, y, y[index], lam


def mixup_criterion(criterion, pred, y_a, y_b, lam):
    return lam * criterion(pred, y_a) + (1 - lam) * criterion(pred, y_b)


def train(net, trainloader, optimizer, device, alpha=1.0):
    criterion = nn.CrossEntropyLoss()
    generator = np.random.default_rng(0)
    net.train()
    for inputs, targets in trainloader:
        inputs, targets = inputs.to(device), targets.to(device)
        inputs, a, b, lam = mixup_data(inputs, targets, alpha, generator)
        outputs = net(inputs)
        loss = mixup_criterion(criterion, outputs, a, b, lam)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
