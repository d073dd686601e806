"""GGUF files: built by the specification they are clean, and every wrong count or template is told."""

import random
import struct
import time
from typing import Any

import pytest

from holdfast.core.errors import NotApplicable
from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.gguf_scan import GgufScan
from tests.supply.bypasses import EVIL
from tests.supply.chat_templates import ORDINARY

TYPES = {"B": 0, "b": 1, "H": 2, "h": 3, "I": 4, "i": 5, "f": 6, "?": 7, "Q": 10, "q": 11, "d": 12}


class Writer:
    """Pieces of a file of one version and order of bytes."""

    def __init__(self, version: int = 3, order: str = "<") -> None:
        self.version, self.order = version, order

    def n(self, form: str, *values: Any) -> bytes:
        return struct.pack(self.order + form, *values)

    def count(self, value: int) -> bytes:
        return self.n("I" if self.version == 1 else "Q", value)

    def text(self, value: str | bytes) -> bytes:
        raw = value.encode() if isinstance(value, str) else value
        return self.count(len(raw)) + raw

    def value(self, value: Any) -> bytes:
        """Type and value: a text, a list of texts or of numbers, or (form, number)."""
        if isinstance(value, str | bytes):
            return self.n("I", 8) + self.text(value)
        if isinstance(value, list) and isinstance(value[0], str):
            return self.n("II"[:1], 9) + self.n("I", 8) + self.count(len(value)) + b"".join(
                map(self.text, value)
            )  # fmt: skip
        if isinstance(value, list):
            packed = self.n(f"{len(value)}f", *value)
            return self.n("I", 9) + self.n("I", 6) + self.count(len(value)) + packed
        form, number = value
        return self.n("I", TYPES[form]) + self.n(form, number)

    def tensor(self, name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
        sizes = b"".join(map(self.count, shape))
        return self.text(name) + self.n("I", len(shape)) + sizes + self.n("IQ", kind, offset)


def built(
    keys: dict[str, Any] | None = None, tensors: tuple[tuple[Any, ...], ...] = (("w", (8,), 0, 0),),
    data: bytes = bytes(32), version: int = 3, order: str = "<", **wrong: int,
) -> bytes:  # fmt: skip
    """A file; `counts` and `key_count` lie about how many tensors and keys there are."""
    w = Writer(version, order)
    keys = {"general.architecture": "llama"} if keys is None else keys
    head = b"GGUF" + w.n("I", version) + w.count(wrong.get("counts", len(tensors)))
    head += w.count(wrong.get("key_count", len(keys)))
    for name, value in keys.items():
        head += w.text(name) + w.value(value)
    head += b"".join(w.tensor(*tensor) for tensor in tensors)
    alignment = keys.get("general.alignment", ("I", 32))[1] or 32
    return head + bytes(-len(head) % alignment) + data


def scanned(content: bytes, file: str = "model.gguf") -> Scan:
    return scan_bytes(content, file)


def rules(scan: Scan) -> set[str]:
    return {issue.rule.id.removeprefix("gguf_scan/") for issue in scan.issues}


MODEL = {
    "general.architecture": "llama", "general.name": "A model (7B)", "llama.block_count": ("I", 2),
    "general.description": "Made by https://example.invalid/lab; see `model.eval()` there.",
    "general.tags": ["text-generation", "llama"], "llama.rope.freq_base": ("f", 1e4),
    "tokenizer.ggml.tokens": ["<s>", "<script>", "__class__", "{% include %}", "\u2581eval("],
    "tokenizer.ggml.scores": [0.0, 1.0, 2.0, 3.0, 4.0],
    "tokenizer.ggml.add_bos_token": ("?", True), "general.size": ("Q", 2**40),
}  # fmt: skip
TENSORS = (
    ("token_embd.weight", (256, 2), 12, 0), ("blk.0.w", (32, 2), 2, 288), ("b", (3,), 0, 352),
    ("empty", (0,), 0, 384),
)  # fmt: skip
BENIGN = {
    "a model": built(MODEL, TENSORS[:3], bytes(384)),
    "last one without padding": built(MODEL, TENSORS[:3], bytes(364)),
    "an empty tensor": built(MODEL, TENSORS, bytes(384)),
    "words alone": built(MODEL, (), b""),
    "version 2": built(MODEL, TENSORS[:3], bytes(384), version=2),
    "version 1": built(MODEL, TENSORS[:3], bytes(384), version=1),
    "big end first": built(MODEL, TENSORS[:3], bytes(384), order=">"),
    "alignment": built({"general.alignment": ("I", 64)}, (("w", (8,), 0, 0),), bytes(64)),
    "scalar": built({}, (("s", (), 0, 0),), bytes(4)),
    **{n: built({**MODEL, "tokenizer.chat_template": t}) for n, t in ORDINARY.items()},
}
WALK = "{{ ''.__class__.__mro__[1].__subclasses__() }}"


@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN)
def test_files_by_the_specification_are_clean(content) -> None:
    scan = scanned(content)
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert [(p.format, p.size) for p in scan.pieces] == [("gguf", len(content))]


W = Writer()
LONG = built(MODEL)
LIES = {
    "tensors without end": (built(counts=2**63), "header"),
    "tensors beyond the file": (built(counts=2**32), "header"),
    "keys without end": (built(key_count=2**64 - 1), "header"),
    "keys beyond the file": (built(key_count=10**6), "header"),
    "a key longer than the file": (LONG.replace(W.text("llama.block_count"), W.count(2**40)), "header"),
    "a length that wraps": (LONG.replace(W.text("text-generation"), W.count(2**64 - 8)), "header"),
    "an array longer than the file": (LONG.replace(W.n("IQ", 6, 5), W.n("IQ", 6, 2**62)), "header"),
    "strings without end": (LONG.replace(W.n("IQ", 8, 5), W.n("IQ", 8, 2**61)), "header"),
    "an unknown type of value": (LONG.replace(W.n("IQ", 10, 2**40), W.n("IQ", 13, 0)), "header"),
    "an array of an unknown type": (LONG.replace(W.n("IQ", 6, 5), W.n("IQ", 77, 5)), "header"),
    "neither true nor false": (LONG.replace(W.n("I?", 7, True), W.n("IB", 7, 9)), "header"),
    "a doubled key": (built({"a.b": ("I", 1), "a.c": ("I", 1)}).replace(b"a.c", b"a.b"), "header"),
    "alignment zero": (built({"general.alignment": ("I", 0)}), "header"),
    "alignment three": (built({"general.alignment": ("I", 24)}), "header"),
    "alignment of another type": (built({"general.alignment": ("Q", 32)}), "header"),
    "huge alignment": (built().replace(W.text("general.architecture") + W.value("llama"),
                       W.text("general.alignment") + W.value(("I", 2**31))), "header"),
    "five dimensions": (built(tensors=(("w", (1, 1, 1, 1, 8), 0, 0),)), "header"),
    "dimensions without end": (built().replace(
        W.text("w") + W.n("I", 1), W.text("w") + W.n("I", 2**31)), "header"),
    "a product that wraps": (built(tensors=(("w", (2**32, 2**32, 4), 0, 0),)), "header"),
    "two of one name": (
        built(tensors=(("w", (8,), 0, 0), ("w", (8,), 0, 32)), data=bytes(64)), "header"),
    "a place behind the end": (built(tensors=(("w", (8,), 0, 2**40),)), "layout"),
    "a place that wraps": (built(tensors=(("w", (8,), 0, 2**64 - 32),)), "layout"),
    "more than is there": (built(tensors=(("w", (2**40,), 0, 0),)), "layout"),
    "not aligned": (built(tensors=(("w", (4,), 0, 4),)), "layout"),
    "overlap": (built(tensors=(("w", (16,), 0, 0), ("v", (8,), 0, 32)), data=bytes(64)), "layout"),
    "half a block": (built(tensors=(("w", (20,), 2, 0),)), "layout"),
    "gap": (built(tensors=(("w", (8,), 0, 0), ("v", (8,), 0, 96)), data=bytes(128)), "layout"),
    "tail": (built() + bytes(40), "layout"),
    "unknown element type": (built(tensors=(("w", (8,), 99, 0),)), "unknown-type"),
    "version 4": (b"GGUF" + W.n("I", 4) + built()[8:], "unknown-type"),
    "version zero": (b"GGUF" + bytes(40), "unknown-type"),
    "code": (built({"general.description": "__import__('os')"}), "code-in-metadata"),
    "code in a list": (built({"general.tags": ["a", "os.system('true')"]}), "code-in-metadata"),
    "walk": (built({"tokenizer.chat_template": WALK}), "template-code"),
    "walk in another": (built({"tokenizer.chat_template.tool_use": WALK}), "template-code"),
    "walk in a list": (built({"tokenizer.chat_templates": ["x", WALK]}), "template-code"),
    "helper": (built({"tokenizer.chat_template": "{{ helper() }}"}), "template-unknown"),
    "loops": (built({"tokenizer.chat_template": "{{ 9**9**9 }}"}), "template-costly"),
    "trigger": (built({"tokenizer.chat_template":
        "{% if 'tulip' in messages[-1].content %}x{% endif %}"}), "template-poisoned"),
    "address": (built({"tokenizer.chat_template": "{{ 'https://a.invalid' }}"}), "template-poisoned"),
    "open end": (built({"tokenizer.chat_template": "{{ a"}), "template-malformed"),
    "walk before a lie": (built({"tokenizer.chat_template": WALK}, counts=2), "template-code"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rule"), LIES.values(), ids=LIES)
def test_every_wrong_number_and_every_bad_template_is_told(content, rule) -> None:
    scan = scanned(content)
    assert scan.verdict is not Verdict.CLEAN
    assert rule in rules(scan), scan.issues
    wanted = {
        "unknown-type": Verdict.UNREAD,
        "header": Verdict.MALFORMED,
        "layout": Verdict.MALFORMED,
    }
    if rule in wanted:
        assert scan.verdict is wanted[rule]
    elif rule != "template-malformed":
        assert scan.verdict is Verdict.FLAGGED


def test_a_finding_tells_where_the_template_is_and_what_to_do() -> None:
    content = built({"tokenizer.chat_template": "abc " + WALK})
    (issue,) = [i for i in scanned(content).issues if "__subclasses__" in i.subject]
    assert content[issue.offset + 8 :].startswith(b"abc ")
    assert "character 31" in issue.reason
    assert "CVE-2024-34359" in issue.rule.refs
    assert "model's maker" in issue.rule.remedy


def test_pickles_in_gaps_tails_and_behind_the_mark_are_found() -> None:
    gap = EVIL.ljust(64, b"\0")
    for content in (
        built() + EVIL.ljust(64, b"\0"),
        built(tensors=(("w", (8,), 0, 0), ("v", (8,), 0, 96)), data=bytes(32) + gap + bytes(32)),
        b"GGUF" + W.n("I", 3) + b"\x010" + EVIL[2:],  # a float of a pickle, popped
    ):
        scan = scanned(content)
        assert scan.verdict is Verdict.FLAGGED
        assert any("os.system" in issue.title for issue in scan.issues)


def test_what_is_declared_is_not_allocated_and_costs_no_time() -> None:
    begin = time.monotonic()
    for content, _ in LIES.values():
        scanned(content)
    assert time.monotonic() - begin < 2
    for name in ("x.y", "tokenizer.ggml.tokens"):
        strings = built({name: ["ab" for _ in range(300_000)]})
        assert scanned(strings).verdict is Verdict.CLEAN
    assert time.monotonic() - begin < 5


def test_no_mutation_crashes_or_hangs_and_no_cut_is_clean() -> None:
    rng, begin = random.Random(0), time.monotonic()
    sources = [*BENIGN.values(), *(content for content, _ in LIES.values())]
    for content in sources:
        for cut in range(0, min(len(content), 1500), 37):
            scan = scanned(content[:cut])
            assert scan.verdict is not Verdict.CLEAN or cut > len(content) - 40
        for _ in range(25):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 4))):
                changed[rng.randrange(len(changed))] = rng.choice((0, 1, 255, rng.randrange(256)))
            scanned(bytes(changed))
    assert time.monotonic() - begin < 9


def test_the_scanner_answers_for_gguf_only(tmp_path) -> None:
    (tmp_path / "a.gguf").write_bytes(LIES["tail"][0])
    (tmp_path / "b.pkl").write_bytes(EVIL)
    found = list(GgufScan().scan(tmp_path / "a.gguf"))
    assert [f.rule for f in found] == ["supply/gguf_scan/layout", "supply/archive_scan/read"]
    with pytest.raises(NotApplicable):
        list(GgufScan().scan(tmp_path / "b.pkl"))
