"""Judging repairs: one that does nothing, and fine-pruning on planted digits."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import Generator, nn

import holdfast.backdoor.attacks.badnets  # noqa: F401  # the attack that repairs are judged by
from holdfast.backdoor.defences.fine_pruning import FinePruning
from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Repair
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.repair import assess
from holdfast.ops.finetune import finetune

THREAT = ThreatModel("Nothing")


@dataclass(frozen=True)
class Nothing(Repair):
    """Hands back a copy."""

    def repair(
        self, module: nn.Module, recipe: TorchRecipe, clean: Dataset, rng: Generator
    ) -> Iterator[nn.Module]:
        yield deepcopy(module)


def found(evidence, name: str, part: str):
    return next(m.value for m in evidence.measurements if (m.name, m.part) == (name, part))


def test_a_repair_that_does_nothing_changes_nothing(digits, digit_target, recipe) -> None:
    evidence = assess(Nothing(), Case(digit_target, digits[1], THREAT, digits[0], recipe), Run())
    for name in ("attack success", "clean accuracy"):
        assert found(evidence, name, "after") == found(evidence, name, "before")
    assert found(evidence, "attack success", "after") > 0.8


def test_fine_pruning_weakens_the_trigger_more_than_the_model(digits, digit_target, recipe) -> None:
    case = Case(digit_target, digits[1], THREAT, digits[0], recipe)
    evidence = assess(FinePruning(), case, Run())
    weaker = found(evidence, "attack success", "before") - found(
        evidence, "attack success", "after"
    )
    lost = found(evidence, "clean accuracy", "before") - found(evidence, "clean accuracy", "after")
    assert weaker > 0.4
    assert lost < 0.15
    parts = {m.part for m in evidence.measurements}
    assert {"fine-tuning only", "after, attacker knows the defence"} <= parts


def test_too_few_rows_or_no_recipe_is_not_applicable(digits, digit_target, recipe) -> None:
    few = Case(digit_target, digits[1], THREAT, digits[0].first(100), recipe)
    with pytest.raises(NotApplicable, match="clean rows"):
        assess(FinePruning(), few, Run())
    with pytest.raises(NotApplicable, match="PyTorch"):
        assess(FinePruning(), Case(digit_target, digits[1], THREAT, digits[0]), Run())


def test_fine_tuning_learns_repeats_itself_and_leaves_no_gradients() -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    state = torch.random.get_rng_state()
    results = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            module = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
        finetune(module, x, y, 30, 0.02, torch.Generator().manual_seed(1))
        assert not module.training
        assert all(p.grad is None for p in module.parameters())
        results.append(module(x))
    assert (results[0].argmax(1) == y).float().mean() > 0.9
    assert torch.equal(results[0], results[1])
    assert torch.equal(torch.random.get_rng_state(), state)
