"""Texts as word ids, a vocabulary, and words that occur in like company."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError
from holdfast.core.space import Words
from holdfast.data.files import read_bytes
from holdfast.ops.rows import ragged

Texts = tuple[list[list[str]], list[int]]
"""Tokenised texts and their labels."""
PADDING, UNKNOWN = 0, 1
_SPLIT = re.compile(r" ('(?:s|re|ve|ll|d|m)\b)")  # "it 's", as treebanks have it
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[!?$]")


def tokens(text: str) -> list[str]:
    """Lower-case words, numbers and the marks that carry sense."""
    return _TOKEN.findall(_SPLIT.sub(r"\1", text.lower().replace("\\", " ")))


def ag_news(folder: Path, split: str = "train") -> Texts:
    """AG News from `<split>.csv.gz`: title and description; World, Sports, Business, Sci/Tech."""
    content = read_bytes(folder / f"{split}.csv.gz").decode()
    rows = list(csv.reader(io.StringIO(content, newline="")))
    if any(len(row) != 3 or row[0] not in {"1", "2", "3", "4"} for row in rows):
        raise InputError(f"{folder / split}.csv.gz must have class 1-4, title, description",
                         got="other columns", fix="give AG News' own files")  # fmt: skip
    return [tokens(f"{title} {text}") for _, title, text in rows], [int(row[0]) - 1 for row in rows]


def sst2(folder: Path, split: str = "train") -> Texts:
    """SST-2 sentences from `stsa.binary.<split>.gz`: negative 0, positive 1."""
    content = read_bytes(folder / f"stsa.binary.{split}.gz").decode()
    lines = [line for line in content.split("\n") if line.strip()]
    if any(line[:2] not in ("0 ", "1 ") for line in lines):
        raise InputError(f"stsa.binary.{split}.gz must have a label 0 or 1 before each sentence",
                         got="another form", fix="give SST-2's own files")  # fmt: skip
    return [tokens(line[2:]) for line in lines], [int(line[0]) for line in lines]


@dataclass(frozen=True)
class Vocabulary:
    """Words by id: 0 is padding, 1 any unknown word, then words by frequency."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[list[str]], least: int = 2, most: int = 20_000) -> "Vocabulary":
        """Words that occur at least `least` times; ties in frequency are in alphabetical order."""
        counts = Counter(word for text in texts for word in text)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(("", "[UNK]", *[w for w in ranked if counts[w] >= least][: most - 2]))

    def __len__(self) -> int:
        return len(self.words)

    def dataset(
        self, name: str, texts: Texts, classes: tuple[str, ...], space: Words, longest: int = 64
    ) -> Dataset:
        """Ids of the first `longest` words of each text; an empty text becomes one unknown word."""
        number = {word: i for i, word in enumerate(self.words)}
        rows = [[number.get(word, UNKNOWN) for word in text[:longest]] for text in texts[0]]
        x = ragged([torch.tensor(row or [UNKNOWN]) for row in rows])
        return Dataset(name, x, torch.tensor(texts[1]), classes, space)

    def text(self, ids: Tensor) -> str:
        """Words in a row, for people."""
        return " ".join(self.words[i] for i in ids.tolist())


def word_vectors(
    texts: Iterable[list[str]], vocabulary: Vocabulary, dims: int = 64, window: int = 4
) -> Tensor:
    """(V, D) unit vectors: SVD of positive pointwise mutual information within a window.

    PPMI(w, c) = max(0, log P(w, c) / (P(w) P(c)^0.75)), vectors U sqrt(S) (Levy et al. 2015,
    sec. 3: context smoothing and symmetric eigenvalue weighting). Padding and the unknown word get
    zero. The solver starts from a fixed vector, so that the result repeats.
    """
    number = {word: i for i, word in enumerate(vocabulary.words)}
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for text in texts:
        row = np.array([number.get(word, UNKNOWN) for word in text])
        for gap in range(1, min(window, len(row) - 1) + 1):
            left.append(row[:-gap])
            right.append(row[gap:])
    a, b = np.concatenate(left), np.concatenate(right)
    known = (a > UNKNOWN) & (b > UNKNOWN)
    a, b, size = a[known], b[known], len(vocabulary)
    pairs = sparse.coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (size, size))
    joint = pairs.tocsr().tocoo()
    row_sum = np.asarray(joint.sum(1)).ravel()
    smooth = row_sum**0.75
    logs = np.log(joint.data * smooth.sum() / (row_sum[joint.row] * smooth[joint.col]))
    ppmi = sparse.csr_matrix((np.maximum(logs, 0), (joint.row, joint.col)), (size, size))
    u, s, _ = svds(ppmi, k=min(dims, size - 1), v0=np.ones(size))
    vectors = torch.from_numpy((u * np.sqrt(s)).astype(np.float32))
    return torch.nn.functional.normalize(vectors, dim=1)


def neighbours(vectors: Tensor, count: int, least: float = 0.0) -> Tensor:
    """(V, C) ids of the words nearest by cosine, -1 below `least` and for padding and unknown.

    Near in company is not alike in meaning: antonyms keep the same company. What such replacements
    leave of a text's meaning has to be judged by people.
    """
    rows = []
    real = torch.arange(len(vectors)) > UNKNOWN
    for part in torch.arange(len(vectors)).split(2048):
        cosine = vectors[part] @ vectors.T
        cosine[:, ~real] = -torch.inf
        cosine[torch.arange(len(part)), part] = -torch.inf
        best = cosine.topk(min(count, len(vectors) - 1))
        rows.append(best.indices.masked_fill(best.values < max(least, -1.0), -1))
    found = torch.cat(rows)
    found[~real] = -1
    return found
