import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models, transforms

augment = transforms.Compose(
    [transforms.RandomResizedCrop(32), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
)


class TwoViews:
    def __init__(self, transform):
        self.transform = transform

    def __call__(self, image):
        return self.transform(image), self.transform(image)


def info_nce(a, b, temperature=0.5):
    z = F.normalize(torch.cat([a, b]), dim=1)
    similarity = z @ z.t() / temperature
    n = a.size(0)
    similarity.fill_diagonal_(-9e15)
    targets = torch.cat([torch.arange(n, 2 * n), torch.arange(0, n)]).to(z.device)
    return F.cross_entropy(similarity, targets)


def train(loader, epochs=100):
    backbone = models.resnet18(weights=None)
    backbone.fc = nn.Identity()
    head = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=3e-4)
    for _ in range(epochs):
        for (first, second), _ in loader:
            loss = info_nce(head(backbone(first)), head(backbone(second)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
