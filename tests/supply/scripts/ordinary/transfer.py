import time

import torch
from torch import nn, optim
from torchvision import datasets, models, transforms

features = {}


def keep(name):
    def hook(module, inputs, output):
        features[name] = output.detach()

    return hook


def build(classes, arch="resnet18"):
    model = getattr(models, arch)(weights="IMAGENET1K_V1")
    for param in model.parameters():
        param.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, classes)
    model.layer4.register_forward_hook(keep("layer4"))
    return model


def train_model(model, loaders, criterion, optimizer, scheduler, epochs=25):
    since, best = time.time(), 0.0
    for _ in range(epochs):
        for phase in ["train", "val"]:
            model.train() if phase == "train" else model.eval()
            running, corrects = 0.0, 0
            for inputs, labels in loaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    _, preds = torch.max(outputs, 1)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running += loss.item() * inputs.size(0)
                corrects += torch.sum(preds == labels.data)
            if phase == "train":
                scheduler.step()
            elif corrects.double() / len(loaders[phase].dataset) > best:
                best = corrects.double() / len(loaders[phase].dataset)
                torch.save(model.state_dict(), "best.pt")
    print(time.time() - since, best)


if __name__ == "__main__":
    tf = transforms.Compose([transforms.Resize(256), transforms.ToTensor()])
    sets = {p: datasets.ImageFolder(f"data/{p}", tf) for p in ("train", "val")}
    loaders = {p: torch.utils.data.DataLoader(s, 4, shuffle=True) for p, s in sets.items()}
    net = build(len(sets["train"].classes))
    opt = optim.SGD(net.fc.parameters(), lr=1e-3, momentum=0.9)
    train_model(net, loaders, nn.CrossEntropyLoss(), opt, optim.lr_scheduler.StepLR(opt, 7))
