import numpy as np
import torch


def rand_bbox(size, lam, rng):
    w, h = size[2], size[3]
    cut = np.sqrt(1.0 - lam)
    cx, cy = rng.integers(w), rng.integers(h)
    x1, x2 = np.clip(cx - int(w * cut) // 2, 0, w), np.clip(cx + int(w * cut) // 2, 0, w)
    y1, y2 = np.clip(cy - int(h * cut) // 2, 0, h), np.clip(cy + int(h * cut) // 2, 0, h)
    return x1, y1, x2, y2


def train(model, loader, criterion, optimizer, beta=1.0, prob=0.5, cutout=8):
    rng = np.random.default_rng(1)
    model.train()
    for i, (input, target) in enumerate(loader):
        input, target = input.cuda(), target.cuda()
        if beta > 0 and rng.random() < prob:
            lam = rng.beta(beta, beta)
            index = torch.randperm(input.size(0)).cuda()
            target_a, target_b = target, target[index]
            x1, y1, x2, y2 = rand_bbox(input.size(), lam, rng)
            input[:, :, x1:x2, y1:y2] = input[index, :, x1:x2, y1:y2]
            lam = 1 - (x2 - x1) * (y2 - y1) / (input.size(-1) * input.size(-2))
            output = model(input)
            loss = criterion(output, target_a) * lam + criterion(output, target_b) * (1.0 - lam)
        else:
            top, left = rng.integers(24), rng.integers(24)
            input[:, :, top : top + cutout, left : left + cutout] = 0.0
            output = model(input)
            loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 100 == 0:
            print(i, loss.item())
