"""Finding a decision boundary and its normal from yes-or-no answers alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from holdfast.ops import balls
from holdfast.ops.rows import put

AT_ONCE = 512
"""Probes held in memory together; the normal is a sum, so it can be gathered in parts."""
HALVINGS = 30
"""A step is given up at a billionth of its length, where single precision ends."""
FARTHEST = 0.64
"""Relative distance from a guess within which an edge is looked for."""
Draw = Callable[[Tensor, Generator], Tensor]
"""(like, rng) -> noise of that shape, of any length: the law that probes are drawn from."""


@dataclass(frozen=True, eq=False)
class Boundary:
    """The edge of the region where `reached` holds, seen from clean points outside of it.

    All methods take points (M, ...) and, as `rows`, the problem (M,) that each belongs to.

    Attributes:
        reached: points and rows -> (M,) Boolean, asked at the nearest valid points; it costs one
            query for each.
        within: points and rows -> nearest valid points for those rows.
        norm: how distance is measured.
        dims: number of features of one point that may change.
        free: of one point's shape, 1 where it may change and 0 elsewhere; None for everywhere.
    """

    reached: Callable[[Tensor, Tensor], Tensor]
    within: Callable[[Tensor, Tensor], Tensor]
    norm: balls.Norm
    dims: int
    free: Tensor | None = None

    def search(self, x: Tensor, adv: Tensor, rows: Tensor, halvings: int | None = None) -> Tensor:
        """Bisect between x and adv; every point returned was itself seen to hold.

        Without `halvings` the width is D^{-2} of the way for Linf, else D^{-3/2} / 4: within D^{-3/2}
        the estimate of the normal stays nearly unbiased (Chen et al. 2020, sec. IV), and probes across
        the ray meet less of the normal.
        """
        nearest, low, high = adv, adv.new_zeros(len(adv)), adv.new_ones(len(adv))
        if halvings is None:
            size = math.log2(max(2, self.dims))
            halvings = math.ceil(2 * size if self.norm == "linf" else 1.5 * size + 2)
        for _ in range(halvings if len(adv) else 0):
            middle = (low + high) / 2
            point = self._between(x, adv, middle)
            hit = self.reached(point, rows)
            nearest = torch.where(balls.rows(hit, nearest) > 0, point, nearest)
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
        return nearest

    def _between(self, x: Tensor, adv: Tensor, share: Tensor) -> Tensor:
        """The point at `share` of the way from x to adv: on the line, or in the cube around x."""
        if self.norm != "linf":
            return x + balls.rows(share, x) * (adv - x)
        return x + balls.project(adv - x, "linf", share * balls.size(adv - x, "linf"))

    def noise(self, like: Tensor, rng: Generator, draw: Draw | None = None) -> Tensor:
        """Unit draws of the shape of `like`, zero where nothing may change.

        Without `draw` from the cube for Linf and from the normal law otherwise, as in the code of
        Chen et al. 2020.
        """
        if draw:
            noise = draw(like, rng)
        elif self.norm == "linf":
            noise = torch.empty_like(like).uniform_(-1, 1, generator=rng)
        else:
            noise = torch.empty_like(like).normal_(generator=rng)
        return balls.steepest(noise if self.free is None else noise * self.free, "l2")

    def normal(
        self, at: Tensor, rows: Tensor, delta: Tensor, count: int, rng: Generator,
        draw: Draw | None = None, ray: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Sum over `count` unit draws u of (phi(at + delta u) - mean phi) u, phi = 1 or -1.

        Subtracting the mean answer lowers the variance (Chen et al. 2020, sec. III-C). With `ray`,
        unit directions (M, ...), u is made orthogonal to it: what the answers tell is then all of
        the other directions. Only without it is u what the bounds leave of the draw.
        """
        weighted, plain, phi = torch.zeros_like(at), torch.zeros_like(at), torch.zeros_like(delta)
        for part in torch.arange(count).split(max(1, AT_ONCE // max(1, len(at)))):
            if not len(at):
                break
            owner = torch.arange(len(at), device=at.device).repeat_interleave(len(part))
            centre, reach = at[owner], balls.rows(delta[owner], at)
            u = self.noise(centre, rng, draw)
            if ray is None:
                points = self.within(centre + reach * u, rows[owner])
                u = (points - centre) / reach.clamp(min=balls.TINY)
            else:
                line = ray[owner]
                u = torch.addcmul(u, balls.rows((u * line).flatten(1).sum(1), u), line, value=-1)
                u /= balls.rows(balls.size(u, "l2").clamp(min=balls.TINY), u)
                points = torch.addcmul(centre, reach, u)
            sign = (self.reached(points, rows[owner]).to(at.dtype) * 2 - 1).view(len(at), 1, -1)
            each = u.view(len(at), len(part), -1)
            weighted = weighted + (sign @ each).view_as(at)
            plain, phi = plain + each.sum(1).view_as(at), phi + sign.flatten(1).sum(1)
        mean = balls.rows(phi / max(1, count), at)
        return torch.where(mean.abs() == 1, mean * plain, weighted - mean * plain)

    def step(self, at: Tensor, rows: Tensor, way: Tensor, length: Tensor) -> Tensor:
        """Go `length` along `way`, halving it row by row until the point holds."""
        moved, left = at, torch.arange(len(at), device=at.device)
        for _ in range(HALVINGS):
            if not len(left):
                break
            point = at[left] + balls.rows(length[left], at) * way[left]
            hit = self.reached(point, rows[left])
            moved = put(moved, left[hit], point[hit])
            left, length = left[~hit], length / 2
        return moved

    def radius(
        self, path: Callable[[Tensor, Tensor], Tensor], guess: Tensor, rows: Tensor, width: float,
        farther: bool = False, first: float = 0.01,
    ) -> Tensor:  # fmt: skip
        """How far along a path the region begins, near `guess`: (M,), inf where not found.

        The edge is bracketed in steps that double from `first` times the guess, then bisected to
        `width` of it. What is returned was seen to hold.

        Args:
            path: lengths (L,) and positions (L,) in the batch -> points (L, ...).
            guess: (M,) lengths that are tried first.
            rows: (M,) problem of each.
            width: relative width that ends the bisection.
            farther: also look beyond the guess, up to 1.64 times its length; else a guess that
                does not hold costs one query.
            first: relative step that the bracket begins with; a small one saves queries where the
                edge is close to the guess.
        """
        everyone = torch.arange(len(guess), device=guess.device)

        def holds(length: Tensor, which: Tensor) -> Tensor:
            return self.reached(path(length, which), rows[which])

        hit = holds(guess, everyone) if len(guess) else guess > 0
        low, high = guess.masked_fill(hit, 0), guess.masked_fill(~hit, torch.inf)
        left = everyone if farther else everyone[hit]
        for doubling in range(int(math.log2(FARTHEST / first)) + 1):
            if not len(left):
                break
            share = first * 2**doubling
            length = guess[left] * torch.where(hit[left], 1 - share, 1 + share)
            found = holds(length, left)
            high = put(high, left[found], length[found])
            low = put(low, left[~found], length[~found])
            left = left[found == hit[left]]
        left = everyone
        for _ in range(HALVINGS):
            left = left[high[left].isfinite() & (high[left] - low[left] > width * guess[left])]
            if not len(left):
                break
            middle = (low[left] + high[left]) / 2
            found = holds(middle, left)
            high = put(high, left[found], middle[found])
            low = put(low, left[~found], middle[~found])
        return high


def start(
    edge: Boundary, x: Tensor, rows: Tensor, hint: tuple[Tensor, Tensor],
    box: tuple[Tensor, Tensor], rng: Generator, trials: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Guesses (N, ...) that reach the goal, and the rows among `rows` for which one was found.

    The first guess is uniform noise, the second an input at hand that is answered as wanted, where
    one is known. Then come salt and pepper of random density, other inputs and noise, in turn: many
    models answer all uniform noise alike, and rows of that class, or of the larger side of a table's
    boundary, would find no start. Noise is first, as it favours no class: from another input one
    starts nearer but ends farther away.

    Args:
        edge: the boundary, of all N rows.
        x: clean points (N, ...).
        rows: positions of those that want a start.
        hint: inputs at hand (N, ...), and (N,) Boolean where they are of use.
        box: the bounds between which guesses are drawn.
        rng: where they are drawn from.
        trials: how many guesses are made for a row, beside the input at hand.
    """
    (low, high), (other, known) = box, hint
    adv, left = x, rows
    for trial in range(trials):
        if not len(left):
            break
        if trial % 3 == 2:
            guess = x[torch.randint(len(x), (len(left),), generator=rng, device=x.device)]
        else:
            guess = torch.rand((len(left), *x.shape[1:]), generator=rng, device=x.device)
            if trial % 3 == 1:
                density = torch.rand(len(left), generator=rng, device=x.device)
                guess = (guess < balls.rows(density, guess)).to(x.dtype)
            guess = low + (high - low) * guess
        adv, left = _try(edge, adv, left, guess)
        if trial == 0 and known[left].any():
            hinted, rest = left[known[left]], left[~known[left]]
            adv, missed = _try(edge, adv, hinted, other[hinted])
            left = torch.cat([rest, missed]).sort().values
    return adv, rows[~torch.isin(rows, left)]


def _try(edge: Boundary, adv: Tensor, rows: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
    """`adv` with the guesses that reach the goal, and the rows of those that do not."""
    guess = edge.within(guess, rows)
    hit = edge.reached(guess, rows)
    return put(adv, rows[hit], guess[hit]), rows[~hit]
