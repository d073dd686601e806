"""Core ML: models, weights and manifests, built field by field by Apple's specification."""

import json
import random
import struct
import time

import pytest

from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict
from tests.supply.bypasses import EVIL
from tests.supply.protobuf import message


def f(number: int, content: bytes | str | int) -> bytes:
    """A field: of a number, of bytes or of text."""
    return message((number, content))


def model(kind: int, content: bytes, **told: str) -> bytes:
    """A model of a kind, with metadata."""
    pairs = b"".join(f(100, f(1, key) + f(2, text)) for key, text in told.items())
    return f(1, 7) + f(2, f(100, f(1, "a test") + f(3, "somebody") + pairs)) + f(kind, content)


def layer(kind: int = 140, content: bytes = b"") -> bytes:
    return f(1, f(1, "name") + f(2, "in") + f(3, "out") + f(kind, content))


def program(operator: str = "conv", file: str = "@model_path/weights/weight.bin") -> bytes:
    """An ML program with one operation whose weights lie in a file."""
    value = f(2, f(1, f(2, f(5, f(1, file) + f(2, 64)))))
    operation = f(3, f(1, operator) + f(2, f(1, "weight") + value))
    block = f(3, f(1, "CoreML7") + f(2, operation))
    return f(1, 1) + f(2, f(1, "main") + f(2, f(2, "CoreML7") + block))


def linked(name: str, place: str = "") -> bytes:
    return f(1, f(1, f(1, name)) + f(2, f(1, place)))


def weights(*sizes: int, mark: int = 0xDEADBEEF, count: int | None = None) -> bytes:
    out = struct.pack("<II56x", len(sizes) if count is None else count, 2)
    for size in sizes:
        out += struct.pack("<IIQQ40x", mark, 1, size, len(out) + 64) + bytes(size)
        out += bytes(-len(out) % 64)
    return out


def manifest(path: str) -> bytes:
    items = {"A1": {"author": "com.apple.CoreML", "name": "model.mlmodel", "path": path}}
    told = {"fileFormatVersion": "1.0.0", "itemInfoEntries": items, "rootModelIdentifier": "A1"}
    return json.dumps(told, indent=4).encode()


def scanned(content: bytes, file: str = "model.mlmodel") -> Scan:
    return scan_bytes(content, file)


def rules(scan: Scan) -> set[str]:
    return {issue.rule.id.partition("/")[2] for issue in scan.issues}


BRANCH = layer(605, f(1, layer()) + f(2, layer(500, f(10, "AcmeLayer"))))
BENIGN = {
    "network": ("m.mlmodel", model(500, layer() + layer(100))),
    "classifier": ("m.mlmodel", model(403, layer(), version="1.0", source="torch==2.1")),
    "trees": ("m.mlmodel", model(402, b"\x0a\x00")),
    "program": ("m.mlmodel", model(502, program())),
    "pipeline": ("m.mlmodel", model(202, f(1, model(500, layer())))),
    "weights": ("weight.bin", weights(100, 64, 3)),
    "manifest": ("Manifest.json", manifest("com.apple.CoreML/model.mlmodel")),
}


@pytest.mark.parametrize(("file", "content"), BENIGN.values(), ids=BENIGN)
def test_what_follows_the_specification_is_clean(file, content) -> None:
    scan = scanned(content, file)
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert scan.pieces[0].format.startswith("coreml")
    assert scan.pieces[0].size == len(content)


CASES = {
    "custom layer": (model(500, layer(500, f(10, "AcmeLayer"))), "coreml-custom", Verdict.UNREAD),
    "custom in a branch": (model(500, BRANCH), "coreml-custom", Verdict.UNREAD),
    "custom in a pipeline": (
        model(200, f(1, f(1, model(555, f(10, "AcmeModel"))))), "coreml-custom", Verdict.UNREAD),
    "custom operation": (model(502, program("custom_sparse")), "coreml-custom", Verdict.UNREAD),
    "serialized": (model(3000, f(1, "x") + f(2, b"y")), "coreml-custom", Verdict.UNREAD),
    "linked": (model(556, linked("part.mlmodelc")), "coreml-custom", Verdict.UNREAD),
    "linked to a parent": (model(556, linked("../../x.mlmodelc")), "coreml-path", Verdict.FLAGGED),
    "linked by search": (model(556, linked("x", "/tmp")), "coreml-path", Verdict.FLAGGED),
    "weights of a parent": (
        model(502, program(file="@model_path/../../x")), "coreml-path", Verdict.FLAGGED),
    "absolute weights": (model(502, program(file="/etc/hostname")), "coreml-path", Verdict.FLAGGED),
    "code": (model(500, layer(), init="__import__('os')"), "code-in-metadata", Verdict.FLAGGED),
    "broken within": (model(500, f(1, b"\x0a\x7f")), "coreml-malformed", Verdict.MALFORMED),
    "too many runs": (weights(10, count=9), "coreml-malformed", Verdict.MALFORMED),
    "a run elsewhere": (
        weights(10).replace(struct.pack("<Q", 10), struct.pack("<Q", 2**60)),
        "coreml-malformed", Verdict.MALFORMED),
    "tail": (weights(10) + bytes(80), "coreml-malformed", Verdict.MALFORMED),
    "pickle in the tail": (weights(10) + EVIL, "executing-callable", Verdict.FLAGGED),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rule", "verdict"), CASES.values(), ids=CASES)
def test_every_planted_danger_is_told(content, rule, verdict) -> None:
    scan = scanned(content)
    assert rule in rules(scan), scan.issues
    assert scan.verdict is verdict


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "C:\\x"])
def test_a_manifest_does_not_lead_out_of_its_package(path) -> None:
    scan = scanned(manifest(path), "Manifest.json")
    assert scan.verdict is Verdict.FLAGGED
    assert scan.issues[0].rule.id == "archive_scan/coreml-path"


def test_models_too_deep_within_models_are_not_analysed() -> None:
    deep = model(500, layer())
    for _ in range(60):
        deep = model(202, f(1, deep))
    assert scanned(deep).verdict is Verdict.UNREAD


def test_no_mutation_crashes_or_hangs_and_no_cut_of_weights_is_clean() -> None:
    rng, begin = random.Random(0), time.monotonic()
    for content in (*(c for _, c in BENIGN.values()), *(case[0] for case in CASES.values())):
        for _ in range(80):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 4))):
                changed[rng.randrange(len(changed))] = rng.choice(
                    (0, 1, 127, 255, rng.randrange(256))
                )
            scanned(bytes(changed[: rng.choice((len(changed), rng.randrange(len(changed))))]))
    whole = BENIGN["weights"][1]
    assert all(
        scanned(whole[:cut]).verdict is not Verdict.CLEAN for cut in range(0, len(whole) - 64, 9)
    )
    assert time.monotonic() - begin < 8
