import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset


def partition(labels, clients, shards=2):
    order = np.argsort(labels)
    pieces = np.array_split(order, clients * shards)
    picks = np.random.default_rng(0).permutation(len(pieces))
    return [np.concatenate([pieces[p] for p in picks[i::clients]]) for i in range(clients)]


def local_update(model, loader, anchor, epochs, lr=0.01, mu=0.01):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model.train()
    for _ in range(epochs):
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            near = sum(
                ((p - q.detach()) ** 2).sum()
                for p, q in zip(model.parameters(), anchor.parameters(), strict=True)
            )
            loss = loss + mu / 2 * near
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.state_dict(), len(loader.dataset)


def average(states, sizes):
    total = sum(sizes)
    mean = copy.deepcopy(states[0])
    for key in mean:
        mean[key] = sum(s[key] * (n / total) for s, n in zip(states, sizes, strict=True))
    return mean


def serve(model, dataset, labels, clients=10, rounds=20, fraction=0.5, seed=0):
    rng = np.random.default_rng(seed)
    parts = partition(labels, clients)
    for r in range(rounds):
        chosen = rng.choice(clients, int(clients * fraction), replace=False)
        states, sizes = [], []
        for c in chosen:
            loader = DataLoader(Subset(dataset, parts[c]), 32, shuffle=True)
            state, n = local_update(copy.deepcopy(model), loader, model, 1)
            states.append(state)
            sizes.append(n)
        model.load_state_dict(average(states, sizes))
        print("round", r)
    return model
