"""Attacks of other libraries under one signature, for `attackbench.py` and `throughput.py`.

A library that cannot be imported is left out with a word on standard error. Two of them import
packages for parts that are not used here (pretrained networks, plots); where those are missing, an
empty module stands in. `make peers` builds an environment with all of them.
"""

import importlib
import importlib.util
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Attack = Callable[[nn.Module, Tensor, Tensor, int], Tensor]
"""(module, x, y, passes allowed per row) -> changed x; settings are chosen to fit the allowance."""
P = {"l0": 0, "l1": 1, "l2": 2, "linf": math.inf}
FIRST = {"l0": 20.0, "l1": 10.0, "l2": 2.0, "linf": 0.2}
"""First budget of those attacks that only know budgets; each row's own bisection goes on from it."""
ROUNDS = 10
RATE = 0.05
"""Step size of Carlini-Wagner attacks, ours too; 0.01 is meant for thousands of steps."""


def minimum_norm(norm: str) -> dict[str, Attack]:
    """Every attack of every library here that can look for the least change in that norm."""
    return _all(lambda make: make(norm), (_foolbox, _adv_lib, _torchattacks))


def _all(call: Callable[[Any], dict[str, Any]], makers: tuple[Any, ...]) -> dict[str, Any]:
    """What the makers give, without those whose library is missing."""
    found: dict[str, Any] = {}
    for make in makers:
        try:
            found |= call(make)
        except ImportError as missing:
            print(f"left out: {make.__name__.strip('_')}: {missing}", file=sys.stderr)
    return found


def stand_in(*names: str) -> None:
    """Put empty modules where packages are missing that a library imports and does not need here."""
    for name in names:
        package, _, part = name.partition(".")
        if package not in sys.modules and importlib.util.find_spec(package) is not None:
            continue
        empty = sys.modules.setdefault(name, types.ModuleType(name))
        if part:
            setattr(sys.modules[package], part, empty)


def searches(passes: int, each: int) -> tuple[int, int]:
    """Bisections of the constant, and steps of each, where a step takes `each` passes."""
    count = 9 if passes >= 1000 else 5
    return count, max(1, passes // (each * count))


def _ead(passes: int) -> Any:
    from foolbox.attacks import EADAttack

    count, steps = searches(passes, 3)
    return EADAttack(
        count, steps, decision_rule="L1", initial_const=1e-3 if count > 5 else 0.1,
        abort_early=False,
    )  # fmt: skip


def _carlini(passes: int) -> Any:
    from foolbox.attacks import L2CarliniWagnerAttack

    count, steps = searches(passes, 2)
    first = 1e-3 if count > 5 else 0.1
    return L2CarliniWagnerAttack(count, steps, RATE, initial_const=first, abort_early=False)


def _foolbox(norm: str) -> dict[str, Attack]:
    import foolbox
    from foolbox import attacks as fb

    def of(make: Callable[[int], Any]) -> Attack:
        def run(net: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
            model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
            found: Tensor = make(passes).run(model, x, foolbox.Misclassification(y))
            return found

        return run

    def bisected(make: Callable[[int], Any]) -> Attack:
        def run(net: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
            model, method = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), make(passes)
            aim = foolbox.Misclassification(y)

            def at(eps: Tensor) -> Tensor:
                # made for one number, but what it computes with it broadcasts
                found: Tensor = method.run(model, x, aim, epsilon=eps.view(-1, 1, 1, 1))
                return found

            return bisect(net, at, x, y, FIRST[norm])

        return run

    def walked(kind: Any) -> Attack:
        def run(net: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
            model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
            far = (y.view(-1, 1) != y).float().argmax(1)  # another row, misread by definition
            found: Tensor = kind(steps=(passes - 12) // 2).run(
                model, x, foolbox.Misclassification(y), starting_points=x[far]
            )
            return found

        return run

    def bim(passes: int) -> Any:
        steps = (passes // ROUNDS - 1) // 2
        return fb.LinfBasicIterativeAttack(steps=steps, rel_stepsize=5 * ROUNDS / passes)

    fmn = {
        "l0": fb.L0FMNAttack, "l1": fb.L1FMNAttack, "l2": fb.L2FMNAttack, "linf": fb.LInfFMNAttack,
    }[norm]  # fmt: skip
    walk = {
        "l0": fb.L0BrendelBethgeAttack, "l1": fb.L1BrendelBethgeAttack,
        "l2": fb.L2BrendelBethgeAttack, "linf": fb.LinfinityBrendelBethgeAttack,
    }[norm]  # fmt: skip
    fool = fb.LinfDeepFoolAttack if norm == "linf" else fb.L2DeepFoolAttack
    known = [
        ("l0 l1 l2 linf", "FMN", of(lambda passes: fmn(steps=passes // 2))),
        ("l0 l1 l2 linf", "Brendel-Bethge", walked(walk)),
        ("l1", "EAD", of(_ead)),
        ("l2", "DDN", of(lambda passes: fb.DDNAttack(steps=passes // 2))),
        ("l2", "Carlini-Wagner", of(_carlini)),
        ("l2 linf", "DeepFool", of(lambda passes: fool(steps=min(50, passes // 18)))),
        ("linf", "BIM, bisected", bisected(bim)),
    ]
    return {f"foolbox {name}": run for norms, name, run in known if norm in norms.split()}


def bisect(
    net: nn.Module, at: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, first: float
) -> Tensor:
    """The nearest misread inputs of `ROUNDS` runs, each row with budgets of its own."""
    best, low = x.clone(), torch.zeros(len(x))
    high, eps = torch.full((len(x),), torch.inf), torch.full((len(x),), first)
    for _ in range(ROUNDS):
        adv = at(eps)
        with torch.no_grad():
            hit = net(adv).argmax(1) != y
        best[hit] = adv[hit]
        high, low = torch.where(hit, eps, high), torch.where(hit, low, eps)
        eps = torch.where(high.isinf(), 2 * eps, (low + high) / 2)
    return best


def _adv_lib(norm: str) -> dict[str, Attack]:
    stand_in("torchvision", "torchvision.models", "visdom")
    from adv_lib import attacks as al
    from adv_lib.attacks.auto_pgd import minimal_apgd
    from adv_lib.attacks.fast_adaptive_boundary import fab
    from adv_lib.attacks.superdeepfool import sdf

    p = P[norm]

    def of(method: Any, **settings: Callable[[int], Any] | Any) -> Attack:
        def run(net: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
            given = {
                name: value(passes) if isinstance(value, types.FunctionType) else value
                for name, value in settings.items()
            }
            found: Tensor = method(net, x.clone(), y, **given)
            return found

        return run

    half: Callable[[int], int] = lambda passes: passes // 2  # noqa: E731
    found = {
        "FMN": of(al.fmn, norm=p, steps=half),
        "PDPGD": of(
            al.pdpgd, norm=p, num_steps=half, proximal_operator=23 if norm == "l0" else None
        ),
    }
    if norm == "l0":
        found["sigma-zero"] = of(al.sigma_zero, num_steps=half)
        found["VFGA"] = of(al.vfga, targeted=False, max_iter=lambda passes: passes // 22)
        return {f"adv-lib {name}": run for name, run in found.items()}
    found["FAB"] = of(fab, norm=p, n_iter=lambda passes: (passes - 4) // 11)
    found["FAB, targeted"] = of(
        fab, norm=p, n_iter=lambda passes: (passes - 40) // 27, targeted_restarts=True
    )
    # what a run passes beyond its steps; in L1 it has three phases
    sparse, extra = ({"use_large_reps": True}, 7) if norm == "l1" else ({}, 3)
    for loss in ("ce", "dlr"):
        found[f"APGD-{loss}, bisected"] = of(
            minimal_apgd, norm=p, max_eps=FIRST[norm], binary_search_steps=ROUNDS,
            n_iter=lambda passes: (passes // ROUNDS - extra) // 2, loss_function=loss, **sparse,
        )  # fmt: skip
    found["APGD-targeted, bisected"] = of(
        minimal_apgd, norm=p, max_eps=FIRST[norm], binary_search_steps=ROUNDS,
        n_iter=lambda passes: max(3, (passes // ROUNDS - 3 * extra) // 6), targeted_version=True,
        num_targets=3, **sparse,
    )  # fmt: skip
    if norm in ("l1", "l2"):
        found["ALMA"] = of(
            al.alma, num_steps=half, distance=norm,
            init_lr_distance={"l1": 0.5, "l2": 0.1}[norm],
        )  # fmt: skip
    if norm in ("l2", "linf"):
        found["trust region"] = of(
            al.tr, p=p, adaptive=True, iter=lambda passes: (passes - 11) // 4
        )
        found["DeepFool"] = of(al.df, norm=p, steps=lambda passes: min(100, passes // 10))
    if norm == "l2":
        found["DDN"] = of(al.ddn, steps=half, levels=None)
        found["PDGD"] = of(al.pdgd, num_steps=half)
        found["SuperDeepFool"] = of(
            sdf, steps=3, df_steps=lambda passes: max(1, (passes - 20) // 36)
        )
        found["Carlini-Wagner"] = of(
            al.carlini_wagner_l2, learning_rate=RATE, abort_early=False,
            binary_search_steps=lambda passes: searches(passes, 2)[0],
            max_iterations=lambda passes: searches(passes, 2)[1],
            initial_const=lambda passes: 1e-3 if searches(passes, 2)[0] > 5 else 0.1,
        )  # fmt: skip
    if norm == "linf":
        found["Carlini-Wagner"] = of(
            al.carlini_wagner_linf, learning_rate=RATE, initial_const=0.1,
            max_iterations=lambda passes: max(5, passes // 40),
        )  # fmt: skip
    return {f"adv-lib {name}": run for name, run in found.items()}


def _torchattacks(norm: str) -> dict[str, Attack]:
    stand_in("torchvision", "torchvision.models")
    import torchattacks as ta

    def of(make: Callable[[nn.Module, int], Any]) -> Attack:
        def run(net: nn.Module, x: Tensor, y: Tensor, passes: int) -> Tensor:
            found: Tensor = make(net, passes)(x, y)
            return found

        return run

    found: dict[str, Attack] = {}
    if norm != "l0":
        name = {"l1": "L1", "l2": "L2", "linf": "Linf"}[norm]
        found["FAB"] = of(
            lambda net, passes: ta.FAB(net, name, eps=1e6, steps=(passes - 4) // 12, n_restarts=1)
        )
    if norm == "l2":
        found["Carlini-Wagner"] = of(
            lambda net, passes: ta.CW(net, c=1, steps=passes // 2, lr=RATE / 5)
        )
        found["DeepFool"] = of(lambda net, passes: ta.DeepFool(net, steps=min(50, passes // 11)))
    return {f"torchattacks {name}": run for name, run in found.items()}


Task = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(module, x, y) -> changed x, with the settings of one comparison; towards y where that is wanted."""


def timed(task: str, **given: float) -> dict[str, Task]:
    """The attacks of other libraries that do the same as ours in a task of `throughput.py`."""
    stand_in("torchvision", "torchvision.models", "visdom")
    makers = (_timed_foolbox, _timed_adv_lib, _timed_torchattacks, _timed_art)
    return _all(lambda make: make(task, given), makers)


def _timed_foolbox(task: str, given: dict[str, float]) -> dict[str, Task]:
    import foolbox
    from foolbox import attacks as fb

    steps = int(given["steps"])
    noise: Callable[[], Any] = lambda: fb.LinearSearchBlendedUniformNoiseAttack(steps=20)  # noqa: E731
    make: dict[str, Callable[[], Any]] = {
        "pgd": lambda: fb.LinfPGD(steps=steps, rel_stepsize=2.5 / steps),
        "deepfool": lambda: fb.L2DeepFoolAttack(steps=steps),
        "carlini-wagner": lambda: fb.L2CarliniWagnerAttack(int(given["searches"]), steps, RATE),
        "newtonfool": lambda: fb.NewtonFoolAttack(steps=steps),
        "boundary": lambda: fb.BoundaryAttack(noise(), steps=steps),
        "hop-skip-jump": lambda: fb.HopSkipJumpAttack(
            noise(), steps=steps, max_gradient_eval_steps=int(given["most"])
        ),
    }
    if task not in make:
        return {}

    def run(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        more = {"epsilon": given["eps"]} if task == "pgd" else {}
        found: Tensor = make[task]().run(model, x, foolbox.Misclassification(y), **more)
        return found

    return {"foolbox": run}


def _timed_adv_lib(task: str, given: dict[str, float]) -> dict[str, Task]:
    from adv_lib import attacks as al

    steps = int(given["steps"])
    make: dict[str, Task] = {
        "pgd": lambda net, x, y: al.pgd_linf(
            net, x, y, given["eps"], steps=steps, relative_step_size=2.5 / steps
        ),
        "deepfool": lambda net, x, y: al.df(net, x, y, steps=steps, return_unsuccessful=True),
        "carlini-wagner": lambda net, x, y: al.carlini_wagner_l2(
            net, x, y, learning_rate=RATE, max_iterations=steps,
            binary_search_steps=int(given["searches"]),
        ),
    }  # fmt: skip
    return {"adv-lib": make[task]} if task in make else {}


def _timed_torchattacks(task: str, given: dict[str, float]) -> dict[str, Task]:
    import torchattacks as ta

    steps, eps = int(given["steps"]), given.get("eps", 0.0)

    def jsma(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = ta.JSMA(net, theta=1.0, gamma=given["gamma"])(x, (y - 1) % 10)
        return found  # its goal is the class after the label's

    make: dict[str, Task] = {
        "pgd": lambda net, x, y: ta.PGD(net, eps, 2.5 * eps / steps, steps)(x, y),
        "deepfool": lambda net, x, y: ta.DeepFool(net, steps=steps)(x, y),
        "carlini-wagner": lambda net, x, y: ta.CW(
            net, c=1, steps=steps * int(given["searches"]), lr=RATE / 5
        )(x, y),
        "jsma": jsma,
        "square": lambda net, x, y: ta.Square(net, "Linf", eps, n_queries=steps)(x, y),
    }
    return {"torchattacks": make[task]} if task in make else {}


class Single(nn.Module):
    """Passes on 32-bit numbers, as some attacks come with 64."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


_IN_ART = (
    "pgd", "deepfool", "carlini-wagner", "newtonfool", "jsma", "square", "simba", "zoo", "boundary",
    "hop-skip-jump",
)  # fmt: skip


def _timed_art(task: str, given: dict[str, float]) -> dict[str, Task]:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    steps, eps = int(given["steps"]), given.get("eps", 0.0)
    quiet: dict[str, Any] = {"verbose": False}

    def make(model: Any, count: int) -> Any:
        each = {"batch_size": count, **quiet}
        table: dict[str, Callable[[], Any]] = {
            "pgd": lambda: evasion.ProjectedGradientDescent(
                model, eps=eps, eps_step=2.5 * eps / steps, max_iter=steps, num_random_init=1, **each
            ),
            "deepfool": lambda: evasion.DeepFool(model, steps, 0.02, **each),
            "carlini-wagner": lambda: evasion.CarliniL2Method(
                model, learning_rate=RATE, binary_search_steps=int(given["searches"]),
                max_iter=steps, initial_const=1e-3, **each,
            ),
            "newtonfool": lambda: evasion.NewtonFool(model, steps, **each),
            "jsma": lambda: evasion.SaliencyMapMethod(model, 1.0, given["gamma"], **each),
            "square": lambda: evasion.SquareAttack(model, eps=eps, max_iter=steps, **each),
            "simba": lambda: evasion.SimBA(model, "px", steps, epsilon=0.2, **quiet),
            "zoo": lambda: evasion.ZooAttack(
                model, max_iter=steps, binary_search_steps=1, nb_parallel=128, use_resize=False,
                use_importance=False, initial_const=given["const"], **quiet,  # row by row
            ),
            "boundary": lambda: evasion.BoundaryAttack(
                model, targeted=False, max_iter=steps // 40, **each
            ),
            "hop-skip-jump": lambda: evasion.HopSkipJump(
                model, max_iter=steps, max_eval=int(given["most"]), **each
            ),
        }  # fmt: skip
        return table[task]()

    def run(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        parts = [
            Single(),
            net,
            *([nn.Softmax(1)] if task == "simba" else []),
        ]  # wants probabilities
        shown = nn.Sequential(*parts).eval()
        model = PyTorchClassifier(
            shown, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1),
            device_type="cpu",
        )  # fmt: skip
        labels = y.numpy()
        if task == "simba":  # reads its labels as one-hot
            labels = nn.functional.one_hot(y, 10).numpy()
        return torch.from_numpy(make(model, len(x)).generate(x.numpy(), labels))

    return {"ART": run} if task in _IN_ART else {}
