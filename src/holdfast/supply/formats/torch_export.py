"""Programs of torch.export (.pt2): the JSON of a graph, whose targets a loader looks up in torch.

The loader walks a target such as `torch.ops.aten.relu.default` name by name through the modules that
it begins with, and hands expressions of shapes to SymPy, which evaluates them as Python.
"""

import json
import re
from collections.abc import Iterator

from holdfast.core.record import Severity
from holdfast.supply.configs import MOST as VALUES
from holdfast.supply.pickle_values import Exhausted, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 64 * 2**20
_WEIGHTS = "Do not load the program. Ask for the weights alone, as safetensors."
REACHES = Rule(
    "torchscript_scan/executing-target", "The exported program calls {subject}", Severity.CRITICAL,
    _WEIGHTS,
)  # fmt: skip
TARGET = Rule(
    "torchscript_scan/unknown-target", "The exported program calls {subject} of another library",
    Severity.HIGH, _WEIGHTS,
)  # fmt: skip
EXPRESSION = Rule(
    "torchscript_scan/executing-expression",
    "The exported program evaluates an expression: {subject}", Severity.CRITICAL, _WEIGHTS,
)  # fmt: skip
PICKLED = Rule(
    "torchscript_scan/custom-object", "The exported program holds an object: {subject}",
    Severity.MEDIUM, _WEIGHTS, Verdict.UNREAD,
)  # fmt: skip

_FINE = re.compile(
    r"torch\.ops\.(aten|prims|prim|quantized|quantized_decomposed|_quantized|higher_order|torchvision"
    r"|mkldnn|onednn|torch_ao|torchao|rngprims|prepacked|sparse|_c10d_functional)\.[A-Za-z_]\w*(\.\w+)?"
    r"|torch\.sym_\w+|torch\._sym_\w+|_operator\.[a-z]+_?|math\.\w+"
    r"|torch\._higher_order_ops(\.\w+)+|torch\._C\._set_grad_enabled"
)
_OPENS = (
    "save",
    "from_file",
    "load",
    "load_library",
    "system",
    "popen",
    "exec",
    "eval",
    "open",
    "call",
    "attrgetter",
    "methodcaller",
    "os",
    "sys",
    "subprocess",
    "importlib",
    "builtins",
)
_QUOTED = re.compile(r"\b(Symbol|Float|Integer)\('[\w.+-]{1,80}'")
_WORD = re.compile(r"[^\W\d]\w*|\d[\w.]*|\S")
_SAFE = re.compile(
    r"[()+\-*/%,<>=!&|~]|\d+(\.\d*)?(e\d*)?|(?:[suizf]|zuf)\d+|Symbol|Integer|Float"
    r"|Rational|Add|Mul|Pow|Max|Min|Mod|ModularIndexing|FloorDiv|CeilDiv|PythonMod|CleanDiv|Where"
    r"|(?:Trunc|Ceil|Floor|Round)To(?:Int|Float)|RoundDecimal|IntTrueDiv|FloatTrueDiv|ToFloat"
    r"|PowByNatural|FloatPow|LShift|RShift|BitwiseFn_\w+|OpaqueUnaryFn_\w+|Eq|Ne|Lt|Le|Gt|Ge|And"
    r"|Or|Not|Equality|Unequality|(?:Strict)?(?:Less|Greater)Than|Abs|floor|ceiling|sqrt|oo|int_oo"
    r"|IsNonOverlappingAndDenseIndicator|true|false|True|False|Identity|Piecewise|ExprCondPair"
    r"|Infinity|NegativeInfinity|integer|positive|nonnegative|negative|nonzero|real|finite"
    r"|precision|evaluate|commutative"
)
"""Words of what torch prints of expressions: none is looked up in another, and none is a text."""


def claims(part: Part) -> bool:
    """JSON with the name of a graph in it, or with names that are written in another way."""
    if part.head(64).lstrip()[:1] != b"{":
        return False
    marks = (b'"graph_module"', b"\\u")
    return any(part.data.find(mark, part.start, part.end) >= 0 for mark in marks)


def read(reading: Reading, part: Part) -> bool:
    """Targets, expressions and objects of the program; false where the JSON is none."""
    if len(part) > MOST:
        return False
    try:
        tree = json.loads(part.whole(MOST), parse_int=float)
    except (ValueError, RecursionError):
        return False
    if not isinstance(tree, dict) or "graph_module" not in tree:
        return False
    reading.took(part, "torch.export program")
    seen: set[tuple[str, str]] = set()
    for key, value in _values(tree):
        for rule, reason in _judge(key, value):
            subject = show(value, 120)
            if (rule.id, subject) not in seen and len(seen) < 100:
                seen.add((rule.id, subject))
                at = part.data.find(str(value).encode("utf-8", "replace"), part.start, part.end)
                reading.report(part, rule, reason, at if at >= 0 else None, subject)
    return True


def _judge(key: str, value: object) -> Iterator[tuple[Rule, str]]:
    """What is wrong with one value under a key."""
    if not isinstance(value, str):
        return
    if key == "target":
        yield from _target(value)
    elif key in ("expr_str", "as_sym_expr") and not _plain(value):
        yield EXPRESSION, "SymPy evaluates it as Python"
    elif key in ("class_fqn", "custom_obj_name"):
        yield PICKLED, "its class is not known"


def _plain(expression: str) -> bool:
    return all(map(_SAFE.fullmatch, _WORD.findall(_QUOTED.sub(r"\1(", expression))))


def _target(name: str) -> Iterator[tuple[Rule, str]]:
    """A callable of a node."""
    pieces = name.split(".")
    walks = name.startswith(("torch", "_operator", "math", "#"))
    if walks and any(piece in _OPENS or piece[:2] == "__" for piece in pieces[1:]):
        yield REACHES, "it opens files or runs code"
    elif walks and not _FINE.fullmatch(name):
        yield TARGET, "it is not an operator of torch that is known"


def _values(tree: object) -> Iterator[tuple[str, object]]:
    """Every value under its key, at any depth."""
    left, count = [("", tree)], 0
    while left:
        key, thing = left.pop()
        count += 1
        if count > 4 * VALUES:
            raise Exhausted("more values than are looked at")
        yield key, thing
        if isinstance(thing, dict):
            left += [(str(name), value) for name, value in thing.items()]
        elif isinstance(thing, list):
            left += [(key, value) for value in thing]
