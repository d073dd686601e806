"""QEBA (Li et al. 2020)."""

from dataclasses import dataclass

from torch import Generator, Tensor
from torch.nn.functional import interpolate

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.evasion.decisions import begin, coarse, hops, low_frequencies


@method(cites="li2020", where="alg. 1, sec. 3.4")
@dataclass(frozen=True)
class QEBA(EvasionAttack[Answers]):
    r"""QEBA.

    HopSkipJump whose estimate of the normal is made of noise from a small subspace W of images:

    v = sum_b (phi(adv + delta W u_b) - mean phi) W u_b,   b = 1 .. initial_queries sqrt(t)

    W is either coarse noise that is enlarged bilinearly (QEBA-S) or noise of low frequencies
    (QEBA-F), both `reduction` times smaller along each side. Normals of image classifiers lie mostly
    in such subspaces, so fewer queries find them. The subspace of a reference model's gradients
    (QEBA-I) needs such a model and is left out. For inputs that are no images W is the whole space.
    What differs in our HopSkipJump differs here too.
    """

    measures = ("l2",)
    minimises = True

    iterations: int = hyper(64, "authors' code of HopSkipJump, num_iterations", low=1)
    subspace: str = hyper("resize", "sec. 5, QEBA-S", choices=("resize", "frequency"))
    reduction: float = hyper(4.0, "sec. 5: 56 of 224 pixels a side", low=1)
    initial_queries: int = hyper(100, "authors' code of HopSkipJump, B_0", low=2)
    max_queries: int = hyper(10_000, "authors' code of HopSkipJump", low=2)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        draw = (
            low_frequencies(1 / self.reduction) if self.subspace == "frequency" else self.enlarged
        )
        yield from hops(hunt, self.iterations, self.initial_queries, self.max_queries, rng, draw)

    def enlarged(self, like: Tensor, rng: Generator) -> Tensor:
        """Coarse noise, enlarged to images of the shape of `like`."""
        if like.ndim != 4:
            return like.new_empty(like.shape).normal_(generator=rng)
        sides = [coarse(side, 1 / self.reduction) for side in like.shape[-2:]]
        noise = like.new_empty(*like.shape[:2], *sides).normal_(generator=rng)
        return interpolate(noise, size=like.shape[-2:], mode="bilinear", align_corners=False)
