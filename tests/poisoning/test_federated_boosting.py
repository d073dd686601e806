"""Boosting: after averaging with idle clients exactly the malicious update is left."""

import pytest
import torch

from holdfast.backdoor.defences.trimmed_mean import TrimmedMean
from holdfast.poisoning.attacks.federated_boosting import FederatedBoosting


@pytest.mark.parametrize("clients", [2, 10])
def test_the_mean_with_idle_clients_is_the_malicious_update(clients: int) -> None:
    rng = torch.Generator().manual_seed(0)
    update = torch.randn(7, generator=rng)
    sent = FederatedBoosting().tamper(update, clients, rng)
    updates = torch.cat([sent.unsqueeze(0), torch.zeros(clients - 1, 7)])
    torch.testing.assert_close(updates.mean(0), update)


def test_half_a_boost_leaves_half_of_the_update() -> None:
    rng = torch.Generator().manual_seed(0)
    sent = FederatedBoosting(boost=0.5).tamper(torch.ones(3), 4, rng)
    assert sent.tolist() == [2.0, 2.0, 2.0]


def test_the_median_of_honest_clients_does_not_hear_it() -> None:
    rng = torch.Generator().manual_seed(0)
    honest = torch.randn(4, 5, generator=rng)
    sent = FederatedBoosting().tamper(torch.full((5,), 9.0), 5, rng)
    got = TrimmedMean().aggregate(torch.cat([honest, sent.unsqueeze(0)]))
    assert (got <= honest.max(0).values).all()
    assert (got >= honest.min(0).values).all()
