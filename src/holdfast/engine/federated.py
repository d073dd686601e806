"""Federated learning in one process, with honest clients and malicious ones."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Aggregator, FederatedAttack
from holdfast.core.recipe import TorchRecipe
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.engine.backdoor import right, seed
from holdfast.engine.case import Case, Evidence, on, rate
from holdfast.engine.evasion import answers
from holdfast.engine.lookup import registered

CLIENTS, VICTIMS, ROUNDS = 10, 10, 8
MANY, LONG = 4, 4
"""How many clients, for how many of the last rounds, an attacker brings who knows the rule."""


@dataclass(frozen=True, eq=False)
class Federation:
    """Clients that train one model together; every client counts the same in a round.

    Attributes:
        recipe: how a client trains; in each round it takes the first `epochs` epochs anew.
        clients: one data set each.
        aggregator: how updates are combined, None for their mean.
        epochs: passes over a client's rows per round.
    """

    recipe: TorchRecipe
    clients: tuple[Dataset, ...]
    aggregator: Aggregator | None = None
    epochs: int = 2


@dataclass(frozen=True, eq=False)
class Malice:
    """What malicious clients do: they train to the end of the recipe, on victims as on own rows.

    Attributes:
        method: turns an update into the one that is sent.
        victims: inputs with the labels that they are to get.
        clients: positions of the malicious clients.
    """

    method: FederatedAttack
    victims: Dataset
    clients: tuple[int, ...] = (0,)


def split(data: Dataset, clients: int, run: Run) -> tuple[Dataset, ...]:
    """Disjoint random parts of equal size, up to one row."""
    return tuple(data.take(part) for part in run.order(len(data), "clients").tensor_split(clients))


def one_round(
    federation: Federation, module: nn.Module, number: int, run: Run, malice: Malice | None = None
) -> nn.Module:
    """The global model after one more round; the given one stays as it was.

    Updates are of parameters only. Running statistics are averaged over all clients, as a robust
    rule for weights says nothing about them.
    """
    start = parameters_to_vector(module.parameters()).detach()
    trained, updates = [], []
    for client, data in enumerate(federation.clients):
        local, key = deepcopy(module), seed(run, "client", number, client)
        if malice is None or client not in malice.clients:
            _train(local, data, federation.recipe, federation.epochs, key)
            updates.append(parameters_to_vector(local.parameters()).detach() - start)
        else:
            _train(local, _with_victims(data, malice.victims), federation.recipe, None, key)
            update = parameters_to_vector(local.parameters()).detach() - start
            rng = run.generator("malice", number, client)
            updates.append(malice.method.tamper(update, len(federation.clients), rng))
        trained.append(local)
    stacked = torch.stack(updates)
    rule = federation.aggregator
    change = stacked.mean(0) if rule is None else rule.aggregate(stacked)
    after = deepcopy(module)
    vector_to_parameters(start + change, after.parameters())
    for name, buffer in after.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.stack([each.get_buffer(name) for each in trained]).mean(0))
    return after.eval()


def honest_rounds(federation: Federation, rounds: int, run: Run) -> list[nn.Module]:
    """The global model before the first round and after each, with honest clients only."""
    models = [federation.recipe.build(seed(run, "federation")).to(run.device).eval()]
    for number in range(rounds):
        models.append(one_round(federation, models[-1], number, run))
        run.progress(number + 1, rounds)
    return models


def _with_victims(data: Dataset, victims: Dataset) -> Dataset:
    """As many victim rows as own ones, so that the few are learned too."""
    times = max(1, len(data) // max(1, len(victims)))
    x = torch.cat([data.tensor, *[victims.tensor] * times])
    return replace(data, x=x, y=torch.cat([data.y, *[victims.y] * times]), groups={})


def _train(
    module: nn.Module, data: Dataset, recipe: TorchRecipe, epochs: int | None, key: int
) -> None:
    """The first epochs of the recipe, or all of them, in place."""
    for done, _ in enumerate(recipe.fit(module, data, key), 1):
        if done == epochs:
            break


def assess(method: Aggregator | FederatedAttack, case: Case, run: Run) -> Evidence:
    """Victim success and clean accuracy with and without one malicious client, by mean and by rule.

    The client attacks in the last round, when the model has nearly converged and honest updates
    are small, and chooses victims that the honest federation gets right. For an aggregator the
    attack is explicit boosting, for an attack the rule is the coordinate median. An attacker who
    knows the rule brings 4 of 10 clients for 4 rounds.
    """
    recipe, data, test = case.torch_recipe(), on(case.members(), run), case.test
    if len(data) < 20 * CLIENTS:
        raise NotApplicable(f"needs 20 training rows for each of {CLIENTS} clients")
    rule = method if isinstance(method, Aggregator) else registered("backdoor/trimmed_mean")()
    if isinstance(method, FederatedAttack):
        attack = method
    else:
        attack = cast(FederatedAttack, registered("poisoning/federated_boosting")())
    plain = Federation(recipe, split(data, CLIENTS, run))
    robust = replace(plain, aggregator=rule)
    honest = {
        "mean": honest_rounds(plain, ROUNDS, run),
        "robust": honest_rounds(robust, ROUNDS, run),
    }
    known = torch.stack([right(recipe.wrap(models[-1]), test, run) for models in honest.values()])
    victims, rest = choose(known.all(0), test, run)
    found: list[Measurement] = []

    def judge(module: nn.Module, part: str) -> None:
        target = recipe.wrap(module)
        hit = answers(target, victims.tensor, run) == victims.y
        found.append(rate("victim success", hit, part=part))
        found.append(rate("clean accuracy", right(target, rest, run), part=part))

    one = Malice(attack, on(victims, run))
    for name, federation in (("mean", plain), ("robust", robust)):
        judge(honest[name][-1], f"{name}, no attack")
        shot = one_round(federation, honest[name][-2], ROUNDS - 1, run, one)
        judge(shot, f"{name}, attacked")
        judge(one_round(federation, shot, ROUNDS, run), f"{name}, one honest round later")
    many, module = Malice(attack, on(victims, run), tuple(range(MANY))), honest["robust"][-1 - LONG]
    for number in range(ROUNDS - LONG, ROUNDS):
        module = one_round(robust, module, number, run, many)
    judge(module, f"robust, {MANY} of {CLIENTS} malicious for {LONG} rounds")
    notes = (
        f"{CLIENTS} clients with evenly mixed rows, {ROUNDS} rounds, one simulation;"
        f" {len(victims)} victims; the robust rule is {type(rule).__name__}",
    )
    return Evidence(tuple(found), {}, len(victims), notes=notes)


def choose(known: Tensor, test: Dataset, run: Run) -> tuple[Dataset, Dataset]:
    """Victims with the next class as their wanted label, and the other rows of the test set."""
    rows = known.nonzero().flatten()
    if len(rows) < VICTIMS:
        raise NotApplicable("needs a federation that gets more test rows right")
    rows = rows[run.order(len(rows), "victims")[:VICTIMS]]
    kept = torch.ones(len(test), dtype=torch.bool)
    kept[rows] = False
    victims = test.take(rows)
    wanted = (victims.y + 1) % len(test.classes)
    return victims.with_rows(victims.x, wanted), test.take(kept.nonzero().flatten())
