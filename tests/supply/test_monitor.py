"""The monitor of loaded weights: which tensor changed, how soon it is told, and what it costs."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from holdfast.cli.watching import Pace, Places, run_watch
from holdfast.core.errors import InputError
from holdfast.supply import procfs
from holdfast.supply.memory import Memory, read
from holdfast.supply.monitor import Changed, Monitor, fingerprint, tensors


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))


def watched(module: nn.Module, **words) -> tuple[Monitor, list[Changed]]:
    told: list[Changed] = []
    return Monitor(module, told.append, **words), told


def flip(tensor: torch.Tensor, at: int) -> None:
    """Flip the lowest bit of one number."""
    tensor.detach().reshape(-1)[at : at + 1].view(torch.int32).bitwise_xor_(1)


def test_a_print_is_the_hash_of_the_bytes() -> None:
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    raw = tensor.numpy().tobytes()
    assert fingerprint(tensor).chunks == (hashlib.sha256(b"\0" + raw).digest(),)
    parts = tuple(hashlib.sha256(b"\0" + raw[i : i + 8]).digest() for i in range(0, 24, 8))
    assert fingerprint(tensor, 8).chunks == parts
    assert fingerprint(tensor.T).chunks == fingerprint(tensor.T.contiguous()).chunks


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64]
)
def test_every_type_of_number_is_hashed(dtype: torch.dtype) -> None:
    ones, zeros = torch.ones(5, dtype=dtype), torch.zeros(5, dtype=dtype)
    assert fingerprint(ones) == fingerprint(ones.clone()) != fingerprint(zeros)


def test_type_and_shape_are_part_of_a_print() -> None:
    zeros = torch.zeros(4)
    others = (
        torch.zeros(2, 2),
        torch.zeros(4, dtype=torch.int32),
        torch.zeros(0),
        torch.tensor(0.0),
    )
    digests = {fingerprint(each).digest for each in (zeros, *others)}
    assert len(digests) == 5


def test_minus_zero_and_other_bits_of_not_a_number_are_changes() -> None:
    assert fingerprint(torch.tensor([0.0])) != fingerprint(torch.tensor([-0.0]))
    nan = torch.tensor([float("nan")])
    other = nan.clone()
    flip(other, 0)
    assert torch.isnan(other).all()
    assert fingerprint(nan) != fingerprint(other)


@pytest.mark.parametrize("name", tensors(net()))
def test_any_one_flipped_bit_names_its_tensor(name: str) -> None:
    module = net()
    monitor, told = watched(module)
    assert monitor.check() == ()
    tensor = tensors(module)[name]
    with torch.no_grad():
        if tensor.is_floating_point():
            flip(tensor, tensor.numel() - 1)
        else:
            tensor += 1
    (change,) = monitor.check()
    assert (change.name, change.kind) == (name, "changed")
    assert told == [change]
    assert monitor.check() == ()  # told once


def test_the_chunk_that_changed_is_named() -> None:
    weights = {"w": torch.zeros(1000)}
    told: list[Changed] = []
    monitor = Monitor(weights, told.append, chunk=400)
    flip(weights["w"], 250)
    monitor.check()
    assert told[0].detail == "1 of 10 chunks of 400 bytes differ, the first is 2"


def test_a_tensor_that_is_put_back_is_told_as_restored() -> None:
    module = net()
    monitor, told = watched(module)
    for _ in range(2):
        flip(module[0].weight, 3)
        monitor.check()
    assert [each.kind for each in told] == ["changed", "restored"]


def test_a_swapped_an_added_and_a_removed_tensor_are_told() -> None:
    module = net()
    monitor, told = watched(module)
    module[2] = nn.Linear(16, 3)
    module.register_buffer("extra", torch.zeros(2))
    module[0].bias = None
    monitor.check()
    assert {(each.name, each.kind) for each in told} == {
        ("2.weight", "changed"), ("2.bias", "changed"), ("extra", "added"), ("0.bias", "removed"),
    }  # fmt: skip


def test_another_shape_or_type_is_told_as_such() -> None:
    module = net()
    monitor, told = watched(module)
    module[2] = nn.Linear(16, 4).double()
    monitor.check()
    details = {each.name: each.detail for each in told}
    assert details["2.weight"] == "it was torch.float32 [3, 16] and is torch.float64 [4, 16]"


def test_what_may_change_is_left_out_by_its_name() -> None:
    module = net().train()
    monitor, told = watched(module, skip=("*running_*", "*.num_batches_tracked"))
    module(torch.randn(9, 8, generator=torch.Generator().manual_seed(0)))
    monitor.check()
    assert told == []
    every, heard = watched(net().train())
    every._weights(torch.randn(9, 8, generator=torch.Generator().manual_seed(0)))
    every.check()
    assert {each.name for each in heard} == {
        "1.running_mean", "1.running_var", "1.num_batches_tracked",
    }  # fmt: skip


def test_answering_changes_nothing() -> None:
    module = net().eval()
    monitor, told = watched(module)
    module(torch.zeros(2, 8))
    monitor.check()
    assert told == []


def test_a_change_is_told_within_the_period_while_the_model_answers() -> None:
    module, period = net().eval(), 0.5
    heard, told = threading.Event(), list[tuple[float, Changed]]()

    def hear(change: Changed) -> None:
        told.append((time.monotonic(), change))
        heard.set()

    with Monitor(module, hear, period=period) as monitor:
        time.sleep(0.2)
        module(torch.zeros(2, 8))
        made = time.monotonic()
        flip(module[0].weight, 0)
        assert heard.wait(10 * period)
        assert monitor.alive
    assert told[0][1].name == "0.weight"
    assert told[0][0] - made <= period + 0.5  # the half second is for a machine that is busy
    assert not monitor.alive
    assert monitor.cost.rounds >= 1


def test_the_cost_is_counted() -> None:
    weights = {"w": torch.zeros(2**20)}
    monitor = Monitor(weights, lambda _: None)
    for _ in range(3):
        monitor.check()
    cost = monitor.cost
    assert (cost.rounds, cost.size, cost.late) == (3, 2**22, 0)
    assert 0 < cost.longest <= cost.seconds
    assert cost.share > 0


def test_a_round_that_is_longer_than_the_period_is_counted_as_late() -> None:
    monitor = Monitor({"w": torch.zeros(2**20)}, lambda _: None, period=1e-6)
    monitor.check()
    assert monitor.cost.late == 1


def test_a_tensor_that_cannot_be_hashed_is_an_error_and_later_a_change() -> None:
    with pytest.raises(InputError, match="dense"):
        fingerprint(torch.eye(3).to_sparse())
    with pytest.raises(InputError, match="dense"):
        Monitor({"w": torch.zeros(3, device="meta")}, lambda _: None)
    with pytest.raises(InputError, match="weights to watch"):
        Monitor({}, lambda _: None)
    with pytest.raises(InputError, match="period"):
        Monitor(net(), lambda _: None, period=0)
    weights = {"w": torch.zeros(3)}
    monitor = Monitor(weights, lambda _: None)
    weights["w"] = torch.zeros(3).to_sparse()
    (change,) = monitor.check()
    assert change.kind == "unreadable"
    assert monitor.check() == ()


def test_tied_weights_are_watched_under_both_names() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    monitor, told = watched(module)
    flip(module[0].weight, 0)
    monitor.check()
    assert [each.name for each in told] == ["0.weight", "1.weight"]


SERVER = """
import mmap, os, sys
path, how = sys.argv[1:]
file, size = open(path, "rb", buffering=0), os.path.getsize(path)
if how == "mapped":
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
else:
    data = bytearray(2 * size if how == "twice" else size)
    for start in range(0, len(data), size):
        file.seek(0)
        file.readinto(memoryview(data)[start : start + size])
print("ready", flush=True)
for line in sys.stdin:
    data[int(line)] ^= 1
    print("done", flush=True)
"""
MEMORY = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc of Linux")
Flip = Callable[[int], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    module = nn.Sequential(nn.Linear(40, 50), nn.BatchNorm1d(50), nn.Linear(50, 9))
    save_file({name: t.contiguous() for name, t in tensors(module).items()}, path)
    return path


@pytest.fixture(params=["mapped", "read"])
def server(file: Path, request) -> Iterator[tuple[int, Flip]]:
    """A process that loaded the file, and a way to flip one bit in its memory."""
    words = [sys.executable, "-c", SERVER, str(file), request.param]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        assert process.stdout.readline() == "ready\n"

        def flip_byte(at: int) -> None:
            process.stdin.write(f"{at}\n")
            assert process.stdout.readline() == "done\n"

        yield process.pid, flip_byte
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


@MEMORY
def test_a_flipped_bit_in_another_process_names_its_tensor(server, file: Path) -> None:
    pid, flip_byte = server
    memory = Memory(pid, file)
    assert {"0.weight", "0.bias", "2.weight"} <= {place.weight.name for place in memory.places}
    assert {"1.weight", "1.bias"} <= set(memory.missing)  # ones and zeros are everywhere
    assert list(memory.check()) == []
    weight = next(each for each in read(file) if each.name == "2.weight")
    for kind in ("changed", "restored"):
        flip_byte(weight.begin + weight.size - 1)
        assert {(c.name, c.kind) for c in memory.check()} == {("2.weight", kind)}
        assert list(memory.check()) == []


@MEMORY
@pytest.mark.parametrize("server", ["twice"], indirect=True)
def test_a_change_of_one_of_two_copies_is_a_note_and_of_the_last_an_alarm(server, file) -> None:
    pid, flip_byte = server
    memory = Memory(pid, file)
    weight = next(each for each in read(file) if each.name == "0.weight")
    copies = [place for place in memory.places if place.weight == weight]
    assert [b.address - a.address for a, b in pairwise(copies)] == [file.stat().st_size]
    for at, kind in ((weight.begin, "copy"), (weight.begin + file.stat().st_size, "changed")):
        flip_byte(at)
        assert [(c.name, c.kind) for c in memory.check()] == [("0.weight", kind)]


@MEMORY
def test_the_command_watches_weights_in_memory(server, file: Path, tmp_path: Path, capsys) -> None:
    pid, flip_byte = server
    weight = next(each for each in read(file) if each.name == "0.weight")
    pace = Pace(0.05, 0.1, 0.8)
    timer = threading.Timer(0.3, flip_byte, [weight.begin])
    timer.start()
    assert run_watch(pid, Places(), (), (file,), pace, None) == 1
    timer.join()
    assert "0.weight in memory changed" in capsys.readouterr().out


@MEMORY
def test_the_end_of_the_process_is_no_change(server, file: Path) -> None:
    pid, _ = server
    memory = Memory(pid, file)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while procfs.process(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert list(memory.check()) == []


@MEMORY
def test_memory_that_can_no_longer_be_read_is_a_change(server, file, tmp_path, monkeypatch) -> None:
    memory = Memory(server[0], file)

    def refuse() -> None:
        raise InputError("a process whose memory may be read", got="no right", fix="be root")

    monkeypatch.setattr(memory, "_open", refuse)
    assert [change.kind for change in memory.check()] == ["unreadable"]


@MEMORY
def test_a_process_that_has_not_loaded_the_file_is_an_error(server, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"w": torch.randn(99, generator=torch.Generator().manual_seed(1))}, other)
    with pytest.raises(InputError, match="got none"):
        Memory(server[0], other)
    with pytest.raises(InputError, match="memory may be read"):
        Memory(2**22 + 1, other)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{x",
                b'\x2a\0\0\0\0\0\0\0{"w": {"data_offsets": [0, 9999999999]}}  '],
)  # fmt: skip
def test_what_is_no_safetensors_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="a safetensors file"):
        list(read(path))
