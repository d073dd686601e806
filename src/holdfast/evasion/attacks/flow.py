"""Spatially transformed adversarial examples (Xiao et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from holdfast.core.errors import NotApplicable
from holdfast.core.goal import AwayFrom, Goal, of_classes
from holdfast.core.kinds import Candidate, EvasionAttack, Search
from holdfast.core.method import hyper, method
from holdfast.core.space import Budget, of_box
from holdfast.core.target import Gradients
from holdfast.ops.rows import take
from holdfast.ops.transforms import flowed, roughness


@method(cites="xiao2018", where="eq. 1 to 4")
@dataclass(frozen=True)
class Flow(EvasionAttack[Gradients]):
    r"""Flow-based spatial attack (stAdv).

    flow* = argmax min(margin(f(x o flow), y), kappa) - tau sum_p sum_{q next to p} |flow_p - flow_q|

    Every pixel is looked up a little aside, bilinearly; no value is made up. The margin is that of
    the goal, positive when it is reached; the second term keeps neighbours together. No component
    of a flow is longer than max_flow of the shorter side. The paper has no such bound and minimises
    by L-BFGS, one image after the other; here all images take the steps of Adam together and each
    stops as soon as it is misread. A smooth random flow as long as allowed is tried first, and a
    tenth of it is the start. Slopes in the flow are central differences, as bilinear values have
    kinks at whole pixels, where a one-sided slope is blind to what lies on the other side.
    """

    measures = ("any",)

    tau: float = hyper(0.05, "sec. 4.1", low=0)
    kappa: float = hyper(0.0, "eq. 3, as in sec. 4", low=0)
    max_flow: float = hyper(0.1, "ours: share of the shorter side; 3 of 32 pixels", low=0, high=1)
    steps: int = hyper(100, "ours: 30 suffice on 8 x 8 digits", low=1)
    step_size: float = hyper(0.1, "ours: Adam's, in units of max_flow", low=0)

    def run(
        self, target: Gradients, x: Tensor, goal: Goal, budget: Budget, rng: Generator
    ) -> Search:
        if x.ndim != 4:
            raise NotApplicable("moves pixels of images, which these inputs are not")
        space, aim = of_box(target.space), of_classes(goal)
        reach = self.max_flow * min(x.shape[2:])
        keep = yield Candidate(x, aim.degree(target.answer(x)))
        x, aim = take(keep, x, aim)
        coarse = 2 * torch.rand(len(x), 2, 3, 3, generator=rng, device=x.device).to(x) - 1
        wave = interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=True)
        adv = space.within(flowed(x, reach * wave), x)
        keep = yield Candidate(adv, aim.degree(target.answer(adv)))
        x, aim = take(keep, x, aim)
        flow = 0.1 * reach * take(keep, wave)[0]
        mean, square = torch.zeros_like(flow), torch.zeros_like(flow)
        for step in range(1, self.steps + 1):
            adv = space.within(flowed(x, flow), x)

            def loss(raw: Tensor, aim: AwayFrom = aim) -> Tensor:
                return aim.margin(raw).clamp(max=self.kappa)

            got = target.gradient(adv, loss)
            keep = yield Candidate(adv, aim.degree(target.decode(got.raw)))
            x, aim, flow, mean, square, of_image = take(
                keep, x, aim, flow, mean, square, got.wrt_input
            )
            grad = uphill(x, flow, of_image) - self.tau * _rougher(flow)
            # Adam (Kingma & Ba 2015, algorithm 1), written out, as its state leaves with its rows
            mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad.square()
            way = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            flow = (flow + self.step_size * reach * way).clamp(-reach, reach)
        adv = space.within(flowed(x, flow), x)
        yield Candidate(adv, aim.degree(target.answer(adv)))


def uphill(x: Tensor, flow: Tensor, of_image: Tensor, width: float = 0.05) -> Tensor:
    """(N, 2, H, W) slope in the flow of what has the slope `of_image` in the moved images.

    By central differences of `width` pixels to each side, as each pixel depends on its own flow alone.
    """
    step = width * torch.eye(2).to(x).view(2, 1, 2, 1, 1)
    ahead, behind = (
        torch.stack([flowed(x, flow + way * each) for each in step], 1) for way in (1, -1)
    )
    return (of_image.unsqueeze(1) * (ahead - behind)).sum(2) / (2 * width)


def _rougher(flow: Tensor) -> Tensor:
    """Slope of the roughness."""
    with torch.enable_grad():
        leaf = flow.detach().requires_grad_()
        return torch.autograd.grad(roughness(leaf).sum(), leaf)[0]
