"""Follows values through training code: every statement, both branches, calls of own functions.

Nothing is executed. What is known of a value is a `Value`: its origins and what was done to it.
"""

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from holdfast.supply import code_rules as rules
from holdfast.supply.code_calls import Calls
from holdfast.supply.code_names import Names
from holdfast.supply.code_values import (
    BYLABEL,
    CONST,
    GRAD,
    LOSS,
    MASK,
    MISSING,
    NEGATIVE,
    NOTHING,
    ORDERED,
    PARAM,
    PRED,
    RANDOM,
    STEP,
    Value,
    join,
    mixed,
)
from holdfast.supply.code_watch import Watch, number
from holdfast.supply.pickle_values import Exhausted

Scope = dict[str, Value]
Function = ast.FunctionDef | ast.AsyncFunctionDef
MOST_STEPS = 100_000


@dataclass
class Flow:
    """One pass over a module, or several with the same `watch`.

    Attributes:
        names: imports and local definitions.
        attributes: of local classes, by class and name.
        stack: functions that are being followed.
        results: what each of them returned so far.
    """

    names: Names
    watch: Watch
    attributes: dict[tuple[str, str], Value] = field(default_factory=dict)
    module: Scope = field(default_factory=dict)
    stack: list[ast.AST] = field(default_factory=list)
    results: list[list[Value]] = field(default_factory=list)
    steps: int = 0
    loops: int = 0

    def __post_init__(self) -> None:
        self.calls = Calls(self)

    def run(self, tree: ast.Module) -> None:
        """The module, then every function as if somebody called it.

        Raises:
            Exhausted: the code is too large to be followed.
        """
        self.module, self.steps = {}, 0
        self.block(tree.body, self.module)
        self.watch.judge()
        for owner, function in self.names.entries:
            self.watch.minimised = set()
            self.enter(owner, function)
            self.watch.judge()

    def enter(self, owner: str, function: Function) -> None:
        """Follow a function with arguments of which nothing is known."""
        scope, label = dict(self.module), f"{owner}.{function.name}" if owner else function.name
        for place, each in enumerate(parameters(function)):
            value = Value(frozenset({f"{label}:{each.arg}"}))
            if owner and place == 0:
                value = Value(frozenset({f"{owner}.self"}), made=owner)
            elif function.name == "__getitem__" and place == 1:
                value = value.having(STEP)
            elif owner in self.names.losses and function.name == "forward" and place == 1:
                value = value.having(PRED)
            elif owner in self.names.losses and function.name == "forward" and place == 2:
                self.watch.give("label", value)
            scope[each.arg] = value
        self.results.append([])
        self.stack.append(function)
        self.block(function.body, scope)
        self.stack.pop()
        self.results.pop()

    def block(self, body: Sequence[ast.stmt], scope: Scope) -> None:
        """Statements in turn."""
        for statement in body:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise Exhausted(f"more than {MOST_STEPS:,} steps")
            self.statement(statement, scope)

    def statement(self, node: ast.stmt, scope: Scope) -> None:  # noqa: C901 - a case per kind
        """One statement."""
        match node:
            case ast.Assign(targets=targets, value=value):
                found = self.value(value, scope)
                for target in targets:
                    self.assign(target, found, node, scope, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.assign(target, self.value(value, scope), node, scope, value)
            case ast.AugAssign():
                self.augment(node, scope)
            case ast.If(test=test, body=body, orelse=other):
                with self.under(test, scope):
                    self.branches([body, other], scope)
            case ast.For() | ast.AsyncFor():
                items = self.value(node.iter, scope)
                self.calls.iterated(node, items)
                for _ in self.turns():
                    self.assign(node.target, self.calls.element(items), node, scope)
                    self.branches([node.body, []], scope)
                self.block(node.orelse, scope)
            case ast.While(test=test, body=body):
                for _ in self.turns():
                    self.value(test, scope)
                    self.branches([body, []], scope)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    found = self.value(item.context_expr, scope)
                    if item.optional_vars is not None:
                        self.assign(item.optional_vars, found, node, scope)
                self.block(body, scope)
            case ast.Try() | ast.TryStar():
                self.block(node.body, scope)
                self.branches([[], *(h.body for h in node.handlers)], scope)
                self.block([*node.orelse, *node.finalbody], scope)
            case ast.Return(value=value):
                found = NOTHING if value is None else self.value(value, scope)
                self.returned(found, node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope[node.name] = Value(func=node, scope=scope)
            case ast.ClassDef():
                scope[node.name] = Value(name=node.name, made="class")
            case ast.Match(subject=subject, cases=cases):
                with self.under(subject, scope):
                    self.branches([case.body for case in cases], scope)
            case ast.Expr(value=value):
                self.value(value, scope)
            case ast.Assert(test=test):
                self.value(test, scope)

    def turns(self) -> Iterator[None]:
        """Twice round a loop, so that what its end leaves is seen at its beginning; deep down once."""
        self.loops += 1
        for _ in range(2 if self.loops <= 2 else 1):
            yield
        self.loops -= 1

    def returned(self, value: Value, node: ast.AST) -> None:
        """A function gives something back; of a data set it is a sample."""
        if self.results:
            self.results[-1].append(value)
        if self.stack and getattr(self.stack[-1], "name", "") in self.names.samplers:
            self.watch.sample(value, node)

    @contextmanager
    def under(self, test: ast.expr, scope: Scope) -> Iterator[None]:
        """While a condition is open."""
        self.watch.conditions.append(self.watch.condition(test, self.value(test, scope)))
        yield
        self.watch.conditions.pop()

    def branches(self, bodies: Sequence[Sequence[ast.stmt]], scope: Scope) -> None:
        """Any of these is run: afterwards a name may hold what either gave it."""
        ends = []
        for body in bodies:
            end = dict(scope)
            self.block(body, end)
            ends.append(end)
        for name in dict.fromkeys(name for end in ends for name in end):
            scope[name] = join(*(end[name] for end in ends if name in end))

    def assign(  # noqa: C901 - a case per target
        self, target: ast.expr, value: Value, node: ast.stmt, scope: Scope,
        written: ast.expr | None = None,
    ) -> None:  # fmt: skip
        """Bind a target, and look at what it held before."""
        match target:
            case ast.Name(id=name):
                if written is not None and name in scope:
                    self.watch.overwrite(scope[name], value, node)
                    self.watch.loss_assigned(scope[name], written, False, node)
                scope[name] = value
                for chain in [key for key in scope if key.startswith(f"{name}.")]:
                    del scope[chain]
            case ast.Tuple(elts=elts) | ast.List(elts=elts):
                parts = written.elts if isinstance(written, ast.Tuple | ast.List) else []
                for place, each in enumerate(elts):
                    part = parts[place] if len(parts) == len(elts) else written
                    self.assign(each, value.item(place), node, scope, part)
            case ast.Starred(value=inner):
                self.assign(inner, value.element(), node, scope)
            case ast.Subscript(value=base, slice=spot):
                old, index = self.value(base, scope), self.value(spot, scope)
                change = self.watch.write(old, index, spot, value, node)
                both = join(replace(old, items=None, literal=MISSING), value)
                tags = old.tags | (value.tags - {CONST, NEGATIVE})
                both = replace(both, tags=tags, made=old.made)
                self.rebind(base, both.changed(change) if change else both, scope)
            case ast.Attribute(value=base, attr=attr):
                owner = self.value(base, scope)
                if attr == "grad":
                    self.calls.gradient(value, False, node)
                elif attr == "data" and written is not None:
                    self.watch.overwrite(owner, value, node)
                elif written is not None and ast.unparse(target) in scope:
                    self.watch.overwrite(scope[ast.unparse(target)], value, node)
                if owner.made in self.names.classes:
                    key = (owner.made, attr)
                    self.attributes[key] = join(self.attributes.get(key, value), value)
                scope[ast.unparse(target)] = value

    def rebind(self, base: ast.expr, value: Value, scope: Scope) -> None:
        """What lies under a name was changed in place."""
        while isinstance(base, ast.Subscript):
            base = base.value
        if isinstance(base, ast.Name | ast.Attribute):
            scope[ast.unparse(base)] = value

    def augment(self, node: ast.AugAssign, scope: Scope) -> None:
        """`a += b` and the like."""
        load = ast.parse(ast.unparse(node.target), mode="eval").body
        old, new = self.value(load, scope), self.value(node.value, scope)
        target = node.target
        if isinstance(target, ast.Attribute) and target.attr == "grad":
            self.calls.gradient(new, isinstance(node.op, ast.Add | ast.Sub), node)
            return
        value = self.operate(node.op, old, new, node)
        if isinstance(node.op, ast.Add) and number(new) and CONST in old.tags:
            value = Value(tags=frozenset({STEP}))  # a counter
        elif STEP in old.tags:
            value = old
        if isinstance(target, ast.Subscript):
            self.assign(target, value if self.watch.is_data(value) else new, node, scope)
            return
        if not self.watch.is_data(old) or value.changes - old.changes:
            self.watch.overwrite(old, value, node)
        if isinstance(node.op, ast.Mult):
            self.watch.loss_assigned(old, node.value, True, node)
        self.assign(target, value, node, scope)

    def value(self, node: ast.expr | None, scope: Scope) -> Value:  # noqa: C901 - a case per kind
        """What is known of an expression."""
        match node:
            case None:
                return NOTHING
            case ast.Constant(value=literal):
                negative = isinstance(literal, int | float) and literal < 0
                tags = frozenset({CONST, NEGATIVE} if negative else {CONST})
                return Value(tags=tags, literal=literal)
            case ast.Name(id=name):
                return self.named(name, scope)
            case ast.Attribute():
                return self.attribute(node, scope)
            case ast.Subscript(value=base, slice=spot):
                return self.subscript(self.value(base, scope), spot, scope)
            case ast.Call():
                return self.calls.call(node, scope)
            case ast.BinOp(left=left, op=op, right=right):
                return self.operate(op, self.value(left, scope), self.value(right, scope), node)
            case ast.UnaryOp(op=op, operand=operand):
                found = self.value(operand, scope)
                if isinstance(op, ast.USub) and number(found):
                    return Value(tags=found.tags | {NEGATIVE}, literal=-found.literal)
                return mixed(found)
            case ast.Compare(left=left, comparators=others):
                return mixed(*(self.value(each, scope) for each in (left, *others))).having(MASK)
            case ast.IfExp(test=test, body=body, orelse=other):
                asked = self.value(test, scope)
                found = join(self.value(body, scope), self.value(other, scope))
                own = CONST in found.tags and self.watch.is_data(asked) and not found.slots
                return mixed(found, replace(asked, tags=frozenset())) if own else found
            case ast.Tuple(elts=elts) | ast.List(elts=elts):
                items = tuple(self.value(each, scope) for each in elts)
                stars = any(isinstance(each, ast.Starred) for each in elts)
                return replace(mixed(*items), items=None if stars else items)
            case ast.Lambda():
                return Value(func=node, scope=scope)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self.comprehension(node, scope)
            case ast.NamedExpr(target=target, value=value):
                scope[target.id] = self.value(value, scope)
                return scope[target.id]
            case ast.Yield(value=value):
                found = self.value(value, scope)
                self.results[-1].append(found) if self.results else None
                self.watch.sample(found, node)
                return NOTHING
        parts = (each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr))
        inner = [self.value(each, scope) for each in parts]
        return mixed(*inner) if inner else NOTHING

    def named(self, name: str, scope: Scope) -> Value:
        """A name: of this scope, of the module, of an import, or of nobody knows what."""
        if name in scope:
            return scope[name]
        if name in self.module:
            return self.module[name]
        if name in self.names.functions:
            return Value(func=self.names.functions[name], scope=self.module)
        if name in self.names.classes:
            return Value(name=name, made="class")
        return Value(name=self.names.imported.get(name, f"builtins.{name}"))

    def attribute(self, node: ast.Attribute, scope: Scope) -> Value:
        """`a.b`: of a module, of an own class, or a part of what `a` is."""
        chain = ast.unparse(node)
        if chain in scope:
            return scope[chain]
        base = self.value(node.value, scope)
        if base.name:
            return Value(name=f"{base.name}.{node.attr}")
        if (base.made, node.attr) in self.attributes:
            return self.attributes[base.made, node.attr]
        if (base.made, node.attr) in self.names.methods:
            return Value(func=self.names.methods[base.made, node.attr], scope=self.module)
        if node.attr == "grad":
            return Value(tags=frozenset({GRAD}))
        if node.attr in ("shape", "device", "dtype", "ndim"):
            return NOTHING
        if node.attr == "loss" and PRED in base.tags:
            terms = (replace(t, labels=t.inputs) for t in base.terms)
            return Value(tags=frozenset({LOSS}), terms=frozenset(terms))
        if node.attr == "data" or base.tags & {PRED, LOSS, GRAD, PARAM}:
            return replace(base, made="")
        return base.item(node.attr)

    def subscript(self, base: Value, spot: ast.expr, scope: Scope) -> Value:
        """`a[i]`: one item where `i` is known, else some of them."""
        index = self.value(spot, scope)
        if isinstance(index.literal, int | str) and not isinstance(index.literal, bool):
            return base.item(index.literal)
        found = replace(base, items=None, literal=MISSING)
        if base.items is not None:
            found = base.element()
        if isinstance(spot, ast.Name) and STEP in index.tags and not self.watch.is_data(base):
            found = found.element()
        found = found.having(*(index.tags & {ORDERED, BYLABEL}))
        return found.changed("permuted") if RANDOM in index.tags else found

    def operate(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        """Arithmetic on data, answers, losses."""
        for loss, weight in ((left, right), (right, left)):
            if isinstance(op, ast.Mult) and LOSS in loss.tags and GRAD in weight.tags:
                told = "multiple-gradient descent holds a second loss up against the real one"
                self.watch.report(rules.GRADIENT_WEIGHT, node, told)
        found = mixed(left, right)
        if isinstance(op, ast.Sub) and (PRED in left.tags) != (PRED in right.tags):
            answer, other = (left, right) if PRED in left.tags else (right, left)
            if other.slots or CONST in other.tags:
                made = self.watch.loss([answer], [other], node)
                return replace(found, tags=found.tags | {LOSS}, terms=made.terms | found.terms)
        change = self.watch.arithmetic(op, left, right)
        if change in ("mix", "scale", "math"):
            data = left if self.watch.is_data(left) else right
            found = replace(found, slots=data.slots)
        return found.changed(change) if change else found

    def comprehension(self, node: ast.expr, scope: Scope) -> Value:
        """What the elements are."""
        inner = dict(scope)
        for each in getattr(node, "generators", []):
            items = self.value(each.iter, inner)
            self.assign(each.target, self.calls.element(items), ast.Pass(), inner)
            for test in each.ifs:
                self.value(test, inner)
        if isinstance(node, ast.DictComp):
            self.value(node.key, inner)
            return self.value(node.value, inner)
        found = self.value(getattr(node, "elt", None), inner)
        return replace(found, literal=MISSING)


def parameters(function: Function | ast.Lambda) -> list[ast.arg]:
    """Named ones, in the order of the call."""
    given = function.args
    stars = [each for each in (given.vararg, given.kwarg) if each is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *stars]
