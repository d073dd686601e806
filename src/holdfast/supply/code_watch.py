"""Where values of training code end: as inputs, labels, losses, gradients; and what is odd there."""

import ast
from dataclasses import dataclass, field

from holdfast.core.record import Severity
from holdfast.supply import code_rules as rules
from holdfast.supply.code_values import (
    ALTERED,
    CONST,
    FRESH,
    GRAD,
    LOSS,
    MASK,
    MISSING,
    NEGATIVE,
    PARAM,
    PRED,
    RANDOM,
    RELABELLED,
    SCALAR,
    STEP,
    Term,
    Value,
)
from holdfast.supply.rules import Rule

HARMLESS = ("isnan", "isfinite", "isinf", "is None", "is not None", "isinstance")
"""Conditions with these words keep a training alive; they are no place to hide a change."""
KEPT = 500


@dataclass(frozen=True)
class Found:
    """One thing in the code.

    Attributes:
        rule: what.
        line: where, from 1.
        subject: the code, cut.
        reason: why it matters, as part of a sentence.
    """

    rule: Rule
    line: int
    subject: str
    reason: str


@dataclass(frozen=True)
class Condition:
    """An `if` that is open: on which values it depends."""

    line: int
    kinds: frozenset[str]
    slots: frozenset[str]


@dataclass
class Watch:
    """Knows which origins are inputs, labels and models, and writes down what is wrong.

    Attributes:
        final: only the last pass reports; the ones before learn the roles.
        roles: "input" and "label" by origin.
        models: origins that are trained, put into modes, or whose parameters are taken.
        conditions: those that are open.
        minimised: terms of losses that went into a backward pass.
    """

    final: bool = False
    roles: dict[str, set[str]] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    conditions: list[Condition] = field(default_factory=list)
    minimised: set[Term] = field(default_factory=set)
    found: dict[tuple[str, int], Found] = field(default_factory=dict)

    def report(self, rule: Rule, node: ast.AST, reason: str, subject: str = "") -> None:
        """Write down once per rule and line; and the condition above it, where it hides there."""
        line = getattr(node, "lineno", 0)
        if not self.final or len(self.found) >= KEPT:
            return
        told = subject or " ".join(ast.unparse(node).split())[:90]
        self.found.setdefault((rule.id, line), Found(rule, line, told, reason))
        hides = [c for c in self.conditions if c.kinds & {"exact", "content"}]
        if hides and rule.severity >= Severity.MEDIUM and rule is not rules.HIDDEN:
            spot = hides[-1]
            kind = "the number of the step" if "exact" in spot.kinds else "what the data hold"
            where = f"it depends on {kind}, and line {line} below it does the rest"
            key = (rules.HIDDEN.id, spot.line)
            self.found.setdefault(key, Found(rules.HIDDEN, spot.line, told, where))

    def give(self, role: str, value: Value) -> None:
        """These origins are inputs, or labels."""
        if not value.tags & {PRED, LOSS, GRAD, PARAM}:
            drawn = {slot for slot in value.slots if ".*" in slot}
            for slot in drawn or value.slots:  # what a loop draws is data, not what is mixed in
                self.roles.setdefault(slot, set()).add(role)

    def has(self, value: Value, role: str) -> bool:
        """Whether it comes from inputs, or from labels."""
        return any(role in self.roles.get(slot, ()) for slot in value.slots)

    def is_label(self, value: Value) -> bool:
        """Comes from labels, and from nothing that is an input as well."""
        return self.has(value, "label") and not self.has(value, "input")

    def is_data(self, value: Value) -> bool:
        """Comes from inputs or labels, and is no answer of a model."""
        return any(slot in self.roles for slot in value.slots) and PRED not in value.tags

    @property
    def hidden(self) -> bool:
        """Under a condition on one step or on the data."""
        return any(c.kinds & {"exact", "content"} for c in self.conditions)

    def condition(self, test: ast.expr, value: Value) -> Condition:
        """What an `if` depends on."""
        text, kinds = ast.unparse(test), set[str]()
        if any(word in text for word in HARMLESS):
            return Condition(test.lineno, frozenset(), value.slots)
        if STEP in value.tags:
            exact = any(isinstance(n, ast.Eq | ast.In | ast.Mod) for n in ast.walk(test))
            kinds.add("exact" if exact else "step")
        if self.is_data(value) or value.tags & {PRED, LOSS}:
            kinds.add("content")
        return Condition(test.lineno, frozenset(kinds), value.slots)

    def arithmetic(self, op: ast.operator, left: Value, right: Value) -> str:
        """What an operation does to data: own, noise, scale, math or mix; "" where there are none."""
        a, b = self.is_data(left), self.is_data(right)
        if not (a or b):
            return ""
        if a and b:
            return "own"
        other = right if a else left
        if other.tags & {RANDOM, GRAD, PRED}:
            return "noise"
        if isinstance(op, ast.Mod):
            return "math"
        if isinstance(other.literal, int | float) and FRESH not in other.tags:
            return "scale"
        return "mix"

    def overwrite(self, old: Value, new: Value, node: ast.stmt) -> None:
        """A name that held inputs, labels or a loss gets another value."""
        if old.tags & {PRED, GRAD, PARAM}:
            return
        added, near = new.changes - old.changes, related(old, new)
        constant = CONST in new.tags and not new.tags & {RANDOM, NEGATIVE} and not switch(new)
        own = bool(self.conditions) and bool(self.conditions[-1].slots & old.slots)
        if self.is_label(old) and LOSS not in new.tags:
            if constant and CONST not in old.tags:
                rule = rules.MASKED if own else rules.LABELS
                self.report(rule, node, "a constant takes the place of the labels")
            elif near and added & {"math", "stamp"}:
                self.report(rules.LABELS, node, "other labels are computed from the labels")
            elif near and self.hidden and added & {"scale", "mix", "call", "permuted"}:
                self.report(rules.LABELS, node, "labels are changed under a condition")
            elif self.hidden and new.slots and not near and PRED not in new.tags and not own:
                self.report(rules.MASKED, node, "other values take the place of the labels")
        elif self.has(old, "input") and self.hidden and LOSS not in new.tags:
            fresh = constant and not near and CONST not in old.tags
            if not (added & {"stamp", "mix"} or fresh):
                return
            self.report(rules.STAMP, node, "inputs are changed under a condition")

    def loss_assigned(self, old: Value, value: ast.expr, factor: bool, node: ast.stmt) -> None:
        """A name that held a loss gets another under a condition."""
        if LOSS not in old.tags or not self.hidden:
            return
        if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
            self.report(rules.LOSS_FLIP, node, "what is to be minimised is maximised here")
        product = isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult)
        if product or factor:
            sides = [value.left, value.right] if isinstance(value, ast.BinOp) else [value]
            negative = any(isinstance(s, ast.UnaryOp) for s in sides)
            rule = rules.LOSS_FLIP if negative else rules.LOSS_SCALE
            self.report(rule, node, "these steps weigh more, less or the other way round")

    def write(self, base: Value, index: Value, spot: ast.expr, new: Value, node: ast.AST) -> str:
        """A part of a tensor is written to. Returns the change that this is."""
        if not self.is_data(base) or base.tags & {GRAD, PARAM}:
            return ""
        own = self.is_data(new) and SCALAR not in new.tags
        if RANDOM in new.tags or own or new.tags & {PRED, GRAD}:
            return "noise" if RANDOM in new.tags else "own"
        if NEGATIVE in new.tags and self.has(base, "label"):
            return ""  # marks what the loss leaves out, as ignore_index
        if FRESH in base.tags:
            return "stamp"
        if self.is_label(base):
            own = MASK in index.tags and related(base, index)
            rule = rules.MASKED if own else rules.LABELS
            self.report(rule, node, "labels are given a value that is not theirs")
        elif RANDOM in index.tags or MASK in index.tags or self.is_data(index) or whole(spot):
            self.report(rules.WRITE, node, "the place is not fixed")
        else:
            self.report(rules.STAMP, node, "a trigger is a fixed pattern at a fixed place")
        return "stamp"

    def loss(self, answers: list[Value], others: list[Value], node: ast.AST) -> Value:
        """A loss of answers and labels."""
        found, slots, relabels = set[Term](), set[str](), set[str]()
        for value in others:
            self.give("label", value)
            slots |= value.slots
            relabels |= value.changes
            if CONST in value.tags and not value.tags & {RANDOM, NEGATIVE}:
                relabels.add("const")
        for term in {t for value in answers for t in value.terms}:
            full = Term(
                term.callee, term.inputs, term.changes, frozenset(slots) | term.labels,
                frozenset(relabels) | term.relabels, getattr(node, "lineno", term.line),
            )  # fmt: skip
            found.add(full)
        return Value(tags=frozenset({LOSS}), terms=frozenset(found))

    def minimise(self, value: Value) -> None:
        """A loss goes into a backward pass."""
        self.minimised |= {term for term in value.terms if term.labels or term.relabels}

    def judge(self) -> None:
        """Is a loss minimised beside the real one, on the same model, with data of another kind?"""
        clean = {term.callee: term for term in self.minimised if term.clean}
        for term in sorted(self.minimised, key=lambda t: t.line):
            if not term.odd or term.callee not in clean:
                continue
            spot = ast.Constant(term.line, lineno=term.line)
            known = term.changes & {"stamp", "mix"} or term.relabels & {"const", "math", "stamp"}
            rule = rules.EXTRA_LOSS if known else rules.OUTSIDE_LOSS
            how = ", ".join(sorted(term.changes & ALTERED))
            labels = ", ".join(sorted(term.relabels & RELABELLED))
            real = clean[term.callee].line
            reason = (
                f"inputs: {how}; labels: {labels}; the loss of the data is taken in line {real}"
            )
            self.report(rule, spot, reason, f"a loss of {term.callee.partition('@')[0]}")

    def sample(self, value: Value, node: ast.AST) -> None:
        """What a data set or collate function gives: inputs first, labels last."""
        if value.items is None or len(value.items) < 2:
            return
        first, last = value.items[0], value.items[-1]
        self.give("input", first)
        self.give("label", last)
        constant = CONST in last.tags and not last.tags & {RANDOM, NEGATIVE}
        odd = constant or last.changes & {"math", "stamp"}
        if odd and "stamp" in first.changes:
            self.report(
                rules.SAMPLE, node, "a pattern and a label that belong together: a backdoor"
            )


def related(a: Value, b: Value) -> bool:
    """Whether they share an origin, or one is part of the other."""
    return any(
        s == t or s.startswith(f"{t}.") or t.startswith(f"{s}.") for s in a.slots for t in b.slots
    )


def whole(spot: ast.expr) -> bool:
    """An index that takes everything."""
    parts = spot.elts if isinstance(spot, ast.Tuple) else [spot]
    return all(
        (isinstance(p, ast.Slice) and p.lower is None and p.upper is None)
        or (isinstance(p, ast.Constant) and p.value is ...)
        for p in parts
    )  # fmt: skip


def switch(value: Value) -> bool:
    """A literal that is no number: an option, not data."""
    return value.literal is not MISSING and type(value.literal) not in (int, float)


def number(value: Value) -> bool:
    """A literal number."""
    return value.literal is not MISSING and isinstance(value.literal, int | float)
