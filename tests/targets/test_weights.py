"""Weights files: what is saved is what is loaded, and what does not fit changes nothing."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from holdfast.core.errors import InputError
from holdfast.targets.weights import load_safetensors, save_safetensors, weights_digest


def _net(seed: int, wide: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, wide), nn.BatchNorm1d(wide), nn.Linear(wide, 2))


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_saved_weights_and_buffers_come_back_bit_for_bit(tmp_path) -> None:
    first, second = _net(0), _net(1)
    first(torch.randn(8, 2))  # moves the running statistics
    assert not _same(first.state_dict(), second.state_dict())
    save_safetensors(first, tmp_path / "w.safetensors")
    load_safetensors(second, tmp_path / "w.safetensors")
    assert _same(first.state_dict(), second.state_dict())


def test_tied_weights_can_be_saved_and_stay_tied(tmp_path) -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    save_safetensors(tied, tmp_path / "w.safetensors")
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    other[1].weight = other[0].weight
    load_safetensors(other, tmp_path / "w.safetensors")
    assert _same(tied.state_dict(), other.state_dict())
    assert other[1].weight is other[0].weight


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("0.bias"), r"missing: 0\.bias"),
        (lambda s: s.update(extra=torch.ones(1)), r"unexpected: extra"),
        (
            lambda s: s.update({"2.weight": torch.ones(2, 7)}),
            r"of another shape: 2\.weight \(2, 7\) instead of \(2, 3\)",
        ),
        (
            lambda s: s.update({"0.bias": torch.ones(3, dtype=torch.int64)}),
            r"another kind of number: 0\.bias torch\.int64 instead of torch\.float32",
        ),
        (lambda s: (s.pop("0.bias"), s.update(bias=torch.ones(3))), "missing.*; unexpected: bias"),
    ],
)
def test_weights_of_another_model_are_told_in_one_error_and_none_is_loaded(
    tmp_path, change, says: str
) -> None:
    module, state = _net(0), _state(_net(1))
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    before = _state(module)
    with pytest.raises(InputError, match=says):
        load_safetensors(module, tmp_path / "w.safetensors")
    assert _same(before, module.state_dict())


def test_a_long_list_of_names_is_cut(tmp_path) -> None:
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"missing: (\S+, ){4}\S+ and 4 more;"):
        load_safetensors(_net(0), tmp_path / "w.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_cut_file_is_refused(tmp_path, kept: int) -> None:
    path = tmp_path / "w.safetensors"
    save_safetensors(_net(0), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="no complete safetensors file"):
        load_safetensors(_net(0), path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 64,
        b"\x80\x04cos\nsystem\n.",
        (10**15).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,400000]}}',
    ],
)
def test_other_bytes_are_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="no complete safetensors file"):
        load_safetensors(_net(0), tmp_path / "w.safetensors")


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(InputError, match="no file of weights is there"):
        load_safetensors(_net(0), tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="cannot be written"):
        save_safetensors(_net(0), tmp_path / "no" / "folder" / "w.safetensors")


def test_a_digest_changes_with_a_weight_a_buffer_a_name_and_the_architecture() -> None:
    digest = weights_digest(_net(0))
    assert digest == weights_digest(_net(0))
    changed = [_net(1), _net(0), _net(0), nn.Sequential(*_net(0), nn.ReLU())]
    with torch.no_grad():
        changed[1][2].bias[0] += 1e-6
    changed[2][1].running_mean[0] = 1
    assert len({digest, *map(weights_digest, changed)}) == 5
    assert weights_digest(_net(0).bfloat16()) != digest
