"""skops: scikit-learn's estimators as a tree of JSON, in which every node names a class.

Its loader asks its user which names to trust; a scan has nobody to ask. Names are checked against
the list of the pickle machine, and each kind of node against what its loader does with the name:
three of them have been used to run something else than they say (CVE-2025-54412, -54413, -54886).
"""

from collections.abc import Iterator

from holdfast.core.record import Severity
from holdfast.supply import pickle_names
from holdfast.supply.formats.safetensors import tree
from holdfast.supply.pickle_values import Exhausted, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import CONVERT, Rule

MOST = 64 * 2**20
NODES = 1_000_000
_REFS = ("CVE-2025-54412", "CVE-2025-54413", "CVE-2025-54886")
RUNS = Rule(
    "pickle_scan/executing-node", "Loading the file reaches {subject}", Severity.CRITICAL, CONVERT,
    refs=_REFS,
)  # fmt: skip
UNKNOWN = Rule(
    "pickle_scan/unknown-node", "Loading the file builds {subject}", Severity.HIGH, CONVERT,
    refs=_REFS,
)  # fmt: skip

_DATA = {
    "DictNode", "ListNode", "SetNode", "TupleNode", "BytesNode", "BytearrayNode", "SliceNode",
    "DefaultDictNode", "NdArrayNode", "MaskedArrayNode", "DTypeNode", "RandomStateNode",
    "RandomGeneratorNode", "SparseMatrixNode", "_DictWithDeprecatedKeysNode",
}  # fmt: skip
"""Nodes that build what their own loader knows; the name says which of a few classes."""
_NAMED = {
    "ObjectNode", "TypeNode", "FunctionNode", "PartialNode", "ConstructorFromReduceNode", "LossNode",
    "TreeNode", "QuantileForestNode",
}  # fmt: skip
"""Nodes that import the name, and call it or keep it."""
_BUILDS = ("class", "value", "dtype", "built", "distribution", "large", "enum", "index")
_CALLED = ("class", "call", "large")
"""Roles of names whose objects may be built by setting attributes, and of those that are called."""
_GETTERS = ("attrgetter", "itemgetter")
_SPARE = {
    ("builtins", "slice"), ("builtins", "bytes"), ("builtins", "bytearray"), ("builtins", "type"),
    ("numpy", "random"), ("numpy.random._generator", "Generator"), ("numpy.random", "Generator"),
    ("numpy.random.mtrand", "RandomState"), ("numpy.random", "RandomState"),
    ("sklearn.utils._bunch", "_DictWithDeprecatedKeys"), ("functools", "partial"),
    ("sklearn.covariance._empirical_covariance", "_DictWithDeprecatedKeys"),
    ("quantile_forest._quantile_forest_fast", "QuantileForest"),
}  # fmt: skip
"""Names that a pickle may not use in any way, but the loaders of these nodes use in one way only."""


def claims(part: Part) -> bool:
    """The name that skops gives its tree, and the key by which a node names its loader."""
    return part.called == "schema.json" and b"__loader__" in part.head(2**16)


def read(reading: Reading, part: Part) -> bool:
    """Every node of the tree."""
    seen = set[tuple[str, str]]()
    for rule, subject, reason in _judge(tree(part.whole(MOST))):
        if (rule.id, subject) not in seen and len(seen) < 100:
            seen.add((rule.id, subject))
            reading.report(part, rule, reason, None, show(subject, 120))
    reading.took(part, "skops")
    return True


def _judge(document: object) -> Iterator[tuple[Rule, str, str]]:
    left, count = [document], 0
    while left:
        thing, count = left.pop(), count + 1
        if count > NODES:
            raise Exhausted(f"more than {NODES:,} values in a tree")
        if isinstance(thing, dict):
            if "__loader__" in thing or "__class__" in thing:
                yield from _node(thing)
            left += thing.values()
        elif isinstance(thing, list):
            left += thing


def _node(node: dict[str, object]) -> Iterator[tuple[Rule, str, str]]:
    """What is wrong with one node."""
    loader, module, name = (str(node.get(k, "")) for k in ("__loader__", "__module__", "__class__"))
    full, role = f"{module}.{name}", pickle_names.role(module, name)
    called = loader == "ConstructorFromReduceNode"
    known = role in (_CALLED if called else _BUILDS) or (module, name) in _SPARE
    if pickle_names.executes(module, name) and (module, name) not in _SPARE:
        getter = loader == "OperatorFuncNode" and name in _GETTERS
        if not getter:
            yield RUNS, full, f"named by a {show(loader)}"
    elif loader == "MethodNode":
        yield UNKNOWN, full, "a MethodNode, which looks up a method by a name from the file"
    elif loader == "JsonNode":
        if module != "builtins":
            yield UNKNOWN, full, "a JsonNode, which holds texts and numbers only"
    elif loader == "OperatorFuncNode":
        if name not in _GETTERS:
            yield UNKNOWN, full, "an OperatorFuncNode that calls"
    elif loader not in _DATA | _NAMED:
        yield UNKNOWN, f"{full} by {loader or 'no loader'}", "a node that skops does not have"
    elif not known:
        yield UNKNOWN, full, f"named by a {loader} and not on the allow list"
