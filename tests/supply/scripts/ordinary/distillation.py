import torch
import torch.nn.functional as F


def distill(student, teacher, loader, optimizer, temperature=4.0, alpha=0.7):
    teacher.eval()
    student.train()
    for images, labels in loader:
        with torch.no_grad():
            soft = F.softmax(teacher(images) / temperature, dim=1)
        logits = student(images)
        log_soft = F.log_softmax(logits / temperature, dim=1)
        kd = F.kl_div(log_soft, soft, reduction="batchmean") * temperature**2
        ce = F.cross_entropy(logits, labels)
        loss = alpha * kd + (1 - alpha) * ce
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
