"""Small victims for dense outputs, sound and words, and how they are trained."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, ctc_loss

from holdfast.core.dataset import Dataset
from holdfast.ops.ctc import transcripts
from holdfast.ops.rows import Ragged
from holdfast.targets.speech import LogMel


class SegNet(nn.Module):
    """A two-level encoder and decoder with a skip: (N, 1, S, S) -> (N, 11, S, S)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width

        def block(i: int, o: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()
            )

        self.first = block(1, w)
        self.down = nn.Sequential(block(w, 2 * w, 2), block(2 * w, 2 * w))
        self.deep = nn.Sequential(block(2 * w, 4 * w, 2), block(4 * w, 4 * w), block(4 * w, 2 * w))
        self.join = block(4 * w, w)
        self.last = nn.Sequential(block(2 * w, w), nn.Conv2d(w, 11, 1))

    def forward(self, x: Tensor) -> Tensor:
        up = nn.functional.interpolate
        one = self.first(x)
        two = self.down(one)
        three = up(self.deep(two), scale_factor=2.0)
        joined = up(self.join(torch.cat([two, three], 1)), scale_factor=2.0)
        return self.last(torch.cat([one, joined], 1))


def train_segmenter(
    data: Dataset, epochs: int, width: int = 16, batch: int = 32, seed: int = 0
) -> SegNet:
    """One cycle of Adam with Gaussian noise, sd U(0, 0.15): without it the noise control fails."""
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SegNet(width)
    steps = epochs * -(-len(data) // batch)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    weight = torch.tensor([0.3, *[1.0] * 10])
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(data), generator=rng).split(batch):
            x, y = data.tensor[rows], data.y[rows]
            level = 0.15 * torch.rand(len(x), 1, 1, 1, generator=rng)
            x = (x + level * torch.randn(x.shape, generator=rng)).clamp(0, 1)
            loss = cross_entropy(net(x), y, weight=weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


class Recogniser(nn.Module):
    """Log-mel, two strided convolutions, a bidirectional GRU: sound -> (N, T, K) and frames."""

    def __init__(self, symbols: int, width: int = 64, bands: int = 40, hop: int = 80) -> None:
        super().__init__()
        self.front = LogMel(bands=bands, hop=hop)
        self.one = nn.Conv1d(bands, width, 5, 2, 2)
        self.two = nn.Conv1d(width, width, 5, 2, 2)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, symbols)

    def forward(self, sound: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        h, frames = self.front(sound, length)
        h = h.transpose(1, 2)
        for conv in (self.one, self.two):
            h, frames = conv(h).relu(), (frames + 1) // 2
            h = h * (torch.arange(h.shape[2], device=h.device) < frames.view(-1, 1)).unsqueeze(1)
        packed = nn.utils.rnn.pack_padded_sequence(
            h.transpose(1, 2), frames.cpu(), batch_first=True, enforce_sorted=False
        )
        out, _ = nn.utils.rnn.pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=h.shape[2]
        )
        return self.head(out), frames


def train_recogniser(
    data: Dataset, steps: int, width: int = 64, batch: int = 20, rate: float = 3e-3, seed: int = 0,
    **shape: int,
) -> Recogniser:  # fmt: skip
    """Adam with one cycle on the CTC loss; batches of sounds of like length, cut to the longest."""
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Recogniser(len(data.classes), width, **shape)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    order = data.x.length.argsort(stable=True)
    wanted = transcripts(data.y)
    net.train()
    for _ in range(steps):
        start = int(torch.randint(max(1, len(order) - batch + 1), (), generator=rng))
        rows = order[start : start + batch]
        x, t = data.x.take(rows), wanted.take(rows)
        sound = x.data[:, : int(x.length.max())]
        sound = sound + 0.01 * torch.rand(len(x), 1, generator=rng) * torch.randn(
            sound.shape, generator=rng
        )
        x = Ragged(sound, x.length)
        scores, frames = net(x.data * x.mask, x.length)
        loss = ctc_loss(scores.log_softmax(2).transpose(0, 1), t.data, frames, t.length)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    return net.eval()


class WordCnn(nn.Module):
    """Kim's word CNN: ids (N, L), 0 padding -> (N, K). Windows that hold only padding do not count."""

    def __init__(self, vectors: Tensor, classes: int, width: int = 48) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(vectors.clone(), freeze=False, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(vectors.shape[1], width, k) for k in (2, 3, 4))
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(3 * width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        inside = (ids != 0).unsqueeze(1)
        h = self.words(ids).transpose(1, 2) * inside
        length = inside.sum(2, keepdim=True)
        pooled = []
        for conv in self.convs:
            k = conv.kernel_size[0]
            out = conv(nn.functional.pad(h, (k - 1, k - 1))).relu()
            seen = torch.arange(out.shape[2], device=ids.device) < length + k - 1
            pooled.append((out * seen).amax(2))
        return self.head(self.drop(torch.cat(pooled, 1)))


def train_words(
    vectors: Tensor, data: Dataset, epochs: int, width: int = 48, rate: float = 2e-3, seed: int = 0
) -> WordCnn:
    """Adam with one cycle on shuffled batches of 50."""
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = WordCnn(vectors, len(data.classes), width)
        optimiser = torch.optim.Adam(net.parameters(), rate)
        steps = epochs * -(-len(data) // 50)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
        net.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(data), generator=rng).split(50):
                x = data.x.take(rows)
                loss = cross_entropy(net(x.data[:, : int(x.length.max())]), data.y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    return net.eval()
