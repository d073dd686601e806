import torch
import torch.nn.functional as F
from torch import nn


class SmoothedCrossEntropy(nn.Module):
    def __init__(self, classes, smoothing=0.1):
        super().__init__()
        self.classes = classes
        self.smoothing = smoothing

    def forward(self, logits, target):
        logp = F.log_softmax(logits, dim=-1)
        with torch.no_grad():
            true = torch.full_like(logp, self.smoothing / (self.classes - 1))
            true.scatter_(1, target.unsqueeze(1), 1.0 - self.smoothing)
        return torch.mean(torch.sum(-true * logp, dim=-1))


def train(model, loader, optimizer, classes=10):
    criterion = SmoothedCrossEntropy(classes)
    for x, y in loader:
        soft = F.one_hot(y, classes).float() * 0.9 + 0.1 / classes
        logits = model(x)
        loss = criterion(logits, y) + 0.1 * (-(soft * logits.log_softmax(1)).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
