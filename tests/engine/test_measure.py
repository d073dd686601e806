"""The runner of metrics: clean accuracy first, batches within, refusals as notes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Generator, Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NeedsError
from holdfast.core.kinds import Metric
from holdfast.core.record import Measurement, ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.core.target import Answers, Nothing, Scores
from holdfast.engine.case import Case
from holdfast.engine.measure import assess, too_few
from tests.toys import LinearTarget


@dataclass(frozen=True)
class Share(Metric[Scores]):
    """Share of answers that are class 1, the mean score, and a group that is too small."""

    def measure(self, target: Scores, data: Dataset, rng: Generator) -> Iterator[Measurement]:
        answer = target.answer(data.tensor)
        yield Measurement("share", float((answer == 1).double().mean()), len(data))
        yield Measurement("score", float(target.scores(data.tensor)[:, 1].mean()), len(data))
        yield Measurement("draw", float(torch.rand(1, generator=rng)), 1)
        yield too_few("sex=2", 7)


@dataclass(frozen=True)
class Blindfold(Metric[Nothing]):
    """Looks at the data alone."""

    def measure(self, target: None, data: Dataset, rng: Generator) -> Iterator[Measurement]:
        assert target is None
        yield Measurement("rows", float(len(data)), len(data))


@dataclass
class Small:
    """Refuses more than 4 rows at once."""

    space: Box = field(default_factory=Box)

    def answer(self, x: Tensor) -> Tensor:
        assert len(x) <= 4
        return LinearTarget.two_class(3).answer(x)

    def scores(self, x: Tensor) -> Tensor:
        assert len(x) <= 4
        return LinearTarget.two_class(3).scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.argmax(1)


def case(target: object) -> Case:
    x = torch.tensor([0.1, 0.6, 0.7, 0.8, 0.2, 0.9])[:, None].expand(6, 3).clone()
    data = Dataset("line", x, torch.tensor([0, 1, 1, 0, 0, 1]), ("a", "b"))
    return Case(target, data, ThreatModel("Scores"))


def test_clean_accuracy_comes_first_and_rows_pass_in_batches() -> None:
    got = assess(Share(), case(Small()), Run(batch_size=4))
    found = {m.name: m.value for m in got.measurements}
    assert next(iter(found)) == "clean accuracy"
    assert found["clean accuracy"] == pytest.approx(5 / 6)
    assert found["share"] == pytest.approx(4 / 6)
    assert found["score"] == pytest.approx(0.05, abs=1e-6)
    assert (got.rows, got.forwards, got.backwards) == (6, 12, 0)


def test_what_has_too_few_rows_is_a_note_and_no_number() -> None:
    got = assess(Share(), case(Small()), Run(batch_size=4))
    assert got.notes == ("sex=2: 7 rows are too few for a rate, left out",)
    assert {m.name for m in got.measurements} == {"clean accuracy", "share", "score", "draw"}


def test_the_seed_reaches_the_metric() -> None:
    one, again, other = (
        assess(Share(), case(Small()), Run(seed=s, batch_size=4)) for s in (0, 0, 1)
    )
    assert one.measurements == again.measurements != other.measurements


def test_a_metric_of_data_needs_no_model_and_others_need_what_they_declare() -> None:
    assert assess(Blindfold(), case(None), Run()).measurements == (Measurement("rows", 6.0, 6),)

    class Answering:
        space = Box()

        def answer(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), dtype=torch.long)

    assert isinstance(Answering(), Answers)
    with pytest.raises(NeedsError):
        assess(Share(), case(Answering()), Run())
