"""A bank of models, trained all at once, is as good as models trained one by one."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from holdfast.core.dataset import Dataset
from holdfast.targets.training import ClassifierRecipe


def blobs(n: int, seed: int = 0) -> Dataset:
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = torch.rand(n, 4, generator=rng) + torch.eye(3, 4)[y] * 0.5
    return Dataset("blobs", x, y, ("a", "b", "c"))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def test_each_bank_model_equals_an_ordinary_run_when_the_order_of_rows_cannot_matter() -> None:
    """One batch holds all rows, so both sides take the same steps from the same weights."""
    data, recipe = blobs(30), ClassifierRecipe(mlp, epochs=15, rate=1e-2, batch=64)
    member = torch.rand(4, 30, generator=torch.Generator().manual_seed(1)) < 0.5
    bank = recipe.bank(data, member, data.tensor, seed=7)
    for m, row in enumerate(member):
        alone = recipe.train(data.take(row.nonzero().flatten()), 7 + m).scores(data.tensor)
        torch.testing.assert_close(bank[m], alone, atol=1e-4, rtol=1e-3)


def test_bank_models_are_as_accurate_as_an_ordinary_one(digits, recipe) -> None:
    train, test = digits
    data = train.first(600)
    member = torch.ones(3, 600, dtype=torch.bool)
    scores = recipe.bank(data, member, test.tensor, seed=0)
    bank = (scores.argmax(2) == test.y).float().mean(1)
    alone = float((recipe.train(data, 0).answer(test.tensor) == test.y).float().mean())
    assert alone > 0.85
    assert (bank - alone).abs().max() < 0.05


def test_rows_that_a_model_was_trained_on_have_the_smaller_loss() -> None:
    data = blobs(60)
    noise = torch.randint(3, (60,), generator=torch.Generator().manual_seed(2))
    data, recipe = data.with_rows(data.x, noise), ClassifierRecipe(mlp, epochs=60, rate=2e-2)
    member = torch.rand(6, 60, generator=torch.Generator().manual_seed(3)) < 0.5
    scores = recipe.bank(data, member, data.tensor, seed=0)
    losses = torch.stack([cross_entropy(s, data.y, reduction="none") for s in scores])
    assert losses[member].mean() < 0.7 * losses[~member].mean()


@pytest.mark.parametrize("few", [2, 5])
def test_no_member_is_left_out_when_sets_differ_in_size(few: int) -> None:
    """The large set's last row is the only one of its class: the model must have seen it."""
    data = blobs(41)
    y = torch.zeros(41, dtype=torch.long)
    y[40] = 2
    x = data.tensor.clone()
    x[40] = torch.tensor([3.0, 3.0, 3.0, 3.0])
    data = data.with_rows(x, y)
    member = torch.zeros(2, 41, dtype=torch.bool)
    member[0, 40] = True  # row 40 and few - 1 more
    member[0, : few - 1] = True
    member[1] = True
    scores = ClassifierRecipe(mlp, epochs=200, rate=2e-2, batch=16).bank(data, member, x, 0)
    assert (scores.argmax(2)[:, 40] == 2).all()
    assert (scores.argmax(2)[:, 0] == 0).all()


def test_models_with_batch_norm_are_trained_one_by_one() -> None:
    recipe = ClassifierRecipe(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)), 3
    )
    data, member = blobs(20), torch.ones(2, 20, dtype=torch.bool)
    bank = recipe.bank(data, member, data.tensor, seed=5)
    assert torch.equal(bank[1], recipe.train(data, 6).scores(data.tensor))


def test_the_same_seed_gives_the_same_bank_and_leaves_the_global_stream_alone() -> None:
    data, recipe = blobs(20), ClassifierRecipe(mlp, epochs=2, batch=8)
    member = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)) < 0.5
    before = torch.random.get_rng_state()
    first, again, other = (recipe.bank(data, member, data.tensor, s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_digest_tells_architectures_and_settings_apart() -> None:
    one = ClassifierRecipe(mlp)
    assert one.digest == ClassifierRecipe(mlp).digest
    assert one.digest != ClassifierRecipe(mlp, epochs=3).digest
    assert one.digest != ClassifierRecipe(lambda: nn.Linear(4, 3)).digest


def test_a_row_that_is_left_over_does_not_stop_batch_normalisation() -> None:
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    target = ClassifierRecipe(normed, epochs=2, batch=4).train(blobs(9), 0)
    assert target.scores(blobs(9).tensor).isfinite().all()


class Reads(nn.Module):
    """Reads a row value by value."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.last = nn.GRU(1, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.read(x.unsqueeze(2))[0][:, -1])


@pytest.mark.parametrize(
    "factory",
    [
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 2, 2)), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(4, 3)
        ),
        Reads,
    ],
)
def test_models_that_cannot_be_stacked_are_trained_one_by_one(factory) -> None:
    recipe = ClassifierRecipe(factory, epochs=2)
    data, member = blobs(20), torch.ones(2, 20, dtype=torch.bool)
    bank = recipe.bank(data, member, data.tensor, seed=5)
    assert torch.equal(bank[1], recipe.train(data, 6).scores(data.tensor))


class Dropping(nn.Module):
    """Dropout by function, which no list of layers shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(nn.functional.dropout(self.first(x).relu(), 0.5, self.training))


def test_a_bank_with_dropout_in_a_function_repeats_itself_and_answers_without_it() -> None:
    recipe, data = ClassifierRecipe(Dropping, epochs=2), blobs(20)
    member, state = torch.ones(2, 20, dtype=torch.bool), torch.random.get_rng_state()
    twice = torch.cat([data.tensor, data.tensor])
    bank, again = (recipe.bank(data, member, twice, seed=5) for _ in range(2))
    assert torch.equal(bank, again)
    assert torch.allclose(bank[:, :20], bank[:, 20:], atol=1e-6)
    assert torch.equal(torch.random.get_rng_state(), state)
