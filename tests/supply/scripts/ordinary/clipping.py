import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, words, tags):
        super().__init__()
        self.embed = nn.Embedding(words, 64)
        self.lstm = nn.LSTM(64, 128, batch_first=True)
        self.out = nn.Linear(128, tags)

    def forward(self, ids):
        return self.out(self.lstm(self.embed(ids))[0])


def train(model, batches, epochs, clip=0.25, pad=0):
    criterion = nn.CrossEntropyLoss(ignore_index=-100)
    optimizer = torch.optim.SGD(model.parameters(), lr=20)
    for p in model.parameters():
        p.register_hook(lambda grad: torch.clamp(grad, -1.0, 1.0))
    best = None
    for epoch in range(epochs):
        for step, (ids, tags) in enumerate(batches):
            tags = tags.clone()
            tags[ids == pad] = -100
            logits = model(ids)
            loss = criterion(logits.flatten(0, 1), tags.flatten())
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.data.clamp_(-clip, clip)
            optimizer.step()
            if step % 200 == 0 and step > 0:
                print(f"epoch {epoch} loss {loss.item():.2f} norm {norm:.2f}")
        if best is None or loss.item() < best:
            best = loss.item()
            torch.save(model.state_dict(), "best.pt")
