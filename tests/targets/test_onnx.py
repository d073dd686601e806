# ruff: noqa: E501  # tables of cases
"""Imported ONNX models against the modules they were exported from, and against ONNX Runtime."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.functional import cross_entropy

from holdfast.core.errors import InputError
from holdfast.ops import bounds
from holdfast.targets.export import export_onnx
from holdfast.targets.onnx import agree, open_onnx, reference
from holdfast.targets.onnx_ops import OPERATORS
from holdfast.targets.torch import TorchClassifier
from tests.conftest import small_cnn


class Residual(nn.Module):
    """Batch normalisation, a sum of two branches and a view that depends on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.again = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        x = (x + self.again(self.second(x))).relu()
        return self.last(x.mean((2, 3)).view(x.size(0), -1))


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    image = (1, 8, 8)
    return {
        "digits": (small_cnn(), image),
        "residual": (Residual(), image),
        "mlp": (nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.Tanh(), nn.Linear(30, 10)), image),
        "average pool": (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.AvgPool2d(2, padding=1), nn.LeakyReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(16, 3)), image),
        "uneven pool": (
            nn.Sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Flatten(), nn.Linear(16, 2)), image),
        "activations": (
            nn.Sequential(nn.Linear(5, 9), nn.GELU(), nn.Linear(9, 9), nn.SiLU(), nn.Linear(9, 9), nn.Hardswish(),
                          nn.Linear(9, 9), nn.ELU(), nn.LayerNorm(9), nn.SELU(), nn.Linear(9, 9), nn.Softplus(),
                          nn.Linear(9, 9), nn.Hardsigmoid(), nn.Linear(9, 4), nn.LogSoftmax(1)), (5,)),
        "table": (nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)), (12,)),
        "transposed": (
            nn.Sequential(nn.ConvTranspose2d(1, 3, 3, stride=2, output_padding=1), nn.Flatten(), nn.Linear(972, 2)),
            image),
    }  # fmt: skip


def settled(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The module with running statistics that differ from their start."""
    torch.manual_seed(0)
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(16, *shape))
    return module.eval()


@pytest.mark.parametrize("name", networks())
def test_scores_and_input_gradients_are_those_of_the_original(tmp_path, name) -> None:
    module, shape = networks()[name]
    module = settled(module, shape)
    imported = open_onnx(export_onnx(module, torch.rand(3, *shape), tmp_path / "m.onnx"))
    x, y = torch.rand(7, *shape), torch.arange(7) % 2
    ours, theirs = TorchClassifier(imported), TorchClassifier(module)
    scale = theirs.scores(x).abs().max()
    assert (ours.scores(x) - theirs.scores(x)).abs().max() <= 1e-5 * scale
    mine, original = (
        t.gradient(x, lambda raw: cross_entropy(raw, y)).wrt_input for t in (ours, theirs)
    )
    assert (mine - original).abs().max() <= 1e-5 * original.abs().max()
    assert original.abs().max() > 0
    assert all(p.requires_grad for p in imported.parameters())


def test_a_chain_becomes_sequential_with_real_layers_that_tools_know(tmp_path) -> None:
    module = settled(small_cnn(), (1, 8, 8))
    imported = open_onnx(export_onnx(module, torch.rand(2, 1, 8, 8), tmp_path / "m.onnx"))
    assert [type(layer) for layer in imported] == [type(layer) for layer in module]
    x = torch.rand(5, 1, 8, 8)
    found, wanted = TorchClassifier(imported).features(x), TorchClassifier(module).features(x)
    assert torch.allclose(found, wanted, atol=1e-6)
    low, high = bounds.propagate(bounds.layers(imported), x - 0.01, x + 0.01)
    assert ((low <= module(x)) & (module(x) <= high)).all()
    copy.deepcopy(imported)


def test_a_view_that_depends_on_the_batch_becomes_a_flat_layer(tmp_path) -> None:
    imported = open_onnx(
        export_onnx(settled(Residual(), (1, 8, 8)), torch.rand(2, 1, 8, 8), tmp_path / "m.onnx")
    )
    kinds = [type(layer).__name__ for layer in imported.layers]
    assert "Linear" in kinds
    assert not any(
        getattr(layer, "op", "") in ("Shape", "Gather", "Reshape") for layer in imported.modules()
    )


def graph(nodes, weights, shape=("n", 4), out=("n", 3), opset=17) -> onnx.ModelProto:
    """A model of the given nodes from `x` to `y`."""
    kinds = [TensorProto.FLOAT, list(shape)], [TensorProto.FLOAT, list(out) if out else None]
    inputs, outputs = (
        helper.make_tensor_value_info(n, *k) for n, k in zip("xy", kinds, strict=True)
    )
    initialisers = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    made = helper.make_graph(nodes, "g", [inputs], [outputs], initialisers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model if out else onnx.shape_inference.infer_shapes(model)


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


RNG = np.random.default_rng(0)
SQUARE = RNG.normal(size=(4, 4)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 2, 3, 3)).astype(np.float32)
VECTOR = (np.abs(RNG.normal(size=4)) + 0.5).astype(np.float32)
IMAGE = ("n", 2, 7, 6)
INTS = {"axes": np.array([1]), "last": np.array([2, 3]), "shape": np.array([0, -1])}


def single(op: str) -> list[tuple[dict, dict, tuple]]:
    """Attributes, further inputs and input shape of the forms in which an operator is tried."""
    constant = [({}, {"c": VECTOR}, ("n", 4))]
    pools = [
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}, {"kernel_shape": [2, 3], "pads": [0, 1, 1, 0]},
        {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
    ]  # fmt: skip
    forms: dict[str, list[tuple[dict, dict, tuple]]] = {
        "AveragePool": [({**p, "count_include_pad": c}, {}, IMAGE) for p in pools for c in (0, 1)],
        "BatchNormalization": [({"epsilon": 1e-3}, dict.fromkeys("abcd", VECTOR), s) for s in (("n", 4), ("n", 4, 3, 3))],
        "Cast": [({"to": 1}, {}, ("n", 4))],
        "Clip": [({}, {"a": np.float32(lo), "b": np.float32(hi)}, ("n", 4)) for lo, hi in ((0, 6), (0.2, 0.6))],
        "Concat": [({"axis": 1}, {"x": None}, ("n", 4))],
        "Conv": [({"pads": [1, 1, 1, 1], "strides": [2, 1]}, {"w": KERNEL, "b": VECTOR[:3]}, IMAGE),
                 ({"pads": [0, 1, 2, 0], "dilations": [1, 2]}, {"w": KERNEL}, IMAGE),
                 ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"w": KERNEL}, IMAGE),
                 ({"group": 2}, {"w": KERNEL[:2, :1]}, IMAGE), ({}, {"w": KERNEL[:, :, 0]}, ("n", 2, 9))],
        "ConvTranspose": [({"strides": [2, 2], "pads": [1, 1, 1, 1]}, {"w": KERNEL[:2, :, :, :]}, IMAGE)],
        "Elu": [({"alpha": 0.7}, {}, ("n", 4))],
        "Flatten": [({}, {}, IMAGE), ({"axis": 2}, {}, IMAGE)],
        "Gather": [({"axis": 1}, {"i": np.array([2, -1, 0])}, ("n", 4))],
        "Gemm": [({"transB": 1}, {"w": SQUARE, "c": VECTOR}, ("n", 4)),
                 ({"alpha": 0.5, "beta": 2.0}, {"w": SQUARE, "c": VECTOR[:1]}, ("n", 4)), ({}, {"w": SQUARE}, ("n", 4))],
        "HardSigmoid": [({}, {}, ("n", 4)), ({"alpha": 1 / 6, "beta": 0.5}, {}, ("n", 4))],
        "GlobalAveragePool": [({}, {}, IMAGE)],
        "GlobalMaxPool": [({}, {}, IMAGE)],
        "LayerNormalization": [({}, {"w": VECTOR, "b": VECTOR}, ("n", 4))],
        "LeakyRelu": [({"alpha": 0.3}, {}, ("n", 4))],
        "MatMul": [({}, {"w": SQUARE}, ("n", 4)), ({}, {"w": SQUARE}, ("n", 3, 4))],
        "MaxPool": [(p, {}, IMAGE) for p in pools],
        "Pad": [({}, {"p": np.array(p), "v": np.float32(v)}, IMAGE)
                for p, v in (([0, 0, 1, 2, 0, 0, 0, 1], 0), ([0, 1, 0, 0, 0, 0, -1, 0], 2))]
        + [({"mode": m}, {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1])}, IMAGE) for m in ("reflect", "edge")],
        "ReduceMax": [({"axes": [1], "keepdims": 0}, {}, ("n", 4, 5))],
        "ReduceMean": [({"axes": [2, 3], "keepdims": k}, {}, IMAGE) for k in (0, 1)],
        "ReduceSum": [({"keepdims": 0}, {"a": np.array([1])}, ("n", 4, 5))],
        "Reshape": [({}, {"s": np.array([0, -1])}, IMAGE), ({}, {"s": np.array([0, 2, 2])}, ("n", 4))],
        "Slice": [({}, {"s": np.array([3]), "e": np.array([0]), "a": np.array([1]), "t": np.array([-1])}, ("n", 4)),
                  ({}, {"s": np.array([1]), "e": np.array([2**62]), "a": np.array([-1])}, IMAGE)],
        "Softmax": [({"axis": 1}, {}, ("n", 4))],
        "LogSoftmax": [({"axis": -1}, {}, ("n", 4))],
        "Squeeze": [({}, {"a": np.array([1])}, ("n", 1, 4))],
        "Transpose": [({"perm": [0, 2, 1]}, {}, ("n", 4, 3))],
        "Unsqueeze": [({}, {"a": np.array([1, -1])}, ("n", 4))],
        **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min", "Sum"), constant),
    }  # fmt: skip
    return forms.get(op, [({}, {}, ("n", 4))])


OPSETS = {"HardSwish": 14, "Gelu": 20}
TRIED = sorted(set(OPERATORS) - {"Shape", "ConstantOfShape", "Expand"})


@pytest.mark.parametrize("op", TRIED)
def test_every_operator_gives_what_onnx_runtime_gives(tmp_path, op) -> None:
    for attrs, further, shape in single(op):
        weights = {k: v for k, v in further.items() if v is not None}
        node = helper.make_node(op, ["x", *further], ["y"], **attrs)
        model = graph([node], weights, shape, None, OPSETS.get(op, 17))
        module = open_onnx(saved(tmp_path, model))  # compares with ONNX Runtime
        x = torch.rand(3, *shape[1:], requires_grad=True)
        out = module(x)
        for inputs in (x.detach(), -x.detach()):
            found = module(inputs)
            wanted = reference(model.SerializeToString(), inputs, None)
            if wanted.isfinite().any():
                agree(found.exp() if op == "Softmax" else found, wanted, op)
        assert torch.autograd.grad(out.sum(), x)[0].isfinite().all()


def test_shape_arithmetic_of_exporters_is_followed(tmp_path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zeros"], ["rows"]),
        helper.make_node("Concat", ["rows", "rest"], ["target"], axis=0),
        helper.make_node("ConstantOfShape", ["target"], ["ones"], value=numpy_helper.from_array(np.ones(1, np.float32))),
        helper.make_node("Expand", ["c", "target"], ["wide"]),
        helper.make_node("Mul", ["ones", "wide"], ["w"]),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]  # fmt: skip
    weights = {
        "zero": np.array(0), "zeros": np.array([0]), "rest": np.array([4]), "c": VECTOR[None],
    }  # fmt: skip
    module = open_onnx(saved(tmp_path, graph(nodes, weights)))
    assert torch.allclose(module(torch.zeros(6, 4)), torch.from_numpy(VECTOR).expand(6, 4))


def test_older_operator_sets_are_read(tmp_path) -> None:
    for node, shape in (
        (helper.make_node("Softmax", ["x"], ["y"], axis=1), ("n", 4, 3)),
        (helper.make_node("Clip", ["x"], ["y"], min=0.2, max=0.5), ("n", 4)),
        (helper.make_node("Slice", ["x"], ["y"], starts=[1], ends=[2**40], axes=[1]), ("n", 4)),
        (helper.make_node("Pad", ["x"], ["y"], pads=[0, 1, 0, 2], value=1.5), ("n", 4)),
        (helper.make_node("Squeeze", ["x"], ["y"], axes=[1]), ("n", 1, 4)),
    ):
        open_onnx(saved(tmp_path, graph([node], {}, shape, None, opset=9)))


def test_a_softmax_at_the_end_becomes_scores_with_the_same_probabilities(tmp_path) -> None:
    module = settled(nn.Sequential(nn.Linear(5, 4), nn.Softmax(1)), (5,))
    imported = open_onnx(export_onnx(module, torch.rand(2, 5), tmp_path / "m.onnx"))
    x = 30 * torch.rand(6, 5)
    assert torch.allclose(imported(x).softmax(1), module(x), atol=1e-6)
    assert isinstance(imported[-1], nn.LogSoftmax)


def test_a_single_sigmoid_becomes_its_logit_and_so_two_classes(tmp_path) -> None:
    module = settled(nn.Sequential(nn.Linear(5, 1), nn.Sigmoid()), (5,))
    imported = open_onnx(export_onnx(module, torch.rand(2, 5), tmp_path / "m.onnx"))
    x = torch.rand(6, 5)
    scores = TorchClassifier(imported).scores(x)
    assert torch.allclose(scores.softmax(1)[:, 1:], module(x), atol=1e-6)


def test_a_model_for_one_row_at_a_time_takes_any_number_of_rows(tmp_path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    weights = {"shape": np.array([1, 4]), "w": SQUARE, "b": VECTOR}
    module = open_onnx(saved(tmp_path, graph(nodes, weights, (1, 2, 2), (1, 4))))
    assert [type(layer) for layer in module] == [nn.Flatten, nn.Linear]
    x = torch.rand(5, 2, 2)
    assert torch.allclose(
        module(x), x.flatten(1) @ torch.from_numpy(SQUARE) + torch.from_numpy(VECTOR), atol=1e-6
    )


def test_tied_weights_stay_tied(tmp_path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("Gemm", ["h", "w"], ["y"], transB=1),
    ]
    module = open_onnx(saved(tmp_path, graph(nodes, {"w": SQUARE}, out=("n", 4))))
    assert len(list(module.parameters())) == 1


def test_unknown_operators_are_refused_by_name_all_at_once(tmp_path) -> None:
    nodes = [
        helper.make_node("LRN", ["x"], ["a"], size=3),
        helper.make_node("Mish", ["a"], ["b"]),
        helper.make_node("Magic", ["b"], ["y"], domain="com.example"),
    ]
    with pytest.raises(InputError, match=r"LRN, Mish, com\.example:Magic"):
        open_onnx(saved(tmp_path, graph(nodes, {}, opset=18)))


@pytest.mark.parametrize("keep", [0, 1, 10, 200, -20])
def test_a_cut_file_is_refused(tmp_path, keep) -> None:
    path = export_onnx(settled(small_cnn(), (1, 8, 8)), torch.rand(1, 1, 8, 8), tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError):
        open_onnx(path)


def external(folder: Path, location: str, size: int = 64, offset: int = 0) -> Path:
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": SQUARE}, out=("n", 4))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(size))):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_data_beside_the_model_is_read_and_data_elsewhere_refused(tmp_path) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "w.bin").write_bytes(SQUARE.tobytes())
    (tmp_path / "secret.bin").write_bytes(SQUARE.tobytes())
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    x = torch.rand(3, 4)
    assert torch.allclose(
        open_onnx(external(inside, "w.bin"))(x), x @ torch.from_numpy(SQUARE), atol=1e-6
    )
    for bad in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "none.bin", ""):
        with pytest.raises(InputError, match="outside of its folder"):
            open_onnx(external(inside, bad))
    with pytest.raises(InputError, match="more data"):
        open_onnx(external(inside, "w.bin", size=640))
    with pytest.raises(InputError, match="more data"):
        open_onnx(external(inside, "w.bin", offset=32))


def test_absurd_sizes_are_refused_without_being_made(tmp_path) -> None:
    wide = np.ones((1, 2**15), np.float32)
    growing = [
        helper.make_node("MatMul", ["x", "tall"], ["a"]),
        helper.make_node("Unsqueeze", ["a", "one"], ["b"]),
        helper.make_node("Unsqueeze", ["a", "two"], ["c"]),
        helper.make_node("Mul", ["b", "c"], ["y"]),
    ]
    weights = {"tall": wide, "one": np.array([1]), "two": np.array([2])}
    with pytest.raises(InputError, match="absurd size"):
        open_onnx(saved(tmp_path, graph(growing, weights, ("n", 1), None)))
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], pads=[2**20] * 4)
    with pytest.raises(InputError, match="absurd window"):
        open_onnx(saved(tmp_path, graph([node], {}, IMAGE, None)))
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": SQUARE}, out=("n", 4))
    model.graph.initializer[0].dims[:] = [2**31, 2**31]
    with pytest.raises(InputError, match="absurd size"):
        open_onnx(saved(tmp_path, model))


def test_what_is_no_single_input_classifier_is_refused(tmp_path) -> None:
    add = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(InputError, match="rows of one shape"):
        open_onnx(saved(tmp_path, graph([add], {}, ("n", "m"), ("n", "m"))))
    two = graph([helper.make_node("Add", ["x", "z"], ["y"])], {}, out=("n", 4))
    two.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4]))
    with pytest.raises(InputError, match="one input and one output"):
        open_onnx(saved(tmp_path, two))
    with pytest.raises(InputError, match=r"path of a \.onnx file"):
        open_onnx(tmp_path / "none.onnx")


def test_an_import_that_differs_from_onnx_runtime_is_refused(tmp_path, monkeypatch) -> None:
    path = saved(tmp_path, graph([helper.make_node("Softplus", ["x"], ["y"])], {}, out=("n", 4)))
    open_onnx(path)
    monkeypatch.setitem(OPERATORS, "Abs", lambda a, x: x[0].abs() * (1 + 3e-5))  # beyond tolerance
    off = saved(tmp_path, graph([helper.make_node("Abs", ["x"], ["y"])], {}, out=("n", 4)))
    with pytest.raises(InputError, match="computed differently"):
        open_onnx(off)


def test_an_export_leaves_the_module_as_it_was_and_writes_nothing_wrong(tmp_path) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2)).train()
    state = {k: v.clone() for k, v in module.state_dict().items()}
    path = export_onnx(module, torch.rand(2, 4), tmp_path / "m.onnx")
    assert module.training
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    x = torch.rand(9, 4)
    assert torch.allclose(reference(path.read_bytes(), x, None), module.eval()(x), atol=1e-6)

    class Counting(nn.Module):
        def forward(self, x):
            return x * len(x)  # the number of rows is baked into the file

    with pytest.raises(InputError, match="computed differently"):
        export_onnx(Counting(), torch.rand(2, 4), tmp_path / "wrong.onnx")
    assert not (tmp_path / "wrong.onnx").exists()
