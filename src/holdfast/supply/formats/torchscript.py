"""TorchScript: the code of compiled models, word by word, for operators that leave the model.

The loader compiles this code and runs `__setstate__` and `forward` of it without Python. Most
operators compute; a few write and open files, and operators and classes of other libraries do
whatever their library does. Names are the only way to reach them: `torch.x`, `ops.library.x`,
`value.x()`, and `__torch__.torch.classes.library.x`.
"""

import re
import sys
from collections.abc import Iterator
from itertools import pairwise

from holdfast.core.record import Severity
from holdfast.supply.pickle_values import Malformed, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule, Verdict

MOST = 2**21
_WEIGHTS = "Do not load it. Ask for the weights alone, as safetensors."
FILES = Rule(
    "torchscript_scan/executing-callable", "The compiled code calls {subject}", Severity.CRITICAL,
    _WEIGHTS, refs=("CVE-2025-32434",),
)  # fmt: skip
LIBRARY = Rule(
    "torchscript_scan/unknown-callable", "The compiled code calls {subject} of another library",
    Severity.HIGH, _WEIGHTS,
)  # fmt: skip
PYTHON = Rule(
    "torchscript_scan/python-callable", "The compiled code calls the Python function {subject}",
    Severity.HIGH, _WEIGHTS,
)  # fmt: skip
UNCLEAR = Rule(
    "torchscript_scan/not-analysed", "The compiled code cannot be followed: {reason}",
    Severity.MEDIUM, _WEIGHTS, Verdict.UNREAD,
)  # fmt: skip

_REACHES = {
    "save": "writes a file", "from_file": "opens a file as a tensor", "read_file": "reads a file",
    "write_file": "writes a file", "load_library": "loads a library", "load": "reads a file",
    "rpc_async": "calls other machines", "rpc_sync": "calls other machines",
    "rpc_remote": "calls other machines", "load_tensor": "reads a file",
}  # fmt: skip
"""Operators of torch and torchvision that open files or reach other processes."""
_METHODS = ("save", "from_file")
"""Of these, the ones that torch lets a value call as its method."""
_LIBRARIES = (
    "aten", "prim", "prims", "quantized", "_quantized", "quantization", "prepacked", "mkldnn",
    "mkldnn_prepacked", "onednn", "mkl", "sparse", "torchvision", "image", "static_runtime",
    "tensorexpr", "_caffe2", "profiler", "cuda",
)  # fmt: skip
_CLASSES = ("quantized", "rnn", "xnnpack", "sparse", "mkldnn", "onednn", "profiler")
_WORD = re.compile(
    r"""(?P<space>[ \t\f\r\n\v]+|\\\r?\n)|(?P<comment>\#[^\n]*)
    |(?P<text>\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''
        |\"(?:[^"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<sign>[^"'\w\s])""",
    re.VERBOSE | re.DOTALL,
)
_OPERATOR = re.compile(r"([^:\s]+)::([^:.\s]+)(?:\.\S*)?")

Word = tuple[str, str, int]
"""Kind, text and place."""


def words(text: str) -> Iterator[Word]:
    """The words of a source, without space and comments.

    Raises:
        Malformed: a text does not end, or a character is none of the language.
    """
    pos = 0
    while pos < len(text):
        match = _WORD.match(text, pos)
        if match is None:
            raise Malformed("a word that is none of the language")
        if match.lastgroup not in ("space", "comment"):
            yield str(match.lastgroup), sys.intern(match[0]), pos
        pos = match.end()


def review(reading: Reading, part: Part) -> bool:
    """Report what a source reaches; false where it cannot be read, which is reported too."""
    try:
        if len(part) > MOST:
            raise Malformed(f"{len(part):,} bytes, where {MOST:,} are read")
        told = list(words(part.whole(MOST).decode("utf-8")))
    except (Malformed, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, Malformed) else "it is no text"
        reading.report(part, UNCLEAR, reason)
        return False
    reading.took(part, "TorchScript")
    seen: set[tuple[str, str]] = set()
    for rule, subject, reason, at in _judge(told):
        if (rule.id, subject) not in seen and len(seen) < 100:
            seen.add((rule.id, subject))
            reading.report(part, rule, reason, part.start + at, show(subject, 120))
    return True


def bytecode(reading: Reading, part: Part) -> None:
    """Operators of a model for phones: strings in a pickle, which its loader reads as they are."""
    import pickletools

    seen: set[tuple[str, str]] = set()
    try:
        if len(part) > MOST:
            raise ValueError(f"{len(part):,} bytes, where {MOST:,} are read")
        for _, told, at in pickletools.genops(part.whole(MOST)):
            match = _OPERATOR.fullmatch(told) if isinstance(told, str) else None
            if match and (match[1], match[2]) not in seen:
                seen.add((match[1], match[2]))
                for rule, subject, reason in _operator(match[1], match[2]):
                    reading.report(part, rule, reason, part.start + (at or 0), show(subject, 120))
    except ValueError as error:
        reading.report(part, UNCLEAR, f"its operators cannot be read: {show(str(error), 80)}")
        return
    reading.took(part, "TorchScript")


def _operator(library: str, name: str) -> Iterator[tuple[Rule, str, str]]:
    """What is wrong with one operator."""
    if name in _REACHES and library in ("aten", "prim", "image", "debugprims", "torch"):
        yield FILES, f"{library}::{name}", f"it {_REACHES[name]}"
    elif library not in _LIBRARIES:
        yield LIBRARY, f"{library}::{name}", "what it does is not known"


def _judge(told: list[Word]) -> Iterator[tuple[Rule, str, str, int]]:
    """What is wrong with the words of one source."""
    own = _methods(told), {a[1] for a, b in pairwise(told) if b[1] == ":"}
    for spot, (kind, word, at) in enumerate(told):
        before = told[spot - 1][1] if spot else ""
        if word == "^" and _begins(told, spot):
            yield (
                PYTHON,
                told[spot + 1][1],
                "it is looked up in Python when the model is loaded",
                at,
            )
        if kind != "name":
            continue
        if before != ".":
            yield from ((*each, at) for each in _path_of(_path(told, spot), told, spot))
        elif word in _METHODS and not (_is_path(told, spot) or _is_own(told, spot, own)):
            yield FILES, f"aten::{word}", f"as a method of a value, it {_REACHES[word]}", at


def _begins(told: list[Word], spot: int) -> bool:
    """Whether the sign at `spot` begins an expression, and does not stand between two."""
    kind, word, _ = told[spot - 1] if spot else ("sign", "", 0)
    ends = (kind != "sign" and word not in ("return", "in", "and", "or", "not")) or word in ")]"
    return spot + 1 < len(told) and told[spot + 1][0] == "name" and not (ends and word)


def _path_of(path: list[str], told: list[Word], spot: int) -> Iterator[tuple[Rule, str, str]]:
    """What is wrong with a name and what is looked up through it."""
    root, needed = path[0], {"torch": 2, "ops": 3}.get(path[0], 1)
    following = told[spot + 1][1] if spot + 1 < len(told) else ""
    if len(path) < needed:
        if len(path) > 1 or following not in (":", "="):  # an attribute may have this name
            yield UNCLEAR, root, f"the name {'.'.join(path)} is handed on"
    elif path[:2] == ["torch", "ops"] and len(path) > 3:
        yield from _operator(path[2], path[3])
    elif root == "torch":
        yield from _operator("aten", path[1])
    elif root == "ops":
        yield from _operator(path[1], path[2])
    elif path[:3] == ["__torch__", "torch", "classes"]:
        if len(path) < 4 or path[3] not in _CLASSES:
            yield LIBRARY, ".".join(path), "a class whose code is not in the file"
    elif root.startswith("rpc_") and root in _REACHES:
        yield FILES, root, f"it {_REACHES[root]}"


def _path(told: list[Word], spot: int) -> list[str]:
    """A name and the names after dots behind it."""
    found = [told[spot][1]]
    while spot + 2 < len(told) and told[spot + 1][1] == "." and told[spot + 2][0] == "name":
        spot += 2
        found.append(told[spot][1])
    return found


def _is_path(told: list[Word], spot: int) -> bool:
    """Whether a word behind a dot belongs to a path that is judged as a whole, or is compiled code."""
    while spot > 1 and told[spot - 1][1] == "." and told[spot - 2][0] == "name":
        spot -= 2
    return told[spot][1] in ("torch", "ops", "__torch__") and (not spot or told[spot - 1][1] != ".")


def _is_own(told: list[Word], spot: int, own: tuple[set[str], set[str]]) -> bool:
    """Whether a name is of the class itself: `(self).name(` of its methods, `self.name` of the rest."""
    word, before = told[spot][1], [text for _, text, _ in told[max(0, spot - 4) : spot]]
    called = spot + 1 < len(told) and told[spot + 1][1] == "("
    if called:
        return before == ["(", "self", ")", "."] and word in own[0]
    return before[-2:] == ["self", "."] and word in own[1]


def _methods(told: list[Word]) -> set[str]:
    """Methods that every class of the source defines: one that only some define decides nothing."""
    found: list[set[str]] = []
    for (_, word, _), (_, name, _) in pairwise(told):
        if word == "class":
            found.append(set())
        elif word == "def" and found:
            found[-1].add(name)
    return set.intersection(*found) if found else set()
