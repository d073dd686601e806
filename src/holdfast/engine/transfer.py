"""Attack a target by way of other models of its task: gradients are theirs, answers its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import EvasionAttack
from holdfast.core.run import Run
from holdfast.core.target import Answers, Gradient, Gradients
from holdfast.engine.case import Case, on


@dataclass(frozen=True, eq=False)
class Surrogates:
    """Scores and gradients of surrogates, fused into one; space and answers of the target.

    Attributes:
        target: the model that is to be misled.
        models: other classifiers of the same classes.
        fusion: what is averaged over them: their losses, their scores, or their probabilities.
    """

    target: Answers
    models: tuple[Gradients, ...]
    fusion: str = "losses"

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def answer(self, x: Tensor) -> Tensor:
        """The target's own answers."""
        return self.target.answer(x)

    def scores(self, x: Tensor) -> Tensor:
        """Fused scores of the surrogates."""
        return self._fused([model.scores(x) for model in self.models])

    def decode(self, raw: Tensor) -> Tensor:
        """Answers of the surrogates together."""
        return self.models[0].decode(raw)

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """Gradient of the fused loss, or of the loss of the fused scores; and the fused scores.

        The latter is a sum over the models, each with the scores of the others held fixed.
        """
        if self.fusion == "losses":
            each = [model.gradient(x, loss) for model in self.models]
            mean = torch.stack([one.wrt_input for one in each]).mean(0)
            return Gradient(mean, self._fused([one.raw for one in each]))
        raw = [model.scores(x) for model in self.models]
        total = torch.zeros(())
        for k, model in enumerate(self.models):

            def whole(own: Tensor, k: int = k) -> Tensor:
                return loss(self._fused([*raw[:k], own, *raw[k + 1 :]]))

            total = total.to(x) + model.gradient(x, whole).wrt_input
        return Gradient(total, self._fused(raw))

    def _fused(self, raw: list[Tensor]) -> Tensor:
        """Mean scores, or logarithms of mean probabilities."""
        if self.fusion == "logits":
            return torch.stack(raw).mean(0)
        return torch.stack([one.log_softmax(1) for one in raw]).logsumexp(0) - math.log(len(raw))


def prepared(
    method: EvasionAttack[Any, Any, Any, Any], case: Case, run: Run
) -> tuple[Case, tuple[str, ...]]:
    """The case with surrogates in front of its target where the method transfers, and notes.

    Surrogates are the peers that offer gradients, else models that are trained here by the target's
    recipe on its training rows, from other initial weights.

    Raises:
        NotApplicable: there are no peers and no recipe, or none with gradients.
    """
    if not method.transfers:
        return case, ()
    x = case.rows()
    models = tuple(peer for peer in case.peers if isinstance(peer, Gradients))
    origin = "peers that were given" if models else "trained by its recipe on its training rows"
    if not models:
        recipe, data = case.any_recipe(), on(case.members(), run)
        count = int(cast(int, method.params.get("surrogates", 1)))
        trained = [recipe.train(data, run.seed + 1 + k) for k in range(count)]
        models = tuple(model for model in trained if isinstance(model, Gradients))
    if not models:
        raise NotApplicable("needs surrogates with gradients: peers, or a recipe of such models")
    front = Surrogates(
        cast(Answers, case.target), models, str(method.params.get("fusion", "losses"))
    )
    alike = sum(_alike(front, part.to(run.device)) for part in x.split(run.batch_size))
    note = (
        f"gradients are those of {len(models)} surrogates ({origin}), which answer like the target"
        f" on {alike} of {len(x)} rows; a pass counts once for all of them, and the target itself"
        " was asked for answers only"
    )
    return replace(case, target=front), (note,)


def _alike(front: Surrogates, x: Tensor) -> int:
    """How many rows the surrogates answer as the target does."""
    return int((front.decode(front.scores(x)) == front.answer(x)).sum())
