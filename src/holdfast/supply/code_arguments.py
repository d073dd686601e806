"""Arguments of calls in training code: constants, answers and labels, and what has a name."""

import ast
from collections.abc import Sequence

from holdfast.supply.code_values import CONST, FRESH, MISSING, NEGATIVE, PRED, Value
from holdfast.supply.code_words import OPTIONS


def made(values: Sequence[Value]) -> Value:
    """A tensor of constants; negative where its filling is."""
    negative = any(NEGATIVE in v.tags for v in values[-1:])
    return Value(tags=frozenset({CONST, FRESH, NEGATIVE} if negative else {CONST, FRESH}))


def parted(given: Sequence[Value], named: dict[str, Value]) -> tuple[list[Value], list[Value]]:
    """Arguments of a loss: answers of models, and what can be labels; options are neither."""
    every = [*given, *(v for k, v in named.items() if k not in OPTIONS)]
    answers = [v for v in every if PRED in v.tags]
    left = [v for v in every if PRED not in v.tags and (v.slots or CONST in v.tags)]
    others = [v for v in left if v.literal is MISSING or type(v.literal) in (int, float)]
    return answers, others


def named_(node: ast.expr) -> bool:
    """Whether it stands for something that can be bound again."""
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript)


def fresh(place: str) -> Value:
    """Something of which only the place is known."""
    return Value(frozenset({place}))
