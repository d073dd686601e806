"""HopSkipJump (Chen, Jordan and Wainwright 2020)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from holdfast.core.goal import Goal
from holdfast.core.kinds import EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget
from holdfast.core.target import Answers
from holdfast.evasion.decisions import begin, hops


@method(cites="chen2020", where="alg. 1 and 2")
@dataclass(frozen=True)
class HopSkipJump(EvasionAttack[Answers]):
    r"""HopSkipJump.

    With phi = 1 where the goal is reached and -1 elsewhere, and D features, each iteration t does

    adv <- boundary between x and adv, searched to a part theta of the way
    v    = sum_b (phi(adv + delta u_b) - mean phi) u_b,   b = 1 .. initial_queries sqrt(t)
    adv <- adv + step steepest(v),   step = |adv - x| / sqrt(t), halved until phi = 1

    where theta = D^{-3/2} / 4 for L2 and D^{-2} for Linf, and delta = |adv - x| / D before the search.
    Two things are ours, for L2. The u_b are orthogonal to adv - x: the search goes that way in any
    case, and late, when the normal lies nearly along it, answers would tell of little else. And adv
    is brought into the box only to be asked about, so that noise does not stir features which were
    pushed beyond their bounds.

    It starts from uniform noise, else from an input at hand that is answered as wanted, else from salt
    and pepper, other inputs and noise in turn.
    """

    minimises = True

    iterations: int = hyper(64, "authors' code, num_iterations", low=1)
    initial_queries: int = hyper(100, "authors' code, B_0", low=2)
    max_queries: int = hyper(10_000, "authors' code, max_num_evals", low=2)
    init_trials: int = hyper(100, "ours: guesses that failed so often keep failing", low=1)

    def run(self, target: Answers, x: Tensor, goal: Goal, budget: Budget, rng: Generator) -> Search:
        hunt = yield from begin(target, x, goal, budget, rng, self.init_trials)
        yield from hops(hunt, self.iterations, self.initial_queries, self.max_queries, rng)
