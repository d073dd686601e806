"""Structures of model files, and what is found between two of them."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity
from holdfast.supply.difference import difference
from holdfast.supply.drawing import draw
from holdfast.supply.pages import difference_page, structure_page
from holdfast.supply.scanners.structure_view import StructureView
from holdfast.supply.structures import open_structure
from holdfast.supply.structures.parts import statistics

LAYERS = 5


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"w{i}": rng.normal(size=(8, 8)).astype(np.float32) for i in range(LAYERS)}


def build(path, arrays, nodes=None) -> None:
    """A chain of multiplications and rectifiers; `nodes` replaces the operators."""
    chain, value = [], "x"
    for i in range(LAYERS):
        chain += [
            helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"], name=f"mul{i}"),
            helper.make_node("Relu", [f"m{i}"], [f"r{i}"], name=f"act{i}"),
        ]
        value = f"r{i}"
    shape = helper.make_tensor_value_info
    graph = helper.make_graph(
        chain if nodes is None else nodes, "g", [shape("x", TensorProto.FLOAT, ["n", 8])],
        [shape(value, TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, producer_name="test"), path)


@pytest.fixture
def pair(tmp_path):
    """The first model's structure, and a function that opens a second one."""
    build(tmp_path / "a.onnx", weights())

    def second(arrays=None, nodes=None):
        build(tmp_path / "b.onnx", weights() if arrays is None else arrays, nodes)
        return open_structure(tmp_path / "b.onnx")

    return open_structure(tmp_path / "a.onnx"), second


def nodes_of(path) -> list:
    return list(onnx.load(path).graph.node)


def test_an_onnx_model_shows_operators_shapes_and_weights(pair) -> None:
    model, _ = pair
    assert (model.format, len(model.nodes), model.parameters) == ("ONNX", 10, 5 * 64)
    assert model.inputs == {"x": "n x 8"}
    assert model.metadata["producer"] == "test"
    assert model.graph.number_of_edges() == 11  # a chain from the input to the output
    told = statistics(model.tensors["w0"])
    assert told.mean == pytest.approx(weights()["w0"].mean(), abs=1e-6)
    assert told.std == pytest.approx(weights()["w0"].std(), rel=1e-5)


def test_equal_models_do_not_differ(pair) -> None:
    model, second = pair
    assert difference(model, second()).same


def test_a_single_flipped_bit_is_found_at_its_place(pair) -> None:
    model, second = pair
    arrays = weights()
    arrays["w3"].view(np.uint32)[2, 5] ^= 1 << 30
    found = difference(model, second(arrays))
    (changed,) = found.tensors
    assert (changed.name, changed.bits, changed.count) == ("w3", 1, 1)
    assert changed.first == (2, 5)
    assert "one bit of one number, at [2, 5]" in changed.told
    assert not found.nodes_changed


def test_a_rewritten_row_of_the_head_is_told_from_a_retrained_layer(pair) -> None:
    model, second = pair
    arrays = weights()
    arrays["w4"][6] = 1.0
    (changed,) = difference(model, second(arrays)).tensors
    assert changed.rows == (6,)
    assert "1 of 8 rows (6), the others to the bit the same" in changed.told
    (whole,) = difference(model, second({**weights(), "w4": weights(1)["w4"]})).tensors
    assert whole.count == 64
    assert "64 of 64 numbers" in whole.told
    expected = np.linalg.norm(weights(1)["w4"] - weights()["w4"]) / np.linalg.norm(weights()["w4"])
    assert whole.relative == pytest.approx(expected, rel=1e-5)


def test_a_replaced_subnet_is_found(pair, tmp_path) -> None:
    model, second = pair
    nodes = nodes_of(tmp_path / "a.onnx")
    nodes[4:6] = [
        helper.make_node("Gemm", ["r1", "w2"], ["m2"], name="evil", alpha=2.0),
        helper.make_node("Sigmoid", ["m2"], ["r2"], name="act2"),
    ]
    found = difference(model, second(nodes=nodes))
    assert [n.name for n in found.nodes_added] == ["evil"]
    assert [n.name for n in found.nodes_removed] == ["mul2"]
    assert [(a.op, b.op) for a, b in found.nodes_changed] == [("Relu", "Sigmoid")]
    assert {(e.source, e.target) for e in found.edges_added} == {("act1", "evil"), ("evil", "act2")}


def test_an_edge_from_the_input_to_a_late_layer_is_found_with_what_it_skips(pair, tmp_path) -> None:
    model, second = pair
    nodes = nodes_of(tmp_path / "a.onnx")
    nodes[9] = helper.make_node("Sum", ["m4", "x"], ["r4"], name="act4")
    found = difference(model, second(nodes=nodes))
    (edge,) = found.edges_added
    assert (edge.source, edge.target, edge.skips) == ("x", "act4", 9)
    assert not found.tensors


def test_renaming_operators_changes_nothing(pair, tmp_path) -> None:
    model, second = pair
    nodes = nodes_of(tmp_path / "a.onnx")
    for node in nodes:
        node.name = f"other/{node.name}"
    assert difference(model, second(nodes=nodes)).same


def test_safetensors_and_arrays_are_read_and_compared(tmp_path) -> None:
    arrays = weights()
    save_file(arrays, tmp_path / "a.safetensors", {"task": "digits"})
    np.savez(tmp_path / "b.npz", **arrays)
    first, second = open_structure(tmp_path / "a.safetensors"), open_structure(tmp_path / "b.npz")
    assert first.metadata == {"task": "digits"}
    assert list(first.tensors) == list(arrays)
    assert first.tensors["w1"].digest == second.tensors["w1"].digest
    half = torch.linspace(-2, 2, 9).bfloat16()
    from safetensors.torch import save_file as save_torch

    save_torch({"h": half}, tmp_path / "h.safetensors")
    values = open_structure(tmp_path / "h.safetensors").tensors["h"].values
    assert values.tolist() == half.float().tolist()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_checkpoint_is_read_without_loading_it(tmp_path, zipped) -> None:
    state = {
        "a.weight": torch.arange(12.0).view(3, 4).T,
        "half": torch.linspace(-1, 1, 5).bfloat16(),
        "step": torch.tensor(7),
    }
    torch.save(
        {"model": state, "epoch": 3}, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped
    )
    model = open_structure(tmp_path / "c.pt")
    assert set(model.tensors) == {f"model.{name}" for name in state}
    for name, values in state.items():
        assert model.tensors[f"model.{name}"].values.tolist() == values.float().tolist()
    assert model.metadata["epoch"] == "3"


def test_what_is_no_model_or_holds_objects_is_refused(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    np.save(tmp_path / "o.npy", np.array([None, 1], object), allow_pickle=True)
    for name in ("a.txt", "o.npy", "none"):
        with pytest.raises(InputError):
            open_structure(tmp_path / name)
    (tmp_path / "s.safetensors").write_bytes(
        (60).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}      '
        + b"0" * 4
    )
    with pytest.raises(InputError, match="header fits"):
        open_structure(tmp_path / "s.safetensors")


def test_pages_show_the_graph_and_escape_names(pair, tmp_path) -> None:
    model, second = pair
    nodes = nodes_of(tmp_path / "a.onnx")
    nodes[9] = helper.make_node("Sum", ["m4", "x"], ["r4"], name="<script>alert(1)</script>")
    other = second(nodes=nodes)
    found = difference(model, other)
    for text in (structure_page(other), difference_page(model, other, found)):
        assert "<svg" in text
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
    assert "past 9 layers" in difference_page(model, other, found)


def test_a_graph_with_a_cycle_or_too_many_operators_is_not_drawn(pair) -> None:
    model, _ = pair
    graph = model.graph.copy()
    assert draw(graph, {}) is not None
    graph.add_edge("act4", "mul0")
    assert draw(graph, {}) is None


def test_the_scanner_tells_the_structure_and_numbers_that_no_training_leaves(tmp_path) -> None:
    arrays = weights()
    build(tmp_path / "a.onnx", arrays)
    (told,) = StructureView().scan(tmp_path / "a.onnx")
    assert told.severity is Severity.INFO
    assert told.title == "ONNX: 5 tensors, 320 numbers, 10 operators"
    assert "MatMul 5" in told.detail
    arrays["w2"][1, 3] = np.nan
    build(tmp_path / "b.onnx", arrays)
    odd, _ = StructureView().scan(tmp_path / "b.onnx")
    assert (odd.severity, odd.where) == (Severity.MEDIUM, "b.onnx!w2")
    (tmp_path / "c.txt").write_text("hello")
    with pytest.raises(NotApplicable):
        list(StructureView().scan(tmp_path / "c.txt"))
