"""What the reader of training code knows of a value: where it is from and what was done to it."""

import ast
from dataclasses import dataclass, field, replace
from typing import Any

MOST = 48
"""Origins, terms or items that are kept of one value."""
MISSING: Any = object()

PRED, LOSS, CONST, RANDOM, STEP, GRAD, PARAM, FRESH, MASK, NEGATIVE, ORDERED, BYLABEL, SCALAR = (
    "pred", "loss", "const", "random", "step", "grad", "param", "fresh", "mask", "negative",
    "ordered", "bylabel", "scalar",
)  # fmt: skip
"""Tags. FRESH is a tensor that was made here, BYLABEL an order that follows the data itself, SCALAR
a single number such as the largest of a batch."""
ALTERED = frozenset({"stamp", "mix", "call"})
"""Changes that can put a trigger into inputs: not noise, not augmentation by a known library."""
RELABELLED = frozenset({"const", "math", "stamp", "call"})


@dataclass(frozen=True)
class Term:
    """One forward pass, and the loss made of it.

    Attributes:
        callee: what was called.
        inputs: origins of the inputs.
        changes: what was done to the inputs.
        labels: origins of the labels; empty before a loss is taken.
        relabels: what was done to the labels.
        line: where.
    """

    callee: str
    inputs: frozenset[str]
    changes: frozenset[str]
    labels: frozenset[str] = frozenset()
    relabels: frozenset[str] = frozenset()
    line: int = 0

    @property
    def clean(self) -> bool:
        """Unchanged inputs with labels of their own."""
        return bool(self.labels) and not self.changes & ALTERED and not self.relabels & RELABELLED

    @property
    def odd(self) -> bool:
        """Changed inputs with labels that are constant or changed as well."""
        return bool(self.changes & ALTERED and self.relabels & RELABELLED)


@dataclass(frozen=True)
class Value:
    """An abstract value; everything in it is "may".

    Attributes:
        slots: origins: a parameter, an unknown call, an item of these.
        tags: what it is.
        changes: what was done to it.
        terms: forward passes and losses in it.
        items: its items, of a tuple or list that is written out.
        name: dotted name of what was imported.
        made: dotted name, or local class, of which it is an instance.
        func: a function of the same file, with the names around it in `scope`.
        literal: of a constant.
    """

    slots: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    terms: frozenset[Term] = frozenset()
    items: "tuple[Value, ...] | None" = None
    name: str = ""
    made: str = ""
    func: ast.AST | None = field(default=None, compare=False)
    scope: "dict[str, Value] | None" = field(default=None, compare=False, repr=False)
    literal: Any = field(default=MISSING, compare=False)

    def having(self, *tags: str) -> "Value":
        """The same with more tags."""
        return replace(self, tags=self.tags | set(tags), literal=MISSING)

    def without(self, *tags: str) -> "Value":
        """The same with fewer tags."""
        return replace(self, tags=self.tags - set(tags))

    def changed(self, *changes: str) -> "Value":
        """The same after changes."""
        return replace(self, changes=self.changes | set(changes), items=None, literal=MISSING)

    def item(self, key: object) -> "Value":
        """One item by a key that is known."""
        items = self.items or ()
        if isinstance(key, int) and -len(items) <= key < len(items):
            return items[key]
        slots = frozenset(f"{s}.{key}" if s.count(".") < 5 else s for s in self.slots)
        return replace(self, slots=slots, items=None, made="", literal=MISSING)

    def element(self) -> "Value":
        """Any item."""
        if self.items is not None:
            return join(*self.items)
        slots = frozenset(f"{s}.*" if s.count(".") < 5 else s for s in self.slots)
        return replace(self, slots=slots, made="", literal=MISSING)


NOTHING = Value()


def join(*values: Value) -> Value:
    """What is any of these, or made of all of them."""
    if not values:
        return NOTHING
    if len(values) == 1:
        return values[0]
    first = values[0]
    if all(value is first for value in values):
        return first
    lengths = {None if v.items is None else len(v.items) for v in values}
    items = None
    if len(lengths) == 1 and None not in lengths and lengths != {0}:
        rows = zip(*(v.items or () for v in values), strict=True)
        items = tuple(join(*row) for row in rows)
    names, made = {v.name for v in values}, {v.made for v in values if v.made}
    func = next((v for v in values if v.func is not None), NOTHING)
    return Value(
        _cap(frozenset().union(*(v.slots for v in values))),
        frozenset().union(*(v.tags for v in values)),
        frozenset().union(*(v.changes for v in values)),
        _cap(frozenset().union(*(v.terms for v in values))),
        items, names.pop() if len(names) == 1 else "", made.pop() if len(made) == 1 else "",
        func.func, func.scope,
    )  # fmt: skip


def mixed(*values: Value) -> Value:
    """What is computed from all of these: constant only if all are, and nobody's instance."""
    found = join(*values)
    tags = found.tags
    if not all(CONST in v.tags for v in values):
        tags -= {CONST, FRESH, NEGATIVE}
    if any(v.slots and SCALAR not in v.tags for v in values):
        tags -= {SCALAR}
    return Value(found.slots, tags, found.changes, found.terms)


def _cap(found: frozenset[Any]) -> frozenset[Any]:
    return found if len(found) <= MOST else frozenset(sorted(found, key=repr)[:MOST])
