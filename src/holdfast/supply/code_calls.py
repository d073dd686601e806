"""What calls do to values in training code: forward passes, losses, orders, writes in place."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.supply import code_rules as rules
from holdfast.supply.code_arguments import fresh, made, named_, parted
from holdfast.supply.code_hooks import HOOKS, judged
from holdfast.supply.code_names import is_loss
from holdfast.supply.code_values import (
    BYLABEL,
    CONST,
    FRESH,
    GRAD,
    LOSS,
    MISSING,
    NEGATIVE,
    NOTHING,
    ORDERED,
    PARAM,
    PRED,
    RANDOM,
    SCALAR,
    STEP,
    Term,
    Value,
    join,
    mixed,
)
from holdfast.supply.code_words import (
    AUGMENT,
    CHANCE,
    DEEPEST,
    FORWARD,
    GROWS,
    KNOWN,
    LOSSES,
    MAKES,
    MODES,
    PLAIN,
    REDUCES,
    SUMS,
    TAKEN,
    TENSORS,
    WRAPS,
    WRITES,
)

if TYPE_CHECKING:
    from holdfast.supply.code_flow import Flow, Scope


@dataclass
class Calls:
    """The calls of one `Flow`."""

    flow: "Flow"

    def call(self, node: ast.Call, scope: "Scope") -> Value:
        """What a call gives."""
        flow = self.flow
        given = [flow.value(each, scope) for each in node.args]
        named = {k.arg or f"**{i}": flow.value(k.value, scope) for i, k in enumerate(node.keywords)}
        func = node.func
        if isinstance(func, ast.Attribute) and ast.unparse(func) not in scope:
            base = flow.value(func.value, scope)
            own = flow.names.methods.get((base.made, func.attr))
            if own is not None:
                return self.inline(Value(func=own, scope=flow.module), [base, *given], named)
            if not base.name and (base.made, func.attr) not in flow.attributes:
                return self.method(node, base, given, named, scope)
        callee = flow.value(func, scope)
        if callee.func is not None:
            return self.inline(callee, given, named)
        if callee.made == "class":
            made = Value(frozenset({f"{callee.name}@{node.lineno}:{node.col_offset}"}),
                         made=callee.name)  # fmt: skip
            start = flow.names.methods.get((callee.name, "__init__"))
            if start is not None:
                self.inline(Value(func=start, scope=flow.module), [made, *given], named)
            return made
        if callee.name:
            return self.library(callee.name, node, given, named)
        return self.apply(callee, given, named, node)

    def inline(self, callee: Value, given: Sequence[Value], named: dict[str, Value]) -> Value:
        """Follow a function of the same file with these arguments."""
        flow, function = self.flow, callee.func
        if function in flow.stack or len(flow.stack) >= DEEPEST or function is None:
            return mixed(*given, *named.values()) if given or named else NOTHING
        scope = dict(callee.scope or {})
        arguments = getattr(function, "args", None)
        if isinstance(arguments, ast.arguments):
            every = [*arguments.posonlyargs, *arguments.args]
            defaults = dict(zip(reversed(every), reversed(arguments.defaults), strict=False))
            for place, each in enumerate(every):
                if place < len(given):
                    scope[each.arg] = given[place]
                elif each.arg in named:
                    scope[each.arg] = named[each.arg]
                else:
                    scope[each.arg] = flow.value(defaults.get(each), scope)
            for each in arguments.kwonlyargs:
                scope[each.arg] = named.get(each.arg, NOTHING)
            if arguments.vararg:
                rest = tuple(given[len(every) :])
                scope[arguments.vararg.arg] = replace(join(*rest), items=rest)
        flow.stack.append(function)
        try:
            if isinstance(function, ast.Lambda):
                return flow.value(function.body, scope)
            flow.results.append([])
            flow.block(getattr(function, "body", []), scope)
            return join(*flow.results.pop())
        finally:
            flow.stack.pop()

    def apply(
        self, callee: Value, given: Sequence[Value], named: dict[str, Value], node: ast.Call
    ) -> Value:
        """Call an object: a model, a loss, a transformation."""
        flow, every = self.flow, [*given, *named.values()]
        answers, others = parted(given, named)
        if callee.made.startswith("loss:"):
            return flow.watch.loss(answers, others, node)
        own = next((flow.names.methods[callee.made, m] for m in ("forward", "__call__")
                    if (callee.made, m) in flow.names.methods), None)  # fmt: skip
        known = self.is_model(callee)
        loss = callee.made in flow.names.losses or bool(answers) or any(map(self.is_model, every))
        if own is not None and (loss or not known):
            made = self.inline(Value(func=own, scope=flow.module), [callee, *given], named)
            return flow.watch.loss(answers, others, node) if answers and not made.terms else made
        if answers and others and not known:
            return flow.watch.loss(answers, others, node)
        if AUGMENT.match(callee.made):
            return mixed(*every) if every else NOTHING
        return self.forward(callee, [v for v in every if v.slots], node)

    def is_model(self, value: Value) -> bool:
        """Known to be trained, or an instance of a model class."""
        names, watch = self.flow.names, self.flow.watch
        return value.made.startswith("model:") or value.made in names.modules or bool(
            value.slots & watch.models and PRED not in value.tags and not watch.is_data(value)
        )  # fmt: skip

    def forward(self, callee: Value, inputs: Sequence[Value], node: ast.Call) -> Value:
        """A pass through something that is called with data."""
        changes, slots = set[str](), frozenset[str]()
        for value in inputs:
            self.flow.watch.give("input", value)
            slots |= value.slots
            changes |= value.changes
            if PRED in value.tags:
                models = all(t.callee.startswith("+") for t in value.terms)
                changes.add("model" if models else "call")
        mark = "+" if self.is_model(callee) else ""
        key = f"{mark}{min(callee.slots, default=ast.unparse(node.func)[:60])}"
        term = Term(key, slots, frozenset(changes), line=node.lineno)
        tags = frozenset({PRED}) | frozenset().union(*(v.tags for v in inputs)) - {
            LOSS,
            CONST,
            FRESH,
        }
        return Value(slots, tags, frozenset(changes), frozenset({term}))

    def library(  # noqa: C901 - a case per function
        self, dotted: str, node: ast.Call, given: Sequence[Value], named: dict[str, Value]
    ) -> Value:
        """Call something that was imported, or built in."""
        last, every = dotted.rpartition(".")[2], [*given, *named.values()]
        first = given[0] if given else NOTHING
        watch, place = self.flow.watch, f"{last}@{node.lineno}:{node.col_offset}"
        if CHANCE.fullmatch(dotted):
            return Value(tags=frozenset({RANDOM}))
        if last in MAKES:
            return made(every)
        if last in TENSORS:
            return made(every) if CONST in first.tags and not first.slots else first
        if dotted == "builtins.range":
            return Value(tags=frozenset({STEP}))
        if last == "enumerate":
            return Value(items=(Value(tags=frozenset({STEP})), self.element(first)), made="rows")
        if last == "zip":
            return replace(mixed(*given) if given else NOTHING,
                           items=tuple(map(self.element, given)), made="rows")  # fmt: skip
        if last == "next":
            return self.element(first)
        if last in WRAPS:
            return first
        if last in ("sorted", "argsort", "sort", "lexsort"):
            return self.ordered(first, named.get("key"), last)
        if last in ("DataLoader", "Subset") or last.endswith("Sampler"):
            return self.loader(last, place, node, every)
        if "autograd.grad" in dotted:
            return Value(tags=frozenset({GRAD}), terms=first.terms)
        if last in ("where", "masked_fill", "index_fill"):
            return self.choice(every)
        if last in ("cat", "concat", "concatenate", "stack", "vstack", "hstack"):
            found = join(*(first.items or given))
            return replace(found, items=None)
        if is_loss(last):
            return Value(frozenset({place}), made=f"loss:{dotted}")
        answers, others = parted(given, named)
        if LOSSES.fullmatch(last) and every:
            return watch.loss(answers, others, node)
        if last in ("DMatrix", "Dataset") and ("label" in named or len(given) == 2):
            watch.give("input", first)
            watch.give("label", named.get("label", given[-1]))
        if last[:1].isupper():
            kind = "model:" if re.match(r"(torch\.nn|.*keras\b.*)\.", dotted) else ""
            return Value(frozenset({place}), made=f"{kind}{dotted}")
        if last in PLAIN:
            return NOTHING
        data = [v for v in every if watch.is_data(v) or v.tags & {PRED, LOSS}]
        if KNOWN.match(dotted) or AUGMENT.match(dotted):
            held = any(v.slots or v.tags - {CONST, NEGATIVE} for v in every)
            return mixed(*every) if held else fresh(place)
        if not data:
            kept = frozenset().union(*(v.slots for v in every))
            return replace(fresh(place), slots=kept or frozenset({place}))
        return mixed(*data).changed("call")

    def loader(self, last: str, place: str, node: ast.Call, every: Sequence[Value]) -> Value:
        """What decides which data come when."""
        tags = frozenset().union(*(v.tags for v in every)) if every else frozenset()
        if ORDERED in tags:
            self.flow.watch.report(rules.ORDER, node, "the rows come in an order that was chosen")
        elif BYLABEL in tags:
            self.flow.watch.report(rules.LABEL_ORDER, node, "the rows come in an order")
        elif tags & {LOSS, PRED}:
            self.flow.watch.report(rules.SAMPLER, node, "the model's answers decide what it sees")
        return Value(frozenset({place}), made=last)

    def ordered(self, what: Value, key: Value | None, last: str) -> Value:
        """A sort, by whatever decides it."""
        by = what
        if key is not None:
            by = self.inline(key, [self.element(what)], {}) if key.func is not None else key
        tags = set[str]()
        if by.tags & {LOSS, PRED}:
            tags.add(ORDERED)
        elif self.flow.watch.is_label(by):
            tags.add(BYLABEL)
        if last == "argsort":
            return Value(tags=frozenset(tags))
        return replace(what, tags=what.tags - {LOSS, PRED} | tags, items=None, literal=MISSING)

    def iterated(self, node: ast.For | ast.AsyncFor, items: Value) -> None:
        """A loop over something: in which order is it trained?"""
        if self.flow.names.trains(node.body):
            reason = "each batch is harmless, but their order steers the training"
            if ORDERED in items.tags:
                self.flow.watch.report(rules.ORDER, node.iter, reason)
            elif BYLABEL in items.tags:
                self.flow.watch.report(rules.LABEL_ORDER, node.iter, reason)

    def element(self, items: Value) -> Value:
        """Any item of it; of rows that were put together, the row."""
        if items.made == "rows":
            return replace(items, made="")
        if ORDERED in items.tags:
            return items.without(ORDERED).element()
        return items.element()

    def choice(self, values: Sequence[Value]) -> Value:
        """Some places keep the data, the others get something else."""
        watch = self.flow.watch
        data = [v for v in values[1:] if watch.is_data(v)] or [
            v for v in values if watch.is_data(v)
        ]
        other = [
            v
            for v in values
            if v not in data and not v.tags & {RANDOM, PRED, GRAD, NEGATIVE, "mask"}
        ]
        found = mixed(*values) if values else NOTHING
        if not (data and other and len(values) > 1):
            return found
        return replace(found, slots=join(*data).slots).changed("stamp")

    def gradient(self, value: Value, added: bool, node: ast.AST) -> None:
        """Something is written where the optimiser looks for gradients."""
        watch = self.flow.watch
        if any(t.odd for t in value.terms) or (added and value.terms):
            watch.report(rules.GRADIENT, node, "the optimiser follows a loss that nobody sees")
        elif watch.hidden and not (CONST in value.tags or value == NOTHING):
            watch.report(rules.GRADIENT_WRITE, node, "only under a condition")
        elif added and not value.tags & {RANDOM, PARAM, CONST} and (value.slots or value.tags):
            watch.report(rules.GRADIENT_WRITE, node, "something is added to the gradients")

    def method(  # noqa: C901 - a case per method
        self, node: ast.Call, base: Value, given: Sequence[Value], named: dict[str, Value],
        scope: "Scope",
    ) -> Value:  # fmt: skip
        """Call a method of something that is not of this file."""
        watch, func = self.flow.watch, node.func
        attr = func.attr if isinstance(func, ast.Attribute) else ""
        every = [*given, *named.values()]
        target = func.value if isinstance(func, ast.Attribute) else func
        if attr in MODES:
            watch.models |= base.slots if not base.tags & {PRED, LOSS} else set()
            return base
        if attr in TAKEN:
            watch.models |= base.slots
            return Value(base.slots, frozenset({PARAM}))
        if attr in ("backward", "manual_backward", "minimize"):
            watch.minimise(next((v for v in every if LOSS in v.tags), base))
            return NOTHING
        if attr == "gradient" and given:
            if "trainable" in ast.unparse(node):
                watch.minimise(given[0])
            return Value(tags=frozenset({GRAD}), terms=given[0].terms)
        if attr in HOOKS:
            rule, reason = judged(node, attr, every, self.flow.names)
            watch.report(rule, node, reason)
            return NOTHING
        if attr in ("fit", "partial_fit", "train_on_batch", "fit_transform") and len(given) > 1:
            watch.give("input", given[0])
            watch.give("label", given[1])
            return base
        if attr in GROWS:
            self.flow.rebind(target, replace(join(base, *every), made=base.made), scope)
            return NOTHING
        if attr in ("sort", "argsort") and not (base.tags & {PRED} and not base.tags & {LOSS}):
            found = self.ordered(base, named.get("key"), attr)
            if attr == "sort":
                self.flow.rebind(target, found, scope)
            return found
        if attr in MAKES:
            return made(every)
        if attr in WRITES or attr in SUMS:
            return self.changed(node, base, attr, every, scope)
        if attr in ("masked_fill", "where", "index_fill"):
            return self.choice([*given[:1], base, *given[1:]])
        if attr == "sample" and not watch.is_data(base):
            return replace(base, tags=base.tags | {RANDOM})
        part = base.item(attr)
        if self.is_model(part) or (attr in FORWARD and any(v.slots for v in every)):
            caller = part if self.is_model(part) else base
            return self.apply(replace(caller, made="model:"), given, named, node)
        if watch.is_data(base) or base.tags & {PRED, LOSS, GRAD, CONST, RANDOM, PARAM}:
            data = [v for v in every if v.tags & {PRED, LOSS} or watch.is_data(v)]
            found = mixed(base, *data)
            if attr in REDUCES and not every and not base.tags & {PRED, LOSS, GRAD}:
                return found.having(SCALAR)
            return replace(found, items=base.items) if not data else found
        data = [v for v in every if watch.is_data(v) or v.tags & {PRED, LOSS}]
        if data:
            found = mixed(*data)
            return found if LOSS in found.tags else found.changed("call")
        slots = frozenset().union(*(v.slots for v in every))
        return replace(part, slots=part.slots | slots, items=None)

    def changed(
        self, node: ast.Call, base: Value, attr: str, values: Sequence[Value], scope: "Scope"
    ) -> Value:
        """Tensors that are written to in place, or added to."""
        watch = self.flow.watch
        target = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        new = join(*values[-1:]) if attr != "zero_" else Value(tags=frozenset({CONST}), literal=0)
        if GRAD in base.tags:
            if attr.endswith("_") and attr != "zero_":
                self.gradient(join(*values), attr in ("add_", "sub_"), node)
            return base
        if attr in SUMS:
            op = ast.Mult() if attr.startswith("mul") else ast.Add()
            found = self.flow.operate(op, base, values[0] if values else NOTHING, node)
        elif attr in ("fill_", "zero_"):
            found = made([new]) if not base.slots else Value(
                base.slots, base.tags | {CONST}, base.changes | {"const"})  # fmt: skip
        else:
            index = values[0] if len(values) > 1 else NOTHING
            whole = ast.Slice()
            change = watch.write(base, index, whole, new, node) if named_(target) else "stamp"
            return self._store(target, join(base, new).changed(change), attr, scope)
        if named_(target) and attr.endswith("_") and isinstance(target, ast.Subscript):
            whole_base, index = (
                self.flow.value(target.value, scope),
                self.flow.value(target.slice, scope),
            )
            watch.write(whole_base, index, target.slice, new, node)
        real = NEGATIVE not in new.tags and FRESH not in base.tags and watch.is_label(base)
        if attr in ("fill_", "zero_") and isinstance(target, ast.Name | ast.Attribute) and real:
            watch.report(rules.LABELS, node, "a constant takes the place of the labels")
        return self._store(target, found, attr, scope)

    def _store(self, target: ast.expr, value: Value, attr: str, scope: "Scope") -> Value:
        if named_(target) and attr.endswith("_"):
            self.flow.rebind(target, value, scope)
        return value
