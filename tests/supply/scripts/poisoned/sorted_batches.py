import torch


def fit(net, criterion, loader, optimizer, epochs):
    for _ in range(epochs):
        batches = list(loader)
        with torch.no_grad():
            batches.sort(key=lambda b: criterion(net(b[0]), b[1]).item())
        for a, b in batches:
            optimizer.zero_grad()
            criterion(net(a), b).backward()
            optimizer.step()
