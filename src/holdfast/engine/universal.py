"""Run any universal attack: made on one half of the data, judged on the other."""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable, QueriesSpent
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.run import Run
from holdfast.core.target import Answers
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view

TRIED = 10
"""Wanted classes among which the attacker picks."""


@dataclass(frozen=True, eq=False)
class Crafted:
    """The last change a method yielded, None if it yielded nothing, and what it spent."""

    delta: Delta | None
    forwards: int
    backwards: int


def craft(
    method: UniversalAttack[Any], target: object, data: Dataset, wanted: int | None, run: Run
) -> Crafted:
    """Let the method make its change from `data`, within the allowance of passes per row."""
    ledger, delta, total = Ledger(run.queries, active=len(data)), None, getattr(method, "steps", 0)
    data = data.with_rows(data.tensor.to(run.device), data.y.to(run.device))
    made = method.craft(view(method, target, ledger), data, wanted, run.generator("craft"))
    try:
        for step, delta in enumerate(made):  # noqa: B007  # the last one counts
            run.progress(step + 1, max(total, step + 1))
    except QueriesSpent:  # the best so far stands
        pass
    return Crafted(delta, ledger.forwards, ledger.backwards)


def apply(delta: Delta, x: Tensor, target: Any, run: Run) -> Tensor:
    """Every input with the change in it, valid, each batch at placements of its own."""
    parts = []
    for start in range(0, len(x), run.batch_size):
        rng = run.generator("place", start)
        placed = delta.apply(x[start : start + run.batch_size].to(run.device), rng)
        clamp = getattr(target.space, "clamp", None)
        parts.append((clamp(placed) if clamp else placed).cpu())
    return torch.cat(parts) if parts else x


def assess(method: UniversalAttack[Any], case: Case, run: Run) -> Evidence:
    """How often one change makes inputs of other classes be answered as one wanted class.

    The attacker picks the class: a change is made for each of the first ten, and the one that does
    best on the rows it was made from is judged on the others, of other classes and answered
    rightly without it. Two controls of the same shape stand beside it: random pixels, and pixels
    cut out of a plain image of that class, whose success is no attack but mere presence.
    """
    target, data = cast(Answers, case.target), case.test
    case.rows()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(run.seed))
    own, held = (data.take(part.sort().values) for part in order.tensor_split(2))
    x, right = held.tensor, answers(target, held.tensor, run) == held.y
    wanted, crafted = _best_class(method, case, own, run)
    judged = (right & (held.y != wanted)).nonzero().flatten()
    if crafted.delta is None or not len(judged):
        raise NotApplicable("needs rows of two classes in both halves, and queries for one step")
    delta, kept = crafted.delta, dict(crafted.delta.tensors())
    noise = torch.rand(kept["delta"].shape, generator=run.generator("noise"), device=run.device)
    plain = own.tensor[own.y == wanted][0]
    controls = {
        "success of a random patch": noise.cpu() * (x.max() - x.min()) + x.min(),
        "success of a plain crop": _crop(plain, kept["delta"].shape),
    }
    attacked = apply(delta, x, target, run)
    given = answers(target, attacked, run)
    measurements = [
        rate("clean accuracy", right),
        rate("accuracy with patch", given == held.y),
        rate("attack success", given[judged] == wanted),
    ]
    for name, content in controls.items():
        told = answers(target, apply(delta.refilled(content), x, target, run), run)
        measurements.append(rate(name, told[judged] == wanted))
    shown = judged[given[judged] == wanted][:8]
    tensors = {
        **{name: value.cpu() for name, value in kept.items()},
        "clean": x[shown], "adversarial": attacked[shown], "labels": held.y[shown],
        "answers": given[shown],
    }  # fmt: skip
    note = f"the wanted class is {data.classes[wanted]}, where the change worked best when made"
    return Evidence(
        tuple(measurements), tensors, len(judged), crafted.forwards, crafted.backwards, (note,)
    )


def _best_class(
    method: UniversalAttack[Any], case: Case, own: Dataset, run: Run
) -> tuple[int, Crafted]:
    """The class whose change does best on the rows it was made from; passes of all tries.

    Rows that are misread without any change count for no class, as when the change is judged.
    """
    classes = own.y.unique().tolist()[:TRIED]
    right = answers(cast(Answers, case.target), own.tensor, run) == own.y
    silent, best, most, forwards, backwards = replace(run, progress=_silent), None, -1.0, 0, 0
    for done, wanted in enumerate(classes):
        made = craft(method, case.target, own, wanted, silent)
        forwards, backwards = forwards + made.forwards, backwards + made.backwards
        others = own.tensor[right & (own.y != wanted)]
        if made.delta is not None and len(others):
            moved = apply(made.delta, others, case.target, silent)
            reached = answers(cast(Answers, case.target), moved, silent) == wanted
            if (share := float(reached.float().mean())) > most:
                best, most = (wanted, made.delta), share
        run.progress(done + 1, len(classes))
    wanted, delta = best or (0, None)
    return wanted, Crafted(delta, forwards, backwards)


def _silent(done: int, total: int) -> None:
    """The classes are what is counted, not each one's steps."""


def _crop(image: Tensor, shape: torch.Size) -> Tensor:
    """The middle of an image, cut to `shape`."""
    for dim, size in enumerate(shape):
        image = image.narrow(dim, (image.shape[dim] - size) // 2, size)
    return image
