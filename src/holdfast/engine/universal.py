"""Run any universal attack: made on one half of the data, judged on the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from holdfast.core.dataset import Dataset
from holdfast.core.errors import NotApplicable, QueriesSpent
from holdfast.core.kinds import Delta, UniversalAttack
from holdfast.core.record import Measurement
from holdfast.core.run import Run
from holdfast.core.space import Box
from holdfast.core.target import Answers
from holdfast.engine.case import Case, Evidence, rate
from holdfast.engine.evasion import answers
from holdfast.engine.ledger import Ledger, view
from holdfast.ops.physical import Views

TRIED = 10
"""Wanted classes among which the attacker picks."""
WORLD = Views()
"""The views in which physical changes are judged."""


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


def apply(delta: Delta | None, x: Tensor, target: Any, run: Run, physical: str = "") -> Tensor:
    """Every input with the change in it, valid, each batch at placements of its own.

    Args:
        delta: the change, None for none.
        x: (N, ...) inputs.
        target: whose space says what is valid.
        run: seed, batch and device.
        physical: where the change is: on the "object", and a random view shows both; on the
            "lens", and lies over the view; "" for no views.
    """
    parts = []
    for start in range(0, len(x), run.batch_size):
        rng = run.generator("place", start)
        clean = x[start : start + run.batch_size].to(run.device)
        looks = run.generator("view", start)
        scene = _seen(clean, target.space, looks) if physical == "lens" else clean
        placed = scene if delta is None else _valid(delta.apply(scene, rng), scene, target.space)
        if physical == "object":
            placed = _seen(placed, target.space, looks)
        parts.append(placed.cpu())
    return torch.cat(parts) if parts else x


def _seen(x: Tensor, space: Any, rng: torch.Generator) -> Tensor:
    """Every image in a random view of its own."""
    if not isinstance(space, Box) or x.ndim != 4:
        raise NotApplicable("is a change in the physical world, which needs images")
    low, high = (torch.as_tensor(v) for v in (space.low, space.high))
    return _valid(WORLD.see(x, rng, float(low.min()), float(high.max())), x, space)


def _valid(placed: Tensor, clean: Tensor, space: Any) -> Tensor:
    """The nearest valid input that keeps what may not be changed."""
    return space.within(placed, clean) if isinstance(space, Box) else placed


def assess(method: UniversalAttack[Any], case: Case, run: Run) -> Evidence:
    """How often one change makes inputs be answered as one wanted class, or just wrongly.

    A method that aims at a class lets the attacker pick it, where the threat model names none: a
    change is made for each of the first ten, and the one that does best on the rows it was made
    from is judged on the others, of other classes and answered rightly without it. Otherwise all
    rows answered rightly are judged, and any wrong answer counts.

    Controls of the same shape stand beside it: random content and, where the change is put over
    inputs to make them a class, a piece of a plain image of that class, whose success is no attack
    but mere presence. An added change is compared with one whose entries have the same sizes and
    random signs. Physical changes are judged in random views, and so are their controls, of which
    one is the views without any change; "digital" is the success without views.
    """
    target, data = cast(Answers, case.target), case.test
    case.rows()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(run.seed))
    own, held = (data.take(part.sort().values) for part in order.tensor_split(2))
    x, before = held.tensor, answers(target, held.tensor, run)
    wanted = case.wanted()
    if wanted is None and method.aims_at_class:
        wanted, crafted = _best_class(method, case, own, run)
    else:
        crafted = craft(method, target, own, wanted, run)
    judged = ((before == held.y) & (held.y != (-1 if wanted is None else wanted))).nonzero()
    judged = judged.flatten()
    if crafted.delta is None or not len(judged):
        raise NotApplicable("needs rows of two classes in both halves, and queries for one step")

    def told(delta: Delta | None, physical: str = method.physical) -> Tensor:
        return answers(target, apply(delta, x, target, run, physical), run)

    def success(name: str, given: Tensor) -> Measurement:
        given = given[judged]
        return rate(name, given != held.y[judged] if wanted is None else given == wanted)

    delta, kept = crafted.delta, dict(crafted.delta.tensors())
    attacked = apply(delta, x, target, run, method.physical)
    given = answers(target, attacked, run)
    measurements = [
        rate("clean accuracy", before == held.y),
        rate(f"accuracy with {method.thing}", given == held.y),
        success("attack success", given),
    ]
    if wanted is None:
        measurements.append(rate("fooling rate", given != before))
    if method.physical:
        bare = told(None)
        measurements += [
            success("attack success, digital", told(delta, "")),
            rate("clean accuracy in views", bare == held.y),
            success(f"success without {method.thing}", bare),
        ]
    for name, content in _controls(method, kept["delta"], own, wanted, run).items():
        measurements.append(success(name, told(delta.refilled(content))))
    hit = given[judged] != held.y[judged] if wanted is None else given[judged] == wanted
    shown = judged[hit][:8]
    tensors = {
        **{name: value.cpu() for name, value in kept.items()},
        "clean": x[shown], "adversarial": attacked[shown], "labels": held.y[shown],
        "answers": given[shown],
    }  # fmt: skip
    note = "any class but the right one is wanted"
    if wanted is not None:
        note = f"the wanted class is {data.classes[wanted]}"
        note += ", where the change worked best when made" if case.wanted() is None else ""
    return Evidence(
        tuple(measurements), tensors, len(judged), crafted.forwards, crafted.backwards, (note,)
    )


def _controls(
    method: UniversalAttack[Any], delta: Tensor, own: Dataset, wanted: int | None, run: Run
) -> Mapping[str, Tensor]:
    """Content of the same shape, by the name of its success."""
    rng, name = run.generator("noise"), f"success of a random {method.thing}"
    noise = torch.rand(delta.shape, generator=rng, device=run.device)
    if method.adds:
        sign = torch.where(noise < 0.5, -1.0, 1.0)
        return {name: delta.abs() * sign.to(delta)}
    x = own.tensor
    controls = {name: noise.cpu() * (x.max() - x.min()) + x.min()}
    if wanted is not None and len(plain := x[own.y == wanted]):
        controls["success of a plain crop"] = _crop(plain[0], delta.shape)
    return controls


def _best_class(
    method: UniversalAttack[Any], case: Case, own: Dataset, run: Run
) -> tuple[int, Crafted]:
    """The class whose change does best on the rows it was made from; passes of all tries.

    Rows that are misread without any change count for no class, as when the change is judged.
    """
    classes = own.y.unique().tolist()[:TRIED]
    right = answers(cast(Answers, case.target), own.tensor, run) == own.y
    silent, best, most, forwards, backwards = run.quiet, None, -1.0, 0, 0
    for done, wanted in enumerate(classes):
        made = craft(method, case.target, own, wanted, silent)
        forwards, backwards = forwards + made.forwards, backwards + made.backwards
        others = own.tensor[right & (own.y != wanted)]
        if made.delta is not None and len(others):
            moved = apply(made.delta, others, case.target, silent, method.physical)
            reached = answers(cast(Answers, case.target), moved, silent) == wanted
            if (share := float(reached.float().mean())) > most:
                best, most = (wanted, made.delta), share
        run.progress(done + 1, len(classes))
    wanted, delta = best or (0, None)
    return wanted, Crafted(delta, forwards, backwards)


def _crop(image: Tensor, shape: torch.Size) -> Tensor:
    """The middle of an image, cut to `shape`."""
    for dim, size in enumerate(shape):
        image = image.narrow(dim, (image.shape[dim] - size) // 2, size)
    return image
