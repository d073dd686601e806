"""Fuzzing of loaders, with planted faults; and the scanner of malformed files."""

import struct
from pathlib import Path

import pytest

from holdfast.core.errors import InputError
from holdfast.supply.fuzz import Limits, fuzz, loader
from holdfast.supply.mutation import mutate
from holdfast.supply.scanners.overflow import Overflow
from tests.supply.bypasses import EVIL

SHORT = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}'
WHOLE = b"MODL" + struct.pack("<I", 40) + bytes(range(1, 41))
LOADERS = """
import os, struct, sys, time

def fine(path):
    data = open(path, "rb").read()
    print("a loader may print")
    if data[:4] != b"MODL":
        raise ValueError("not a model")

def aborts(path):
    data = open(path, "rb").read()
    if data[8:9] == b"\\xff":
        os.abort()

def segfaults_elsewhere(path):
    data = open(path, "rb").read()
    if len(data) > 8 and data[8] > 200:
        import ctypes
        ctypes.string_at(0)

def leaves(path):
    if open(path, "rb").read()[:1] != b"M":
        os._exit(7)

def hangs(path):
    if open(path, "rb").read()[:4] != b"MODL":
        time.sleep(60)

def believes(path):
    data = open(path, "rb").read()
    if len(data) >= 8:
        bytearray(struct.unpack("<I", data[4:8])[0])

def broken(path):
    raise RuntimeError("always")
"""
TIGHT = Limits(seconds=0.3, memory=2**29)


@pytest.fixture
def planted(tmp_path):
    (tmp_path / "loaders.py").write_text(LOADERS)
    (tmp_path / "model.bin").write_bytes(WHOLE)

    def run(function: str, cases: int, seed: int = 0, folder: str = "out", limits: Limits = TIGHT):
        load = loader(f"{tmp_path / 'loaders.py'}:{function}")
        return fuzz(tmp_path / "model.bin", load, cases, tmp_path / folder, limits, seed)

    return run


def cases_in(wanted, count: int) -> set[int]:
    return {n for n in range(count) if wanted(mutate(WHOLE, 0, n))}


def test_a_loader_that_refuses_with_exceptions_has_no_faults(planted) -> None:
    found = planted("fine", 400)
    refused = cases_in(lambda data: data[:4] != b"MODL", 400)
    assert found.done == 400
    assert found.faults == 0
    assert found.counts["exception"] == len(refused) > 20
    (kind,) = found.exceptions
    assert kind.startswith("ValueError at loaders.py:8")


def test_every_abort_is_a_crash_of_one_bucket_and_the_smallest_file_is_kept(
    planted, tmp_path
) -> None:
    crashing = cases_in(lambda data: data[8:9] == b"\xff", 400)
    found = planted("aborts", 400)
    assert found.counts["crash"] == len(crashing) > 1
    (bucket,) = found.buckets.values()
    assert bucket.told == "SIGABRT at loaders.py:13"
    smallest = min(len(mutate(WHOLE, 0, n)) for n in crashing)
    kept = (tmp_path / "out" / f"{bucket.id}.bin").read_bytes()
    assert kept == mutate(WHOLE, 0, bucket.number)
    assert (len(kept), bucket.size, bucket.count) == (smallest, smallest, len(crashing))


def test_signals_and_exits_are_crashes_of_their_own(planted) -> None:
    (segfault,) = planted("segfaults_elsewhere", 250).buckets.values()
    assert segfault.told.startswith("SIGSEGV at ")
    (left,) = planted("leaves", 60, folder="other").buckets.values()
    assert left.told == "exit code 7"


def test_silence_is_a_hang(planted) -> None:
    hanging = cases_in(lambda data: data[:4] != b"MODL", 12)
    found = planted("hangs", 12, limits=Limits(seconds=0.1, memory=2**29))
    assert found.counts["hang"] == len(hanging) >= 1
    assert found.done == 12


def test_a_loader_that_allocates_what_a_header_says_is_caught(planted) -> None:
    sizes = [
        struct.unpack("<I", d[4:8])[0] for n in range(300) if len(d := mutate(WHOLE, 0, n)) >= 8
    ]
    found = planted("believes", 300, limits=Limits(seconds=5, memory=2**29))
    sure, most = (sum(size >= limit for size in sizes) for limit in (2**29, 2**28))
    assert 0 < sure <= found.counts["memory"] <= most  # the interpreter takes some of it
    assert {b.kind for b in found.buckets.values()} == {"memory"}


def test_a_run_goes_on_where_it_was_stopped_and_the_seed_decides(planted, tmp_path) -> None:
    planted("aborts", 150)
    resumed = planted("aborts", 300)
    whole = planted("aborts", 300, folder="whole")
    assert resumed.text() == whole.text()
    assert (
        planted("fine", 50, seed=1, folder="s1").counts != planted("fine", 50, folder="s0").counts
    )
    with pytest.raises(InputError, match="another file or seed"):
        planted("aborts", 10, seed=5)


def test_what_cannot_be_fuzzed_says_so(planted, tmp_path) -> None:
    with pytest.raises(InputError, match="loads the whole file"):
        planted("broken", 10)
    with pytest.raises(InputError, match="can be imported"):
        planted("missing", 10)
    with pytest.raises(InputError, match="function that loads"):
        loader("nothing.py:load")
    (tmp_path / "out" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="earlier run"):
        planted("fine", 10)


def test_copies_differ_from_the_whole_and_come_again_by_their_number() -> None:
    copies = [mutate(WHOLE, 3, n) for n in range(300)]
    assert all(copy != WHOLE for copy in copies)
    assert len(set(copies)) > 270
    assert mutate(WHOLE, 3, 17) == copies[17]
    assert {len(copy) < len(WHOLE) for copy in copies} == {True, False}
    assert any(struct.pack("<I", 2**32 - 1) in copy for copy in copies)


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (struct.pack("<Q", len(SHORT)) + SHORT + bytes(8), {"supply/safetensors_scan/layout"}),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".", {"supply/pickle_scan/malformed"}),
        (EVIL, set()), (b"\x80\x02K\x01.", set()),
    ],
)  # fmt: skip
def test_the_scanner_answers_for_what_cannot_be_true_alone(tmp_path, content, rules) -> None:
    path = Path(tmp_path, "model.bin")
    path.write_bytes(content)
    *found, last = [finding.rule for finding in Overflow().scan(path)]
    assert set(found) == rules
    assert last == "supply/archive_scan/read"
