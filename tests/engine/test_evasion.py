"""The evasion engine: what it believes, whom it lets go, and what it reports."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import torch

from holdfast.core.dataset import Dataset
from holdfast.core.errors import InputError, NeedsError, NotApplicable
from holdfast.core.goal import AwayFrom
from holdfast.core.kinds import Candidate, EvasionAttack
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.core.space import Box, Budget
from holdfast.core.target import Answers, Gradients
from holdfast.engine.case import Case
from holdfast.engine.curve import assess
from holdfast.engine.evasion import attack
from holdfast.evasion.attacks.hop_skip_jump import HopSkipJump
from holdfast.evasion.attacks.pgd import PGD
from holdfast.ops.rows import take
from tests.toys import LinearTarget

LINE = LinearTarget.two_class(features=1)
"""Answers 1 exactly where the only feature is above one half."""
ZERO = AwayFrom(torch.zeros(1, dtype=torch.long))
FREE = torch.inf


@dataclass(frozen=True)
class Script(EvasionAttack[Answers]):
    """Proposes the given points with the given claims, whatever the engine answers."""

    points: tuple[tuple[float, float], ...] = ()

    def run(self, target, x, goal, budget, rng):
        for value, claim in self.points:
            yield Candidate(torch.full_like(x, value), torch.full((len(x),), claim))


@dataclass(frozen=True)
class Walk(EvasionAttack[Answers]):
    """Moves every row up by a tenth a step; notes how many rows it works on."""

    drops: bool = True
    seen: list[int] = field(default_factory=list)

    def run(self, target, x, goal, budget, rng):
        for _ in range(5):
            x = x + 0.1
            self.seen.append(len(x))
            keep = yield Candidate(x, goal.degree(target.answer(x)))
            if self.drops:
                x, goal = take(keep, x, goal)


def follow(*points: tuple[float, float], eps: float = FREE) -> float:
    got = attack(Script(points), LINE, torch.zeros(1, 1), ZERO, Budget("linf", eps), Run())
    return round(float(got.x), 4)


def test_the_closest_of_equal_degrees_is_kept_whenever_it_came() -> None:
    assert follow((0.9, 1.0), (0.6, 1.0), (0.8, 1.0)) == 0.6


def test_a_larger_degree_beats_a_smaller_distance() -> None:
    assert follow((0.1, 0.0), (0.9, 1.0), (0.2, 0.0)) == 0.9


def test_under_a_bound_the_first_success_ends_the_search() -> None:
    assert follow((0.9, 1.0), (0.6, 1.0), eps=1.0) == 0.9


def test_candidates_outside_of_the_ball_are_not_believed() -> None:
    assert follow((0.9, 1.0), (0.2, 1.0), eps=0.3) == 0.2
    assert follow((float("nan"), 1.0), (0.2, 1.0), eps=0.3) == 0.2


def test_where_nothing_was_reached_the_clean_input_stands() -> None:
    assert follow((0.9, 1.0), (0.2, 0.0), eps=0.3) == 0.0


@pytest.mark.parametrize("measure", ["linf", "l2", "l1", "l0", "any"])
@pytest.mark.parametrize("nowhere", [float("nan"), torch.inf])
def test_an_input_that_is_no_number_is_not_believed_however_change_is_counted(
    measure, nowhere
) -> None:
    """Of NaN scores the first class is the answer, so that class 1 would have been left."""
    ones, x = AwayFrom(torch.ones(1, dtype=torch.long)), torch.full((1, 1), 0.6)
    for eps in (1.0, FREE):
        got = attack(Script(((nowhere, 1.0),)), LINE, x, ones, Budget(measure, eps), Run())
        assert got.x.item() == pytest.approx(0.6)
        assert not got.success


def test_rows_misread_as_they_are_leave_a_search_for_the_smallest_change_at_once() -> None:
    x = torch.tensor([[0.45], [0.55], [0.35]])

    @dataclass(frozen=True)
    class FromHere(Walk):
        def run(self, target, x, goal, budget, rng):
            keep = yield Candidate(x, goal.degree(target.answer(x)))
            yield from Walk.run(self, target, *take(keep, x, goal), budget, rng)

    method = FromHere()
    goal = AwayFrom(torch.zeros(3, dtype=torch.long))
    got = attack(method, LINE, x, goal, Budget("linf", FREE), Run())
    assert method.seen == [2] * 5
    assert got.distance.tolist() == pytest.approx([0.1, 0.0, 0.2], abs=1e-6)
    idle = attack(
        FromHere(), LINE, x[1:2], goal.take(torch.tensor([1])), Budget("linf", FREE), Run()
    )
    assert idle.forwards == 1


def test_a_lying_attack_is_caught() -> None:
    x = torch.zeros(4, 1)
    liar = Script(((0.1, 1.0),))
    goal = AwayFrom(torch.zeros(4, dtype=torch.long))
    got = attack(liar, LINE, x, goal, Budget("linf", 0.2), Run())
    assert not got.success.any()
    assert (got.degree == 0).all()
    data = Dataset("line", x, goal.labels, ("low", "high"))
    threat = ThreatModel("Answers", measure="linf", eps=(0.2,))
    evidence = assess(liar, Case(LINE, data, threat), Run())
    found = {m.name: m.value for m in evidence.measurements}
    assert found["robust accuracy"] == 1.0


@pytest.mark.parametrize("drops", [True, False])
def test_rows_that_reached_the_goal_leave_and_the_rest_keep_their_places(drops: bool) -> None:
    x = torch.tensor([[0.45], [0.05], [0.25], [0.35]])
    goal = AwayFrom(torch.zeros(4, dtype=torch.long))
    method = Walk(drops)
    got = attack(method, LINE, x, goal, Budget("linf", 1.0), Run())
    assert torch.allclose(got.x.flatten(), torch.tensor([0.55, 0.55, 0.55, 0.55]), atol=1e-6)
    assert torch.allclose(got.distance, torch.tensor([0.1, 0.5, 0.3, 0.2]), atol=1e-6)
    assert method.seen == ([4, 3, 2, 1, 1] if drops else [4] * 5)
    assert got.forwards == sum(method.seen)


def test_a_row_that_leaves_lowers_what_the_others_are_charged() -> None:
    x = torch.tensor([[0.45], [0.05]])
    goal = AwayFrom(torch.zeros(2, dtype=torch.long))
    budget = Budget("linf", 1.0)
    assert attack(Walk(), LINE, x, goal, budget, Run(queries=5)).success.tolist() == [True, True]
    assert attack(Walk(), LINE, x, goal, budget, Run(queries=4)).success.tolist() == [True, False]


def test_batches_do_not_change_the_outcome_of_a_deterministic_attack() -> None:
    target = LinearTarget.random(8, 3)
    x = torch.rand(23, 8, generator=torch.Generator().manual_seed(0))
    goal, budget = AwayFrom(target.answer(x)), Budget("linf", 0.1)
    method = PGD(steps=5, random_start=False)
    whole, parts = (
        attack(method, target, x, goal, budget, Run(batch_size=size)) for size in (100, 5)
    )
    assert torch.allclose(whole.x, parts.x, atol=1e-6)
    assert torch.equal(whole.success, parts.success)
    assert (whole.forwards, whole.backwards) == (parts.forwards, parts.backwards)


def test_progress_counts_rows_and_no_rows_are_fine() -> None:
    told: list[tuple[int, int]] = []
    run = Run(batch_size=2, progress=lambda done, total: told.append((done, total)))
    goal = AwayFrom(torch.zeros(5, dtype=torch.long))
    attack(Walk(), LINE, torch.zeros(5, 1), goal, Budget("linf", 1.0), run)
    assert told == [(2, 5), (4, 5), (5, 5)]
    none = AwayFrom(torch.zeros(0, dtype=torch.long))
    got = attack(Walk(), LINE, torch.zeros(0, 1), none, Budget("linf", 1.0), Run())
    assert len(got.x) == len(got.success) == 0


def test_a_method_sees_only_the_access_it_declared() -> None:
    @dataclass(frozen=True)
    class Greedy(EvasionAttack[Answers]):
        def run(self, target, x, goal, budget, rng) -> Iterator[Candidate]:
            yield Candidate(x, target.gradient(x, goal.loss).raw[:, 0])

    with pytest.raises(AttributeError, match="gradient"):
        attack(Greedy(), LINE, torch.zeros(1, 1), ZERO, Budget("linf", 1.0), Run())

    class Closed:
        space = LINE.space

        def answer(self, x: torch.Tensor) -> torch.Tensor:
            return LINE.answer(x)

    with pytest.raises(NeedsError, match="needs gradients"):
        attack(PGD(), Closed(), torch.zeros(1, 1), ZERO, Budget("linf", 1.0), Run())
    assert not isinstance(Closed(), Gradients)


def curve(method: EvasionAttack, rows: int, eps: tuple[float, ...]) -> dict[str, Callable]:
    """Measured and exact robust accuracy of a linear model, by budget."""
    plain = LinearTarget.random(8, 2)
    target = LinearTarget(plain.weight, plain.bias, Box(-3.0, 4.0))  # the box cuts no way short
    x = 0.3 + 0.4 * torch.rand(rows, 8, generator=torch.Generator().manual_seed(0))
    y = target.answer(x)
    y[: rows // 10] = 1 - y[: rows // 10]  # clean errors
    threat = ThreatModel("Gradients", measure="l2", eps=eps)
    case = Case(target, Dataset("linear", x, y, ("a", "b")), threat)
    evidence = assess(method, case, Run())
    distance = target.distance(x, "l2")
    right = target.answer(x) == y
    return {
        "evidence": evidence,
        "measured": [m for m in evidence.measurements if m.name == "robust accuracy"],
        "exact": [float((right & (distance > e)).float().mean()) for e in eps],
    }


@pytest.mark.parametrize("method", [PGD(), HopSkipJump(iterations=8)], ids=["within", "minimal"])
def test_the_security_curve_is_the_closed_form_one(method) -> None:
    found = curve(method, 60, (0.2, 0.4, 0.6, 0.8, 1.0))
    values = [m.value for m in found["measured"]]
    assert values == sorted(values, reverse=True)
    for value, exact in zip(values, found["exact"], strict=True):
        assert exact - 1e-6 <= value <= exact + 0.05  # never below: no change is smaller
    assert values[0] > 0.6
    assert values[-1] < 0.2
    assert [m.part for m in found["measured"]] == [
        f"eps={e}" for e in ("0.2", "0.4", "0.6", "0.8", "1")
    ]


def test_only_rows_that_the_model_gets_right_are_attacked_but_all_are_counted() -> None:
    found = curve(PGD(steps=3), 60, (0.05, 0.1))
    assert found["evidence"].rows == 54
    clean = found["evidence"].measurements[0]
    assert (clean.name, clean.value, clean.n) == ("clean accuracy", 0.9, 60)
    assert all(m.n == 60 for m in found["measured"])
    assert all(m.low < m.value < m.high for m in found["measured"])


def test_random_noise_of_the_same_size_stands_beside_every_budget() -> None:
    found = curve(PGD(), 60, (0.1, 0.4))
    noise = [m for m in found["evidence"].measurements if m.name == "accuracy under random noise"]
    assert [m.part for m in noise] == ["eps=0.1", "eps=0.4"]
    assert all(n.value >= m.value for n, m in zip(noise, found["measured"], strict=True))


def test_examples_that_are_shown_are_misread_within_budget() -> None:
    kept = curve(PGD(), 60, (0.4, 0.8))["evidence"].tensors
    assert 0 < len(kept["clean"]) <= 8
    assert (kept["answers"] != kept["labels"]).all()
    assert ((kept["adversarial"] - kept["clean"]).norm(dim=1) <= 0.8 * (1 + 1e-4)).all()


def test_a_measure_that_the_method_lacks_is_not_applicable() -> None:
    data = Dataset("line", torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), ("low", "high"))
    threat = ThreatModel("Answers", measure="l1", eps=(0.2,))
    with pytest.raises(NotApplicable, match="l1"):
        assess(HopSkipJump(), Case(LINE, data, threat), Run())


def test_the_order_in_which_budgets_are_named_does_not_change_the_curve() -> None:
    """A row that falls at 1.5 may have fallen at 0.2, too: the larger budget must not hide it."""
    orders = ((0.2, 0.6, 1.5), (1.5, 0.2, 0.6, 0.6))
    up, down = (curve(PGD(), 40, eps)["measured"] for eps in orders)
    assert up == down
    assert up[0].value > up[-1].value


def test_a_curve_needs_budgets_from_zero_on() -> None:
    x = torch.full((3, 1), 0.2)
    data = Dataset("line", x, torch.zeros(3, dtype=torch.long), ("low", "high"))
    for eps, error, words in (((), NotApplicable, "eps"), ((0.1, -0.1), InputError, "zero")):
        case = Case(LINE, data, ThreatModel("Gradients", measure="linf", eps=eps))
        with pytest.raises(error, match=words):
            assess(PGD(), case, Run())


def test_rows_for_which_a_minimal_search_finds_nothing_are_told() -> None:
    """The model answers 0 everywhere, so there is no boundary to find."""
    blind = LinearTarget(torch.zeros(1, 2), torch.tensor([1.0, 0.0]))
    data = Dataset("line", torch.rand(3, 1), torch.zeros(3, dtype=torch.long), ("low", "high"))
    case = Case(blind, data, ThreatModel("Answers", measure="l2", eps=(0.1,)))
    (note,) = assess(HopSkipJump(iterations=1, init_trials=3), case, Run()).notes
    assert note.startswith("for 3 rows")
