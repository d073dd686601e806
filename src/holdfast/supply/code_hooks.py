"""Hooks on tensors and modules: which ones only look, and which change what flows."""

import ast
import builtins
from collections.abc import Callable, Sequence

from holdfast.supply import code_rules as rules
from holdfast.supply.code_names import Function, Names
from holdfast.supply.code_values import Value
from holdfast.supply.rules import Rule

FORWARD_HOOKS = frozenset(
    {"register_forward_hook", "register_forward_pre_hook", "register_module_forward_hook"}
)
HOOKS = FORWARD_HOOKS | {
    "register_hook", "register_full_backward_hook", "register_backward_hook",
    "register_post_accumulate_grad_hook", "register_full_backward_pre_hook",
}  # fmt: skip

SUMS = ("add", "sub", "lerp", "copy")


def judged(node: ast.Call, attr: str, values: Sequence[Value], names: Names) -> tuple[Rule, str]:
    """What a hook may do: the rule, and why."""
    handler = next((v.func for v in values if v.func is not None), None)
    if handler is None:
        return rules.QUIET_HOOK, "its function is not in this file"
    given = {a.arg for a in ast.walk(handler) if isinstance(a, ast.arg)}
    writes = any(
        isinstance(n, ast.Assign | ast.AugAssign) and any(map(_into(given), _targets(n)))
        for n in ast.walk(handler)
    )
    returns = _returns(handler)
    if attr in FORWARD_HOOKS:
        if returns or writes:
            return rules.HOOK, "it gives the module other inputs or outputs than the code shows"
        return rules.QUIET_HOOK, "it looks and changes nothing"
    if not returns and not writes:
        return rules.QUIET_HOOK, "it looks and changes nothing"
    if any(isinstance(n, ast.If | ast.IfExp) for n in ast.walk(handler)):
        return rules.HOOK, "gradients are changed under a condition"
    if any(map(_adds(free(handler, given, names)), ast.walk(handler))):
        return rules.HOOK, "gradients from elsewhere are added"
    return rules.QUIET_HOOK, "it scales or clips the gradient"


def free(handler: ast.AST, given: set[str], names: Names) -> set[str]:
    """Names that it takes from around itself."""
    inner = {n.id for n in ast.walk(handler) if isinstance(n, ast.Name)}
    stored = {
        n.id for n in ast.walk(handler) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    return inner - given - stored - set(dir(builtins)) - set(names.imported)


def _returns(handler: ast.AST) -> bool:
    if isinstance(handler, ast.Lambda):
        body = handler.body
        func = body.func if isinstance(body, ast.Call) else None
        last = func.attr if isinstance(func, ast.Attribute) else ""
        kept = last in ("append", "update", "add", "add_scalar", "__setitem__", "setdefault")
        return not kept and not (isinstance(body, ast.Constant) and body.value is None)
    inside = (n for n in ast.walk(handler) if isinstance(n, ast.Return))
    return isinstance(handler, Function) and any(
        n.value is not None and not (isinstance(n.value, ast.Constant) and n.value.value is None)
        for n in inside
    )


def _targets(node: ast.Assign | ast.AugAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _into(given: set[str]) -> Callable[[ast.expr], bool]:
    def inside(target: ast.expr) -> bool:
        changed = isinstance(target, ast.Subscript | ast.Attribute)
        return changed and any(isinstance(n, ast.Name) and n.id in given for n in ast.walk(target))

    return inside


def _adds(outside: set[str]) -> Callable[[ast.AST], bool]:
    def plus(node: ast.AST) -> bool:
        match node:
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                pass
            case ast.Call(func=ast.Attribute(attr=name)) if name.rstrip("_") in SUMS:
                pass
            case _:
                return False
        return any(isinstance(n, ast.Name) and n.id in outside for n in ast.walk(node))

    return plus
