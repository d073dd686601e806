"""TensorFlow Lite models, built with the library of flat buffers: operators, offsets, the zip behind."""

import random
import struct
import time

import flatbuffers
import pytest

from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict
from tests.supply.bypasses import EVIL, zipped


def built(custom: str = "", shape: tuple[int, ...] = (2, 2), size: int = 16, **wrong: int) -> bytes:
    """A model of one operator, one tensor and two buffers, by the schema of version 3."""
    b = flatbuffers.Builder(1024)

    def table(*slots: tuple[int, str, int]) -> int:
        b.StartObject(12)
        for slot, kind, content in slots:
            if kind == "o":
                b.PrependUOffsetTRelativeSlot(slot, content, 0)
            elif kind == "i":
                b.PrependInt32Slot(slot, content, 0)
            else:
                b.PrependInt8Slot(slot, content, 0)
        return b.EndObject()

    def offsets(*places: int) -> int:
        b.StartVector(4, len(places), 4)
        for place in reversed(places):
            b.PrependUOffsetTRelative(place)
        return b.EndVector()

    def numbers(*values: int) -> int:
        b.StartVector(4, len(values), 4)
        for value in reversed(values):
            b.PrependInt32(value)
        return b.EndVector()

    code = (
        [(0, "b", 32), (1, "o", b.CreateString(custom)), (3, "i", 32)] if custom else [(3, "i", 9)]
    )
    codes = offsets(table(*code))
    data = b.CreateByteVector(bytes(size))
    said = b.CreateByteVector(b"\x00" + str(wrong.get("words", "min 1.14.0")).encode())
    buffers = offsets(table(), table((0, "o", data)), table((0, "o", said)))
    tensor = table((0, "o", numbers(*shape)), (2, "i", wrong.get("buffer", 1)))
    inputs = numbers(wrong.get("input", 0))
    ran = table((0, "i", wrong.get("operator", 0)), (1, "o", inputs), (2, "o", numbers(0)))
    graph = table((0, "o", offsets(tensor)), (1, "o", numbers(0)), (2, "o", numbers(0)),
                  (3, "o", offsets(ran)))  # fmt: skip
    graphs, name = offsets(graph), b.CreateString("min_runtime_version")
    words = offsets(table((0, "o", name), (1, "i", wrong.get("metadata", 2))))
    description = b.CreateString("made by a test")
    root = table((0, "i", 3), (1, "o", codes), (2, "o", graphs), (3, "o", description),
                 (4, "o", buffers), (6, "o", words))  # fmt: skip
    b.Finish(root, file_identifier=b"TFL3")
    return bytes(b.Output())


def scanned(content: bytes, file: str = "model.tflite") -> Scan:
    return scan_bytes(content, file)


def rules(scan: Scan) -> set[str]:
    return {issue.rule.id.partition("/")[2] for issue in scan.issues}


GOOD = built()
BENIGN = {
    "plain": GOOD,
    "own custom operator": built("TFLite_Detection_PostProcess"),
    "operator of TensorFlow": built("FlexErf"),
    "one left out": built(input=-1),
    "labels behind": GOOD + zipped({"labels.txt": b"cat\ndog\n"}),
    "mark of a zip's end": GOOD + b"PK\x05\x06" + bytes(40),
}


@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN)
def test_models_by_the_schema_are_clean(content) -> None:
    scan = scanned(content, "m.bin")
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert scan.pieces[0].format == "tflite"


CASES = {
    "custom": (built("AcmeThing"), "tflite-custom", Verdict.UNREAD),
    "unknown of TensorFlow": (built("FlexAcme"), "tflite-custom", Verdict.UNREAD),
    "reads files": (built("FlexReadFile"), "tflite-callable", Verdict.FLAGGED),
    "writes files": (built("FlexWriteFile"), "tflite-callable", Verdict.FLAGGED),
    "calls Python": (built("FlexPyFunc"), "tflite-callable", Verdict.FLAGGED),
    "no such operator": (built(operator=7), "tflite-layout", Verdict.MALFORMED),
    "no such tensor": (built(input=9), "tflite-layout", Verdict.MALFORMED),
    "below the first tensor": (built(input=-7), "tflite-layout", Verdict.MALFORMED),
    "no such buffer": (built(buffer=99), "tflite-layout", Verdict.MALFORMED),
    "no such metadata": (built(metadata=99), "tflite-layout", Verdict.MALFORMED),
    "shape beyond its buffer": (built(shape=(2, 3)), "tflite-layout", Verdict.MALFORMED),
    "shape that wraps": (built(shape=(2**30, 2**30)), "tflite-layout", Verdict.MALFORMED),
    "shape below zero": (built(shape=(-5, 2)), "tflite-layout", Verdict.MALFORMED),
    "root outside": (struct.pack("<I", 2**31) + GOOD[4:], "tflite-layout", Verdict.MALFORMED),
    "cut": (GOOD[: len(GOOD) // 2], "tflite-layout", Verdict.MALFORMED),
    "code": (built(words="eval('1')"), "code-in-metadata", Verdict.FLAGGED),
    "pickle behind": (GOOD + zipped({"a.pkl": EVIL}), "executing-callable", Verdict.FLAGGED),
}


@pytest.mark.parametrize(("content", "rule", "verdict"), CASES.values(), ids=CASES)
def test_every_planted_danger_is_told(content, rule, verdict) -> None:
    scan = scanned(content)
    assert rule in rules(scan), scan.issues
    assert scan.verdict is verdict


def test_no_mutation_crashes_or_hangs() -> None:
    rng, begin = random.Random(0), time.monotonic()
    for content in (*BENIGN.values(), *(case[0] for case in CASES.values())):
        for _ in range(80):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 4))):
                changed[rng.randrange(len(changed))] = rng.choice(
                    (0, 1, 127, 255, rng.randrange(256))
                )
            scanned(bytes(changed[: rng.choice((len(changed), rng.randrange(len(changed))))]))
    assert time.monotonic() - begin < 8


def test_tables_that_lead_to_themselves_end() -> None:
    count = 300_000  # offsets of one vector, all to the same table
    loop = struct.pack("<I4s", 16, b"TFL3") + struct.pack("<HHHH", 8, 8, 0, 4)
    loop += struct.pack("<iI", 8, 4) + struct.pack("<I", count)
    loop += b"".join(struct.pack("<I", 2**32 - 4 * i & 0xFFFFFFFF) for i in range(count))
    begin = time.monotonic()
    assert scanned(loop).verdict is not Verdict.CLEAN
    assert time.monotonic() - begin < 5
