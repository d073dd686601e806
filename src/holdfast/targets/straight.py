"""BPDA inside of a module: layers that let no gradient through count as the identity backwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import NeedsError
from holdfast.core.target import Gradient
from holdfast.targets.torch import TorchClassifier

ROUNDS = 6
"""How deep layers without a gradient may be nested in one another."""


@dataclass(frozen=True, eq=False)
class Straightened:
    """A classifier whose layers `layers` pass gradients as if they left their input as it was.

    Its answers are the classifier's own (Athalye, Carlini and Wagner 2018, sec. 4.1.1). Hooks exist
    during a pass alone.

    Attributes:
        target: the classifier.
        layers: names of modules whose output has the shape of their input.
        entries: names of modules that are shown the model's input after a change that is no module.
    """

    target: TorchClassifier
    layers: tuple[str, ...]
    entries: tuple[str, ...] = field(default=())

    @property
    def space(self) -> Any:
        """Valid inputs are those of the target."""
        return self.target.space

    def scores(self, x: Tensor) -> Tensor:
        """As the target scores."""
        return self.target.scores(x)

    def decode(self, raw: Tensor) -> Tensor:
        """As the target decodes."""
        return self.target.decode(raw)

    def answer(self, x: Tensor) -> Tensor:
        """As the target answers."""
        return self.target.answer(x)

    def gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Gradient:
        """The target's gradient, straight through the layers."""
        with self._hooked():
            return self.target.gradient(x, loss)

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        root, first = self.target.module, list[Tensor]()
        parts = dict(root.named_modules())

        def note(_: nn.Module, args: tuple[Any, ...]) -> None:
            first[:] = [args[0]]

        def enter(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (_straight(first[0], args[0]), *args[1:])

        def leave(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
            return _straight(args[0], out)

        handles = [parts[name].register_forward_hook(leave) for name in self.layers]
        if self.entries:
            handles.append(root.register_forward_pre_hook(note))
            handles += [parts[name].register_forward_pre_hook(enter) for name in self.entries]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def straightened(target: TorchClassifier, x: Tensor) -> Straightened | None:
    """The classifier with every layer made straight that has no gradient at the inputs `x`.

    None where there is no such layer. A layer whose gradient is merely wrong is not found: that
    cannot be told from the layer alone.
    """
    found = Straightened(target, ())
    for _ in range(ROUNDS):
        layers, entries = _blocked(found, x)
        if not layers and not entries:
            break
        found = Straightened(target, (*found.layers, *layers), (*found.entries, *entries))
    return found if found.layers or found.entries else None


def _straight(given: Tensor, out: Tensor) -> Tensor:
    return given + (out - given).detach() if given.shape == out.shape else out


def _blocked(target: Straightened, x: Tensor) -> tuple[list[str], list[str]]:
    """Innermost layers of the same shape that block the gradient, or else where x arrives cut."""
    root = target.target.module
    probe = _Probe({part: name for name, part in root.named_modules() if name}, target.layers)
    handles = [root.register_forward_pre_hook(probe.note)]
    for part in probe.names:
        handles.append(part.register_forward_pre_hook(probe.enter))
        handles.append(part.register_forward_hook(probe.leave))
    try:
        target.gradient(x, lambda raw: raw.amax(1))
    except NeedsError:  # a cut is what is looked for
        pass
    finally:
        for handle in handles:
            handle.remove()
    inner = [n for n in probe.layers if not any(m.startswith(f"{n}.") for m in probe.layers)]
    return inner, [] if inner else [n for n in probe.entries if n not in target.entries]


@dataclass
class _Probe:
    """Hooks that look at every layer of one forward pass."""

    names: dict[nn.Module, str]
    known: tuple[str, ...]
    layers: list[str] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    _first: list[Tensor] = field(default_factory=list)
    _busy: bool = False

    def note(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        """What the whole model is shown."""
        self._first[:] = [args[0]]

    def enter(self, part: nn.Module, args: tuple[Any, ...]) -> None:
        """A layer is shown something of the input's shape that no gradient leads to."""
        if self._busy or self.entries or not args or not _alike(self._first[0], args[0]):
            return
        if args[0] is not self._first[0] and _dead(args[0], self._first[0]):
            self.entries.append(self.names[part])

    def leave(self, part: nn.Module, args: tuple[Any, ...], out: object) -> None:
        """A layer's own gradient, by running it once more on its own."""
        if self._busy or not args or not _alike(args[0], out) or self.names[part] in self.known:
            return
        self._busy = True  # what runs inside is only looked at, not looked into
        try:
            z = args[0].detach().requires_grad_()
            if _dead(part.forward(z, *args[1:]), z):
                self.layers.append(self.names[part])
        finally:
            self._busy = False


def _alike(a: object, b: object) -> bool:
    """Whether both are tensors of real numbers of one shape."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return False
    return a.shape == b.shape and a.is_floating_point() and b.is_floating_point()


def _dead(out: Tensor, x: Tensor) -> bool:
    """Whether nothing of `out` depends on x by a gradient."""
    if not out.requires_grad:
        return True
    slope = torch.linspace(1, 2, out[0].numel() if len(out) else 0, device=out.device)
    total = (out.flatten(1) * slope.to(out.dtype)).sum()
    grad = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)[0]
    return grad is None or not bool(grad.any())
