"""Keras models as JSON: `config.json` of a .keras archive, `to_json`, attributes of HDF5 files.

Keras builds whatever classes and functions the JSON names, wherever in it an object has a
`class_name`; so every object is looked at, at any depth, in `build_config` and `compile_config` too.

What the references are: CVE-2024-3660, bytecode in Lambda layers (Keras before 2.13);
CVE-2025-1550, any function of any module in spite of safe mode (before 3.9); CVE-2025-8747, the
same by Keras's own functions (before 3.11); CVE-2025-9906, a configuration that calls
`enable_unsafe_deserialization` (before 3.11); CVE-2025-9905, HDF5 files, for which safe mode does
nothing (before 3.11.3); CVE-2025-49655, the pickle in TorchModuleWrapper (3.11.0 to 3.11.2);
CVE-2025-12058, vocabularies at paths and addresses, and CVE-2025-12060, archives that `get_file`
unpacks outside of their folder (before 3.12); CVE-2026-1462, TFSMLayer loads any SavedModel
(before 3.13.2); CVE-2026-12479, names of layers that lead out of a folder (3.14.0);
CVE-2026-1669, links and data sets of HDF5 that read other files (3.0.0 to 3.13.1);
CVE-2026-0897, shapes that exhaust the memory (3.0.0 to 3.13.0).
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, ValuesView

from holdfast.core.record import Severity
from holdfast.supply import archives, keras_names, rules, tf_names
from holdfast.supply.pickle_values import Exhausted, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

Thing = dict[str, object]
Verdicts = tuple[Rule, str, str]
"""What is wrong: rule, reason, subject."""

MOST = 16 * 2**20
"""Bytes of JSON that are read: a vocabulary of a million words fits."""
_OBJECTS, _LEVELS = 100_000, 200
_TOLD = 100
"""Things that one rule says of a part: finding the place of each takes a search."""

_REBUILD = (
    "Do not load the file. Ask for the weights alone, and build the model from code that you have "
    "read."
)
_UPDATE = "Load it with Keras 3.13.2 or later, in safe mode, if at all. " + _REBUILD
LAMBDA = Rule(
    "keras_scan/lambda-callable", "Loading the model rebuilds a Python function from its bytecode",
    Severity.CRITICAL, _REBUILD, refs=("CVE-2024-3660", "CVE-2025-9905"),
)  # fmt: skip
RUNS = Rule(
    "keras_scan/executing-callable", "The model names {subject}", Severity.CRITICAL, _UPDATE,
    refs=("CVE-2025-1550", "CVE-2025-8747"),
)  # fmt: skip
UNSAFE = Rule(
    "keras_scan/safe-mode-callable", "The model switches off Keras's safe mode", Severity.CRITICAL,
    _UPDATE, refs=("CVE-2025-9906",),
)  # fmt: skip
DOWNLOAD = Rule(
    "keras_scan/download-callable", "The model names {subject}, which downloads and unpacks",
    Severity.CRITICAL, _UPDATE, refs=("CVE-2025-8747", "CVE-2025-12060"),
)  # fmt: skip
OUTSIDE = Rule(
    "keras_scan/unknown-callable", "The model names {subject}, which is not a part of Keras",
    Severity.HIGH, _UPDATE, refs=("CVE-2025-1550",),
)  # fmt: skip
TORCH = Rule(
    "keras_scan/pickle-callable", "The model holds a pickled torch module, which loading unpickles",
    Severity.CRITICAL, _UPDATE, refs=("CVE-2025-49655",),
)  # fmt: skip
SAVED = Rule(
    "keras_scan/outside-model", "The model runs another model from the path {subject}",
    Severity.HIGH, _UPDATE, refs=("CVE-2026-1462",),
)  # fmt: skip
VOCABULARY = Rule(
    "keras_scan/outside-file", "The model reads its vocabulary from the path {subject}",
    Severity.HIGH, _UPDATE, refs=("CVE-2025-12058",),
)  # fmt: skip
PATH = Rule(
    "keras_scan/layer-path", "A layer's name leads out of the model's folder: {subject}",
    Severity.HIGH, _REBUILD, refs=("CVE-2026-12479",),
)  # fmt: skip
CUSTOM = Rule(
    "keras_scan/custom-object", "The model needs {subject}, which the file does not define",
    Severity.MEDIUM, "Nothing can be said about it: read the code that defines it.",
    Verdict.UNREAD,
)  # fmt: skip

_CODED = ("lambda", "raw")
_NAME = re.compile(r"[A-Za-z_][\w.>]{0,100}", re.ASCII)
_PLACED = ("StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization")
"""Layers of `_JUDGES` that are looked for by module and name as any other."""
_DEEP = f"more than {_LEVELS} levels in a Keras configuration"
_STARTS = (b"{", b"[", b"\x00{", b"\x00[", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_METADATA = ("keras_version", "date_saved")


def claims(part: Part) -> bool:
    """The beginning of JSON, in any encoding that Python's reader takes."""
    return part.head(64).lstrip(b" \t\r\n").startswith(_STARTS)


def read(reading: Reading, part: Part) -> bool:
    """Whether it is a model, or what Keras writes beside one; other JSON is left to others."""
    if len(part) > MOST and part.data.find(b"class_name", part.start, part.end) < 0:
        return False
    text = part.whole(MOST)
    try:
        tree = json.loads(text, parse_int=float)  # Python's limit of digits is not everywhere
    except ValueError:
        return False
    except RecursionError as error:
        raise Exhausted(_DEEP) from error
    if isinstance(tree, dict) and set(_METADATA) <= tree.keys() and len(tree) <= 4:
        reading.took(part, "Keras metadata")
        return True
    found = review(reading, part, tree)
    model = isinstance(tree, dict) and _is_object(tree)
    if found:
        reading.took(part, "Keras configuration")
    return model or (found > 0 and isinstance(tree, list))


def parse(reading: Reading, part: Part, text: bytes, what: str, traced: bool = False) -> None:
    """Review a configuration that lies within another format; `traced` as in `review`.

    Raises:
        Exhausted: it is longer or deeper than is read.
    """
    if len(text) > MOST:
        raise Exhausted(f"{what} of {len(text):,} bytes, where at most {MOST:,} are read")
    try:
        review(reading, part, json.loads(text, parse_int=float), traced)
    except RecursionError as error:
        raise Exhausted(_DEEP) from error
    except ValueError:
        reading.report(part, rules.MALFORMED, f"{what} that is not JSON")


def review(reading: Reading, part: Part, tree: object, traced: bool = False) -> int:
    """Report what the objects of a configuration name; how many objects there are.

    `traced` says that the file defines every class by a graph too, so that none is missing.
    """
    told: set[tuple[str, str]] = set()
    counts = Counter[str]()

    def tell(rule: Rule, reason: str, subject: str = "") -> None:
        if (rule.id, subject) in told or (traced and rule is CUSTOM) or counts[rule.id] >= _TOLD:
            return
        told.add((rule.id, subject))
        counts[rule.id] += 1
        spots = [_find(part, each) for each in (subject, subject.rpartition(".")[2])]
        at = next((spot for spot in spots if spot >= 0), None)
        reading.report(part, rule, reason, at, show(subject, 120))

    count = 0
    for thing in objects(tree):
        count += 1
        if count > _OBJECTS:
            raise Exhausted(f"more than {_OBJECTS:,} objects in a Keras configuration")
        for rule, reason, subject in _judge(thing):
            tell(rule, reason, subject)
        if thing.get("class_name") == "TorchModuleWrapper":
            _unwrap(reading, part, thing)
    return count


def _find(part: Part, text: str) -> int:
    """Where a name stands in the part, or -1: it can be written in many ways."""
    return part.data.find(text.encode("utf-8", "replace"), part.start, part.end) if text else -1


def objects(tree: object) -> Iterator[Thing]:
    """Every object that Keras would build, at any depth.

    Raises:
        Exhausted: it has more levels than are read. Python's own limit would depend on the caller.
    """
    stack = [(tree, 0)]
    while stack:
        thing, level = stack.pop()
        if level > _LEVELS:
            raise Exhausted(_DEEP)
        if isinstance(thing, dict) and _is_object(thing):
            yield thing
        inner = thing.values() if isinstance(thing, dict) else thing
        if isinstance(inner, list | ValuesView):
            stack.extend((each, level + 1) for each in inner if isinstance(each, dict | list))


def _is_object(thing: Thing) -> bool:
    return isinstance(thing.get("class_name"), str) and not thing.keys().isdisjoint(
        ("config", "module", "registered_name")
    )


def _judge(thing: Thing) -> Iterator[Verdicts]:
    """What is wrong with one object."""
    kind, config = str(thing["class_name"]), thing.get("config")
    for name in (thing.get("name"), config.get("name") if isinstance(config, dict) else None):
        if isinstance(name, str) and archives.leaves(name):
            yield PATH, "Keras makes folders of the names of layers", name
    judge = _JUDGES.get(kind)
    if judge is None or kind in _PLACED or keras_names.foreign(thing.get("module")):
        called = {"function": config, "__typespec__": thing.get("spec_name")}.get(kind, kind)
        yield from _place(thing, str(called))
    if judge is not None:
        yield from judge(thing, config if isinstance(config, dict) else {})


def _bytecode(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    yield LAMBDA, "a serialised lambda function", "__lambda__"


def _torch(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    yield TORCH, "a layer of kind TorchModuleWrapper", "TorchModuleWrapper"


def _saved(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    yield SAVED, "a layer of kind TFSMLayer loads a SavedModel", str(inner.get("filepath"))


def _jax(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    name = str(thing["class_name"])
    yield CUSTOM, f"a layer of kind {name} calls functions of another library", name


def _symbol(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    """A function of TensorFlow by its public name, which rebuilding the model calls."""
    symbol = str(inner.get("function", inner.get("cls_symbol", inner.get("cls_ref"))))
    if not keras_names.tensorflow_symbol(symbol):
        reaches = keras_names.tensorflow_reaches(symbol)
        reason = "rebuilding the model calls it"
        yield RUNS if reaches else CUSTOM, reason, f"tf.{symbol.removeprefix('tf.')}"


def _vocabulary(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    """A layer that keeps words: in the file, or at a path that loading reads."""
    name, path = str(thing["class_name"]), inner.get("vocabulary")
    if isinstance(path, str) and path:
        yield VOCABULARY, f"a layer of kind {name} has a path in place of its words", path


def _place(thing: Thing, name: str) -> Iterator[Verdicts]:
    """Where a name is looked for, and what it is there."""
    given = thing.get("module")
    module = given if isinstance(given, str) and given else None
    subject = f"{module}.{name}" if module else name
    if name == "enable_unsafe_deserialization":
        yield UNSAFE, "its configuration calls enable_unsafe_deserialization", subject
        return
    if name == "get_file":
        yield DOWNLOAD, "its configuration names a function that loads from the network", subject
        return
    standing = keras_names.standing(module, name)
    if standing == "runs":
        yield RUNS, "it runs code, reaches files or the network, or loads other models", subject
    elif standing == "outside":
        yield OUTSIDE, "versions of Keras before 3.9 import the module and call it", subject
    elif standing == "custom":
        yield CUSTOM, "it is none of the classes and functions of Keras that are known", subject
    else:
        other = thing.get("registered_name")
        plain = (None, "", "function", name, thing.get("class_name"), "Custom>" + name)
        if module and other not in plain and not str(other).endswith(">" + name):
            yield CUSTOM, f"it is registered under another name than {show(name)}", str(other)


def _lambda(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    """A Lambda layer: bytecode, or the name of a function that the loading program has."""
    for key in ("output_shape", "mask"):
        if inner.get(f"{key}_type") in _CODED and inner.get(key) is not None:
            yield LAMBDA, f"the {key} of a Lambda layer", "Lambda"
    told = inner.get("function")
    if isinstance(told, dict) and told.get("class_name") == "__tuple__":
        told = told.get("items")
    coded = inner.get("function_type") in _CODED or isinstance(told, list)
    if told is not None and (coded or (isinstance(told, str) and not _NAME.fullmatch(told))):
        yield LAMBDA, "the function of a Lambda layer", "Lambda"
    elif isinstance(told, str):
        yield from _place({}, told)
    elif not isinstance(told, dict) or not _is_object(told):
        yield CUSTOM, "a Lambda layer whose function cannot be read", "Lambda"


def _operation(thing: Thing, inner: Thing) -> Iterator[Verdicts]:
    """One operation of TensorFlow, as old files hold it: a node in JSON."""
    node = inner.get("node_def")
    try:
        told = json.loads(node) if isinstance(node, str) else node
        op = str(told["op"]) if isinstance(told, dict) else ""
    except (ValueError, KeyError, RecursionError):
        op = ""
    known = tf_names.standing(op)
    if known != "known":
        rule = CUSTOM if known == "custom" else RUNS
        yield rule, "a layer of kind TensorFlowOpLayer runs it", op or "an operation"


def _unwrap(reading: Reading, part: Part, thing: Thing) -> None:
    """The pickle in a TorchModuleWrapper, read as any other torch file."""
    inner = thing.get("config")
    packed = inner.get("module") if isinstance(inner, dict) else None
    if not isinstance(packed, str):
        return
    try:
        content = base64.b64decode(packed.encode())
    except (binascii.Error, ValueError):
        return  # it does not load either, and the layer is reported
    reading.read(part.within(0, len(content), "torch module", content))


_JUDGES: dict[str, Callable[[Thing, Thing], Iterator[Verdicts]]] = {
    "__lambda__": _bytecode,
    "Lambda": _lambda,
    "TorchModuleWrapper": _torch,
    "TFSMLayer": _saved,
    "JaxLayer": _jax,
    "FlaxLayer": _jax,
    "TFOpLambda": _symbol,
    "SlicingOpLambda": _symbol,
    "ClassMethod": _symbol,
    "InstanceMethod": _jax,
    "InstanceProperty": _jax,
    "TensorFlowOpLayer": _operation,
    "StringLookup": _vocabulary,
    "IntegerLookup": _vocabulary,
    "IndexLookup": _vocabulary,
    "TextVectorization": _vocabulary,
}
"""Classes that can do more than their name says."""
