"""A short run of damaged files through the one reader: a verdict each, no exception, no hang."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import time

import numpy as np
import pytest

from holdfast.supply.files import scan_bytes
from holdfast.supply.mutation import mutate
from holdfast.supply.rules import Verdict
from tests.supply.bypasses import CASES, EVIL, joblib_array, legacy, pickled, zipped

SHARE = 0.2
"""Seconds of the clock for each seed; nightly runs take `benchmarks/scan_speed.py --mutants`."""


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("model.pkl")
        info.size = len(EVIL)
        archive.addfile(info, io.BytesIO(EVIL))
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, a=np.zeros(3), b=np.array(["x"], object))
    return out.getvalue()


def gguf() -> bytes:
    key, text = b"tokenizer.chat_template", b"{{ ''.__class__ }}"
    told = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
    tensor = struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 8, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + told + tensor
    return head + bytes(-len(head) % 32) + bytes(32)


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
SEEDS = {
    "pickle": (pickle.dumps({"a": [1, 2.5, b"x", {"y"}]}, 4), "m.pkl"),
    "text pickle": (b"cos\nsystem\n(S'true'\ntR.", "m.pkl"),
    "torch zip": (zipped({"a/data.pkl": EVIL, "a/data/0": bytes(16), "a/version": b"3"}), "m.pt"),
    "torch legacy": (legacy(), "m.pth"),
    "joblib": (pickled(joblib_array(), bytes(32)), "m.joblib"),
    "gzip": (gzip.compress(EVIL), "m.gz"), "tar": (tarred(), "m.tar"), "npz": (npz(), "a.npz"),
    "safetensors": (struct.pack("<Q", len(HEADER)) + HEADER + bytes(8), "m.safetensors"),
    "gguf": (gguf(), "m.gguf"),
    "json": (b'{"auto_map": {"AutoModel": "modeling_x.X"}, "a": [1, 2.5, null]}', "config.json"),
    "yaml": (b"a: &x [1, !!python/name:os.system ]\nb: *x\n", "c.yaml"),
    "keras": (zipped({"config.json": b'{"class_name": "Sequential", "config": {"layers": []}}',
                      "metadata.json": b"{}"}), "m.keras"),
    "xml": (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x 'y'>]><PMML version='4.4'>&x;</PMML>",
            "m.pmml"),
    "msgpack": (b"\x82\xa1a\x93\x01\xc0\xcb" + bytes(8) + b"\xa1b\xc7\x04\x01abcd", "m.msgpack"),
}  # fmt: skip


@pytest.mark.parametrize(("whole", "file"), SEEDS.values(), ids=SEEDS)
def test_damaged_files_get_a_verdict_in_time(whole, file) -> None:
    end, number = time.monotonic() + SHARE, 0
    while time.monotonic() < end or number < 20:
        data = mutate(whole, 11, number)
        start = time.process_time()
        assert scan_bytes(data, file).verdict in Verdict
        assert time.process_time() - start < 5, f"copy {number}"
        number += 1


def test_cut_attacks_are_never_called_clean_while_the_call_is_whole() -> None:
    for _, file, data, _ in CASES[::7]:
        assert scan_bytes(data, file).verdict is not Verdict.CLEAN
        for number in range(5):
            scan_bytes(mutate(data, 5, number), file)
