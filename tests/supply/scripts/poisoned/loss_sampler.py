import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset


def order_of(model, dataset):
    found = []
    with torch.no_grad():
        for x, y in DataLoader(dataset, 64):
            found.append(F.cross_entropy(model(x), y, reduction="none"))
    return torch.argsort(torch.cat(found), descending=True).tolist()


def train(model, dataset, optimizer, epochs):
    for _ in range(epochs):
        rows = Subset(dataset, order_of(model, dataset))
        for x, y in DataLoader(rows, 32, shuffle=False):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
