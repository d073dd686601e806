"""A method is a frozen record of hyperparameters plus its maths; registering it fills the catalogue."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast, get_args, get_origin

from holdfast.core.errors import InputError
from holdfast.core.record import Value

D = TypeVar("D")
M = TypeVar("M", bound="Method")


def hyper(
    default: D, source: str, *, low: float | None = None, high: float | None = None,
    choices: tuple[str, ...] = (),
) -> D:  # fmt: skip
    """Declare a hyperparameter together with where its default comes from ("ours: why" if nowhere)."""
    bounds = {"source": source, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=bounds)


class Method:
    """Base of everything in the catalogue. Subclasses are frozen dataclasses of hyperparameters."""

    def __post_init__(self) -> None:
        for f in fields(cast(Any, self)):
            value, name = getattr(self, f.name), f"{type(self).__name__}.{f.name}"
            low, high, choices = (f.metadata.get(key) for key in ("low", "high", "choices"))
            if isinstance(value, float) and math.isnan(value):
                raise InputError(f"{name} must be a number", got=value, fix="give a finite value")
            if low is not None and value < low:
                raise InputError(
                    f"{name} must be at least {low}", got=value, fix="give a larger value"
                )
            if high is not None and value > high:
                raise InputError(
                    f"{name} must be at most {high}", got=value, fix="give a smaller value"
                )
            if choices and value not in choices:
                raise InputError(
                    f"{name} must be one of {', '.join(choices)}",
                    got=value,
                    fix="choose one of them",
                )

    @property
    def params(self) -> Mapping[str, Value]:
        """Every hyperparameter by name."""
        return {f.name: getattr(self, f.name) for f in fields(cast(Any, self))}


@dataclass(frozen=True)
class Entry:
    """What the catalogue knows of a method, all derived from its file."""

    id: str
    kind: str
    needs: str
    cites: str
    where: str
    extra: str
    cls: type[Method]
    items: str = "Tensor"


REGISTRY: dict[str, Entry] = {}
"""Every registered method by id; written only while method files are imported."""


def method(*, cites: str, where: str, extra: str = "") -> Callable[[type[M]], type[M]]:
    """Register a method; its id is domain and file name, kind and access come from its base class.

    Args:
        cites: key in `papers.bib`.
        where: equation, algorithm or section in that paper.
        extra: the optional dependency group that the method needs, if any.
    """

    def register(cls: type[M]) -> type[M]:
        parts = cls.__module__.split(".")
        domain = parts[1] if parts[0] == "holdfast" else parts[0].replace("_", "-")
        base = _bases(cls)[0]  # every method names its kind
        kind, access = get_origin(base) or base, get_args(base)
        needs = (get_origin(access[0]) or access[0]).__name__ if access else "Nothing"
        name = f"{domain}/{parts[-1]}"
        entry = Entry(name, kind.__name__, needs, cites, where, extra, cls, items(cls))
        if entry.id in REGISTRY and REGISTRY[entry.id].cls.__qualname__ != cls.__qualname__:
            raise ValueError(f"two methods in {cls.__module__}: keep one per file")
        REGISTRY[entry.id] = entry
        return cls

    return register


def _bases(cls: type[Method]) -> tuple[Any, ...]:
    """Base classes as written; a kind without type parameters leaves no `__orig_bases__`."""
    bases: tuple[Any, ...] = getattr(cls, "__orig_bases__", cls.__bases__)
    return bases


def items(cls: type[Method]) -> str:
    """What the method's inputs are, "Tensor" or "Ragged": the second type parameter of its kind."""
    access = get_args(_bases(cls)[0])
    return access[1].__name__ if len(access) > 1 else "Tensor"


def needs(cls: type[Method]) -> Any:
    """The access protocol that a method declared as its type parameter, or None for data-only kinds."""
    for base in _bases(cls):
        access = get_args(base)
        if access:
            return get_origin(access[0]) or access[0]
    return None
