"""Conversion to safetensors: bit by bit the tensors that torch loads, without loading them."""

import argparse
import io
import json
import pickle
import struct
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from holdfast.core.errors import InputError, UnsafeModel
from holdfast.supply.convert import convert
from holdfast.supply.files import scan_file
from tests.supply.bypasses import EVIL, SYSTEM, call, legacy, pickled, tensor, u, zipped

TYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.uint32,
    torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


def saved(folder, thing, file="model.pt", zipped_=True):
    path = folder / file
    torch.save(thing, path, _use_new_zipfile_serialization=zipped_)
    return path


def same(a, b) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and raw(a) == raw(b)


def raw(tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def metadata(path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def module():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()
    )


@pytest.mark.parametrize("zipped_", [True, False])
def test_a_state_dict_comes_out_bit_by_bit(tmp_path, zipped_) -> None:
    path = saved(tmp_path, module().state_dict(), zipped_=zipped_)
    made = convert(path, tmp_path / "out")
    truth = torch.load(path, weights_only=True)
    ours = load_file(made.target)
    assert sorted(ours) == sorted(truth)
    assert all(same(ours[key], truth[key]) for key in truth)
    assert made.tensors == len(truth)
    assert made.size == made.target.stat().st_size
    assert made.dropped == made.copied == made.left == ()
    assert scan_file(made.target).verdict.value == "clean"


@pytest.mark.parametrize("zipped_", [True, False])
def test_every_type_and_special_number_comes_out_bit_by_bit(tmp_path, zipped_) -> None:
    bits = torch.tensor([0, 1, 127, 128, 255, 254, 64, 192] * 4, dtype=torch.uint8)
    things = {str(t): bits.clone().view(t) if t != torch.bool else bits > 99 for t in TYPES}
    if not zipped_:
        things = dict(list(things.items())[:11])  # torch does not read the others back itself
    things |= {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3)}
    path = saved(tmp_path, things, zipped_=zipped_)
    truth = torch.load(path, weights_only=True)
    ours = load_file(convert(path, tmp_path / "out").target)
    assert {key for key in truth if not same(ours[key], truth[key])} == set()


@pytest.mark.parametrize("zipped_", [True, False])
def test_views_strides_and_shared_storages_become_copies_of_their_own(tmp_path, zipped_) -> None:
    base = torch.arange(60.0).reshape(3, 4, 5)
    things = {
        "turned": base.permute(2, 0, 1), "row": base[1], "column": base[:, :, 2], "steps": base[:, ::2],
        "again": torch.tensor([7.0]).expand(6), "plain": torch.ones(2), "tied": base,
    }  # fmt: skip
    path = saved(tmp_path, things, zipped_=zipped_)
    made = convert(path, tmp_path / "out")
    truth = torch.load(path, weights_only=True)
    ours = load_file(made.target)
    assert {key for key in truth if not same(ours[key], truth[key])} == set()
    told = "; ".join(made.copied)
    assert "turned" in told
    assert "share a storage" in told
    assert "plain" not in told


@pytest.mark.parametrize("zipped_", [True, False])
def test_a_training_checkpoint_keeps_tensors_texts_and_numbers(tmp_path, zipped_) -> None:
    net = module()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.25)
    net(torch.ones(2, 1, 5, 5)).sum().backward()
    optimiser.step()
    thing = {
        "model": net.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 7, "note": "a\nb",
        "history": [0.5, 0.25], "args": argparse.Namespace(lr=0.25, seed=1),
        "nets": [{"w": torch.ones(2)}, (torch.zeros(1),)], "size": torch.Size([3]),
    }  # fmt: skip
    path = saved(tmp_path, thing, zipped_=zipped_)
    made = convert(path, tmp_path / "out")
    ours, told = load_file(made.target), metadata(made.target)
    assert same(ours["model.0.weight"], net.state_dict()["0.weight"])
    state = optimiser.state_dict()["state"]
    for number, of in state.items():
        for key, value in of.items():
            assert same(ours[f"optimizer.state.{number}.{key}"], value)
    assert same(ours["nets.1.0"], torch.zeros(1))
    assert json.loads(told["epoch"]) == 7
    assert json.loads(told["note"]) == "a\nb"
    assert json.loads(told["history"]) == [0.5, 0.25]
    assert json.loads(told["optimizer.param_groups"])[0]["lr"] == 0.25
    assert json.loads(told["args.seed"]) == 1
    assert told["format"] == "pt"
    assert any("argparse.Namespace" in each for each in made.dropped)
    assert made.lines[0].startswith(f"model.pt: {len(ours)} tensors written to ")


def test_a_module_gives_its_state_dict_and_leaves_its_class(tmp_path) -> None:
    net = module()
    path = saved(tmp_path, net)
    made = convert(path, tmp_path / "out")
    ours = load_file(made.target)
    truth = net.state_dict()
    assert sorted(ours) == sorted(truth)
    assert all(same(ours[key], truth[key]) for key in truth)
    assert any("Sequential" in each for each in made.dropped)


def test_parameters_of_a_list_and_numbered_keys_are_named_by_their_place(tmp_path) -> None:
    path = saved(
        tmp_path, [torch.nn.Parameter(torch.ones(2)), {3: torch.zeros(1), "3": torch.ones(1)}]
    )
    ours = load_file(convert(path, tmp_path / "out").target)
    assert sorted(ours) == ["0", "1.3", "1.3#"]


def evil_zip(content: bytes, storage: bytes = b"") -> bytes:
    return zipped({"a/data.pkl": content, "a/data/0": storage, "a/version": b"3\n"})


ONES = struct.pack("<4f", *[1.0] * 4)


def test_what_runs_beside_the_tensors_is_left_behind_and_named(tmp_path) -> None:
    content = pickled(
        b"}(" + u("w") + tensor(4, 4) + u("x") + SYSTEM + u("y") + call("lovely", "f") + b"u"
    )
    (tmp_path / "m.pt").write_bytes(evil_zip(content, ONES))
    made = convert(tmp_path / "m.pt", tmp_path / "out")
    assert torch.equal(load_file(made.target)["w"], torch.ones(4))
    assert "os.system" in made.left[0]
    assert any("lovely.f" in each for each in made.left)
    assert any(each.startswith("x: ") for each in made.dropped)
    assert "runs code" in made.lines[1]


def test_tensors_that_go_through_unknown_code_are_refused(tmp_path) -> None:
    through = call("lovely", "f", tensor(4, 4))
    for number, inner in enumerate(
        (through, call("lovely", "f") + b"}" + u("w") + tensor(4, 4) + b"sb")
    ):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(
            evil_zip(pickled(b"}(" + u("v") + tensor(4, 4) + u("w") + inner + b"u"), ONES)
        )
        with pytest.raises(UnsafeModel, match="w, which is made by what would run code"):
            convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


REFUSED = {
    "beyond its storage": (evil_zip(pickled(tensor(4, 5)), ONES), "beyond its storage"),
    "an offset beyond it": (evil_zip(pickled(tensor(4, 4, 1)), ONES), "beyond its storage"),
    "a storage shorter than told": (evil_zip(pickled(tensor(8, 8)), ONES), "beyond them"),
    "no storage": (zipped({"a/data.pkl": pickled(tensor(4, 4))}), "beyond them"),
    "code alone": (evil_zip(EVIL), "holds tensors"),
    "a plain pickle": (pickle.dumps({"a": 1}), "a checkpoint of torch"),
    "no pickle": (b"hello there", "a checkpoint of torch"),
    "empty": (b"", "an empty file"),
    "cut": (evil_zip(pickled(tensor(4, 4)), ONES)[:-40], "without its directory"),
    "a misused callable": (
        evil_zip(pickled(b"}(" + u("w") + tensor(4, 4) + u("x") + call("numpy", "log") + b"u"), ONES),
        "what it seems to",
    ),
    "old, with code and no tensor": (legacy(obj=EVIL), "holds tensors"),
    "big-endian": (
        zipped({"a/data.pkl": pickled(tensor(4, 4)), "a/data/0": ONES, "a/byteorder": b"big"}),
        "big-endian",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_safely_is_refused_in_one_line(tmp_path, content, told) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        convert(tmp_path / "m.pt", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_a_tensor_that_repeats_itself_without_end_is_refused(tmp_path) -> None:
    path = saved(tmp_path, {"w": torch.zeros(1).expand(2**30)})
    with pytest.raises(InputError, match="contiguous"):
        convert(path, tmp_path / "out")


def test_a_file_that_is_there_is_not_overwritten(tmp_path) -> None:
    path = saved(tmp_path, module().state_dict())
    convert(path, tmp_path / "out")
    with pytest.raises(InputError, match="remove it"):
        convert(path, tmp_path / "out")
    with pytest.raises(InputError, match="path of a file"):
        convert(tmp_path / "none.pt", tmp_path / "out")


def test_bytes_and_unreadable_things_are_dropped_by_name(tmp_path) -> None:
    path = saved(tmp_path, {"w": torch.ones(1), "raw": b"x" * 9, "odd": {(1, 2): 3}, "t": torch.float32,
                            "sparse": torch.eye(2).to_sparse()})  # fmt: skip
    made = convert(path, tmp_path / "out")
    told = "; ".join(made.dropped)
    assert "raw: bytes" in told
    assert "odd: entries whose keys" in told
    assert "sparse: what torch._utils._rebuild_sparse_tensor makes" in told
    assert json.loads(metadata(made.target)["t"]) == "torch.float32"


def test_names_from_the_file_are_safe_to_print_and_come_back_as_they_are(tmp_path) -> None:
    things = {
        "\x1b[31m\u00e4": torch.ones(1),
        "\x1b]0;x": b"raw",
        "a\nb": 1,
        "__metadata__": torch.ones(2),
    }
    made = convert(saved(tmp_path, things), tmp_path / "out")
    assert sorted(load_file(made.target)) == sorted(["\x1b[31m\u00e4", "__metadata__#"])
    assert all(line.isascii() and line.isprintable() for line in made.lines[1:])
    assert json.loads(metadata(made.target)["a\nb"]) == 1


def checkpoint() -> bytes:
    out = io.BytesIO()
    torch.save(
        {"a": torch.arange(6.0).reshape(2, 3).T, "b": [1, "x"], "c": module().state_dict()}, out
    )
    return out.getvalue()


WHOLE = checkpoint()
PICKLE = zipfile.ZipFile(io.BytesIO(WHOLE)).read("archive/data.pkl")


@given(st.lists(st.tuples(st.integers(0, len(PICKLE) - 1), st.integers(0, 255)), max_size=5))
@settings(max_examples=150, deadline=2000)
def test_mutated_checkpoints_are_refused_or_converted_and_never_crash(
    tmp_path_factory, edits
) -> None:
    folder, content = tmp_path_factory.mktemp("mutated"), bytearray(PICKLE)
    for at, byte in edits:
        content[at] = byte
    (folder / "m.pt").write_bytes(WHOLE.replace(PICKLE, bytes(content)))
    try:
        made = convert(folder / "m.pt", folder / "out")
    except InputError:
        return
    assert len(load_file(made.target)) == made.tensors
