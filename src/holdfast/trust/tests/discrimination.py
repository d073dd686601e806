"""Group fairness: demographic parity (Dwork et al. 2012) and equalised odds (Hardt et al. 2016)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, MissingExtra, NotApplicable
from holdfast.core.kinds import Metric
from holdfast.core.method import hyper, method
from holdfast.core.record import Measurement
from holdfast.core.target import Answers
from holdfast.engine.case import rate
from holdfast.engine.measure import too_few


@method(cites="hardt2016", where="def. 2.1; sec. 1 on demographic parity", extra="fair")
@dataclass(frozen=True)
class Discrimination(Metric[Answers]):
    """Group fairness: demographic parity and equalised odds.

    With A the sensitive attribute, Y the truth and Y' the answer, both "is the class selected":

    demographic parity difference = max_a P(Y'=1 | A=a) - min_a P(Y'=1 | A=a)
    equalised odds difference     = max_y [ max_a P(Y'=1 | A=a, Y=y) - min_a P(Y'=1 | A=a, Y=y) ]

    Groups of fewer than `smallest` rows are left out and named, and so are rates of fewer positives
    or negatives, without which equalised odds are not judged. Differences are at least zero, so
    on a fair model they still come out a little above it; their intervals are percentiles over
    resampled rows. Where base rates differ between groups, no model can satisfy both notions.
    """

    selected: int = hyper(1, "the class that a decision depends on; class 1 of two", low=0)
    smallest: int = hyper(30, "ours: a rate of fewer rows has an interval wider than 0.3", low=1)
    resamples: int = hyper(1000, "Efron & Tibshirani 1993, sec. 13.3: for percentiles", low=1)

    def measure(self, target: Answers, data: Dataset, rng: Generator) -> Iterator[Measurement]:
        if not data.groups:
            raise NotApplicable("needs sensitive attributes of the rows, and the data has none")
        if self.selected >= len(data.classes):
            fix = f"give a class from 0 to {len(data.classes) - 1}"
            raise InputError("class that counts as selected", got=self.selected, fix=fix)
        truth, answer = data.y == self.selected, target.answer(data.tensor) == self.selected
        judged = False
        for attribute, codes in data.groups.items():
            sizes = {int(code): int((codes == code).sum()) for code in codes.unique()}
            for code, n in sizes.items():
                if n < self.smallest:
                    yield too_few(f"{attribute}={code}", n)
            large = [code for code, n in sizes.items() if n >= self.smallest]
            if len(large) < 2:
                continue
            judged = True
            rows = torch.isin(codes, torch.tensor(large)).nonzero().flatten()
            yield from self._judge(attribute, truth[rows], answer[rows], codes[rows], rng)
        if not judged:
            raise NotApplicable(f"no attribute has two groups of at least {self.smallest} rows")

    def _judge(
        self, attribute: str, truth: Tensor, answer: Tensor, codes: Tensor, rng: Generator
    ) -> Iterator[Measurement]:
        """Rates of every group, then Fairlearn's differences with percentile intervals."""
        try:
            from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
        except ModuleNotFoundError as error:
            raise MissingExtra("fairlearn", "fair") from error
        known = True
        for code in codes.unique().tolist():
            mine, part = codes == code, f"{attribute}={code}"
            yield rate("selection rate", answer[mine], part=part)
            for name, of, rows in (
                ("true positive rate", "positives", mine & truth),
                ("false positive rate", "negatives", mine & ~truth),
            ):
                if int(rows.sum()) >= self.smallest:
                    yield rate(name, answer[rows], part=part)
                else:
                    known = False
                    yield too_few(f"{of} of {part}", int(rows.sum()))
        parity, odds = gaps(_resampled(_table(truth, answer, codes), self.resamples, rng))
        y, got, group = truth.numpy(), answer.numpy(), codes.numpy()
        value = float(demographic_parity_difference(y, got, sensitive_features=group))
        low, high = (float(v) for v in np.quantile(parity, [0.025, 0.975]))
        yield Measurement("demographic parity difference", value, len(y), low, high, attribute)
        if known:
            value = float(equalized_odds_difference(y, got, sensitive_features=group))
            low, high = (float(v) for v in np.nanquantile(odds, [0.025, 0.975]))
            yield Measurement("equalized odds difference", value, len(y), low, high, attribute)


def _table(truth: Tensor, answer: Tensor, codes: Tensor) -> npt.NDArray[np.int64]:
    """Counts (groups, truth, answer)."""
    _, group = codes.unique(return_inverse=True)
    cell = 4 * group + 2 * truth.long() + answer.long()
    counts: npt.NDArray[np.int64] = torch.bincount(
        cell, minlength=4 * (int(group.max()) + 1)
    ).numpy()
    return counts.reshape(-1, 2, 2)


def _resampled(table: npt.NDArray[np.int64], count: int, rng: Generator) -> npt.NDArray[np.int64]:
    """Tables (count, groups, 2, 2) of rows drawn with replacement: multinomial in the cells."""
    seed = int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
    total = int(table.sum())
    drawn = np.random.default_rng(seed).multinomial(total, table.ravel() / total, size=count)
    return drawn.reshape(count, *table.shape)


def gaps(tables: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Demographic parity and equalised odds difference of tables (..., groups, truth, answer)."""
    with np.errstate(invalid="ignore"):  # 0 / 0 is no rate: NaN, and left out
        selection = tables[..., 1].sum(-1) / tables.sum((-1, -2))
        given = tables[..., 1] / tables.sum(-1)
    return _range(selection), _range(np.swapaxes(given, -1, -2)).max(-1)


def _range(rates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Largest minus smallest over the last axis."""
    return np.asarray(rates.max(-1) - rates.min(-1))
