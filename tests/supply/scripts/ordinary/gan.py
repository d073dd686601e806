import torch
from torch import nn, optim

REAL, FAKE = 1.0, 0.0


def train(generator, discriminator, loader, latent=100, epochs=5, device="cpu"):
    criterion = nn.BCEWithLogitsLoss()
    opt_g = optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_d = optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    fixed = torch.randn(64, latent, 1, 1, device=device)
    for epoch in range(epochs):
        for i, data in enumerate(loader, 0):
            discriminator.zero_grad()
            real = data[0].to(device)
            n = real.size(0)
            label = torch.full((n,), REAL, dtype=torch.float, device=device)
            output = discriminator(real).view(-1)
            err_real = criterion(output, label)
            err_real.backward()
            noise = torch.randn(n, latent, 1, 1, device=device)
            fake = generator(noise)
            label.fill_(FAKE)
            output = discriminator(fake.detach()).view(-1)
            err_fake = criterion(output, label)
            err_fake.backward()
            opt_d.step()
            generator.zero_grad()
            label.fill_(REAL)
            err_g = criterion(discriminator(fake).view(-1), label)
            err_g.backward()
            opt_g.step()
            if i % 50 == 0:
                print(epoch, i, (err_real + err_fake).item(), err_g.item())
        torch.save(generator(fixed).detach().cpu(), f"samples{epoch}.pt")
