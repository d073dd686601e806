"""MessagePack, packed here by its specification: Flax's arrays, extensions, bounds; other marks."""

import random
import struct
import time
from typing import Any

import pytest

from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict
from tests.supply.bypasses import EVIL, u, zipped


def packed(value: Any) -> bytes:
    """The shortest form; an extension is (type, content) in a tuple."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return bytes([value & 255]) if -32 <= value < 128 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        head = bytes([0xA0 | len(raw)]) if len(raw) < 32 else b"\xdb" + struct.pack(">I", len(raw))
        return head + raw
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, tuple):
        return b"\xc9" + struct.pack(">Ib", len(value[1]), value[0]) + value[1]
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))
    head = (
        bytes([0x80 | len(value)]) if len(value) < 16 else b"\xdf" + struct.pack(">I", len(value))
    )
    return head + b"".join(packed(k) + packed(v) for k, v in value.items())


def array(*shape: int, dtype: str = "float32", size: int | None = None) -> tuple[int, bytes]:
    """An array as Flax writes it."""
    count = 1
    for n in shape:
        count *= n
    content = bytes(4 * count if size is None else size)
    return 1, b"\x93" + packed([*shape])[:0] + bytes([0x90 | len(shape)]) + b"".join(
        map(packed, shape)
    ) + packed(dtype) + packed(content)  # fmt: skip


def scanned(content: Any, file: str = "checkpoint.msgpack") -> Scan:
    return scan_bytes(content if isinstance(content, bytes) else packed(content), file)


def rules(scan: Scan) -> set[str]:
    return {issue.rule.id.partition("/")[2] for issue in scan.issues}


PARAMS = {"params": {"Dense_0": {"kernel": array(4, 3), "bias": array(3)}}}
BENIGN = {
    "flax": PARAMS,
    "train state": {"step": 1200, "opt_state": {"0": {"count": array(dtype="int32")}}, **PARAMS},
    "scalar and complex": {"s": (3, packed([])[:0] + b"\x93\x90\xa7float32\xc4\x04" + bytes(4)),
                           "c": (2, b"\x92\xcb" + bytes(8) + b"\xcb" + bytes(8))},
    "chunks": {"__msgpack_chunked_array__": True, "shape": {"0": 4}, "chunks": {"0": array(4)}},
    "plain": {"name": "a model", "sizes": [1, -5, 2**40, 1.5, None, True], "raw": b"\x80\x04abc"},
    "numpy": {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2], b"data": bytes(8)},
    "time": {"made": (-1, bytes(4)), "by": "a test"},
    "many": {f"layer_{i}": array(2) for i in range(40)},
}  # fmt: skip


@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN)
def test_documents_by_the_specification_are_clean(content) -> None:
    for file in ("checkpoint.msgpack", "renamed.bin"):
        scan = scanned(content, file)
        assert scan.verdict is Verdict.CLEAN, scan.issues
        assert [(p.format, p.size) for p in scan.pieces] == [("msgpack", len(packed(content)))]


DEEP = b"\x81\xa1a" * 300 + b"\xc0"
CASES = {
    "objects": ({b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"x"},
                "msgpack-objects", Verdict.FLAGGED),
    "objects of Flax": ({"w": array(1, dtype="object", size=8)}, "msgpack-objects", Verdict.FLAGGED),
    "pickled": ({"nd": True, "kind": "", "data": EVIL}, "executing-callable", Verdict.FLAGGED),
    "extension": ({"w": (42, b"abc")}, "msgpack-extension", Verdict.UNREAD),
    "code": ({"hook": "__import__('os')"}, "code-in-metadata", Verdict.FLAGGED),
    "another shape": ({"w": array(4, 3, size=8)}, "msgpack-malformed", Verdict.MALFORMED),
    "more bytes than its shape": (
        {"w": array(4, 3, size=80)}, "msgpack-malformed", Verdict.MALFORMED),
    "a shape that wraps": ({"w": array(2**32, 2**32, size=0)}, "msgpack-malformed", Verdict.MALFORMED),
    "unknown type": ({"w": array(2, dtype="f4x")}, "msgpack-malformed", Verdict.MALFORMED),
    "array without parts": ({"w": (1, b"\x91\xc0")}, "msgpack-malformed", Verdict.MALFORMED),
    "items without end": (b"\x81\xa1a\xdd\xff\xff\xff\xff", "msgpack-malformed", Verdict.MALFORMED),
    "bytes without end": (b"\x81\xa1a\xc6\xff\xff\xff\xff", "msgpack-malformed", Verdict.MALFORMED),
    "unused code": (b"\x81\xa1a\xc1", "msgpack-malformed", Verdict.MALFORMED),
    "tail": (packed(PARAMS) + EVIL, "executing-callable", Verdict.FLAGGED),
    "deep": (DEEP, "budget", Verdict.UNREAD),
    "many": (b"\x81\xa1a\xdd\x00\x20\x00\x00" + b"\x00" * 2**21, "budget", Verdict.UNREAD),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rule", "verdict"), CASES.values(), ids=CASES)
def test_every_planted_danger_is_told(content, rule, verdict) -> None:
    begin = time.monotonic()
    scan = scanned(content)
    assert rule in rules(scan), scan.issues
    assert scan.verdict is verdict
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"ftrt" + bytes(40), "TensorRT"), (b"RDX3\nX\n\0\0\0\3" + bytes(40), "CVE-2024-27322"),
        (b"X\n\0\0\0\3\0\4\2\0" + bytes(40), "data of R"), (b"\0\0\0\0ORTM" + bytes(9), "ONNX Runtime"),
        (b"\4\0\0\0\1\0\0\0\3\0\0\0V 1" + bytes(9), "Lua"), (b"CBM1" + bytes(9), "CatBoost"),
    ],
)  # fmt: skip
def test_what_nobody_here_reads_is_named_and_never_clean(content, what) -> None:
    scan = scanned(content, "m.bin")
    assert scan.verdict is Verdict.UNREAD
    assert what in scan.issues[0].title


@pytest.mark.parametrize(
    "content",
    [b"\x7fELF\2\1\1" + bytes(60), b"MZqFpD='\n" + bytes(60), b"\xcf\xfa\xed\xfe" + bytes(40),
     b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0", b"\x7fELF" + bytes(60) + zipped({"a.txt": b"hello"})],
)  # fmt: skip
def test_programs_are_flagged(content) -> None:
    assert scanned(content, "model.bin").verdict is Verdict.FLAGGED


def test_a_pickle_that_begins_like_another_format_is_followed() -> None:
    tricked = b"X\n\0\0\0\3" + bytes(9) + b"0" + EVIL[2:]
    assert any("os.system" in issue.title for issue in scanned(tricked, "m.rds").issues)
    tricked = b"\x80\2" + u("a") + b"0" + EVIL[2:]
    assert scanned(tricked).verdict is Verdict.FLAGGED


def test_no_mutation_crashes_or_hangs_and_no_cut_is_clean() -> None:
    rng, begin = random.Random(0), time.monotonic()
    sources = [packed(c) for c in BENIGN.values()]
    sources += [c if isinstance(c, bytes) else packed(c) for c, *_ in CASES.values()][:-2]
    for content in sources:
        for cut in range(0, len(content), 11):
            assert scanned(content[:cut]).verdict is not Verdict.CLEAN
        for _ in range(80):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 4))):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            scanned(bytes(changed))
    assert time.monotonic() - begin < 8
