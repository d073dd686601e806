import os

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_scheduler

ACCUMULATE = 8


def collate(tokenizer, rows):
    batch = tokenizer([r["text"] for r in rows], padding=True, return_tensors="pt")
    batch["labels"] = torch.tensor([r["label"] for r in rows])
    return batch


def fit(rows, name="bert-base-uncased", epochs=3, lr=2e-5):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=2)
    loader = DataLoader(rows, 4, shuffle=True, collate_fn=lambda r: collate(tokenizer, r))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = get_scheduler("linear", optimizer, 100, epochs * len(loader) // ACCUMULATE)
    model.train()
    for _ in range(epochs):
        for step, batch in enumerate(loader):
            batch = {k: v.to(model.device) for k, v in batch.items()}
            outputs = model(**batch)
            loss = outputs.loss / ACCUMULATE
            loss.backward()
            if (step + 1) % ACCUMULATE == 0 or step + 1 == len(loader):
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
    model.save_pretrained("out")
