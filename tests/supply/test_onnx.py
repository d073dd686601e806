"""ONNX models: what library and runtime write is clean; planted operators, paths, sizes are told."""

import random
import time

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    StringStringEntryProto,
    TrainingInfoProto,
    ValueInfoProto,
)
from onnx.onnx_ml_pb2 import TensorProto as Tensor

from holdfast.core.errors import NotApplicable
from holdfast.supply import onnx_schema as schema
from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.onnx_scan import OnnxScan
from tests.supply.bypasses import EVIL
from tests.supply.chat_templates import LLAMA

node, value = helper.make_node, helper.make_tensor_value_info


def model(*nodes: NodeProto, weights: tuple[Tensor, ...] = (), functions=(), **more) -> ModelProto:
    """A model of one input x and one output y."""
    x, y = value("x", TensorProto.FLOAT, ["n", 4]), value("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        list(nodes) or [node("Relu", ["x"], ["y"])], "g", [x], [y], list(weights)
    )
    return helper.make_model(graph, functions=list(functions), ir_version=10, **more)


def array(name: str = "w", shape: tuple[int, ...] = (4, 3), kind: str = "float32") -> Tensor:
    return numpy_helper.from_array(np.ones(shape, kind), name)


def scanned(content: ModelProto | bytes, file: str = "model.onnx") -> Scan:
    return scan_bytes(content if isinstance(content, bytes) else content.SerializeToString(), file)


def rules(scan: Scan) -> set[str]:
    return {issue.rule.id.removeprefix("onnx_scan/") for issue in scan.issues}


def away(**told: str) -> Tensor:
    """A tensor whose numbers lie in another file."""
    tensor = Tensor(name="w", dims=[4, 3], data_type=1, data_location=1)
    for key, text in ({"location": "w.bin"} | told).items():
        tensor.external_data.add(key=key, value=text)
    return tensor


def nested(operator: str = "Relu", domain: str = "") -> NodeProto:
    """An If whose branches hold an operator."""
    branch = helper.make_graph(
        [node(operator, ["x"], ["o"], domain=domain)], "b", [], [value("o", 1, None)]
    )
    return node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)


def function(domain: str = "local", name: str = "Twice") -> FunctionProto:
    imports = [helper.make_opsetid("", 18)]
    return helper.make_function(
        domain, name, ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], imports
    )


def optimised(tmp_path) -> bytes:
    """What ONNX Runtime writes after fusing operators into its own."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "o.onnx")
    mlp = model(
        node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["c"]), node("Gelu", ["c"], ["y"]),
        weights=(array(), array("b", (3,))), opset_imports=[helper.make_opsetid("", 20)],
    )  # fmt: skip
    onnxruntime.InferenceSession(
        mlp.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return (tmp_path / "o.onnx").read_bytes()


SPARSE = SparseTensorProto(values=array("v", (2,)), indices=array("i", (2,), "int64"), dims=[9])
BENIGN = {
    "relu": model(),
    "mlp": model(node("Gemm", ["x", "w", "b"], ["y"]), weights=(array(), array("b", (3,)))),
    "typed numbers": model(weights=(
        helper.make_tensor("f", TensorProto.FLOAT, [2, 2], [1.0, 2, 3, 4]),
        helper.make_tensor("h", TensorProto.FLOAT16, [3], [1.0, 2, 3]),
        helper.make_tensor("i", TensorProto.INT64, [3], [1, -2, 2**62]),
        helper.make_tensor("q", TensorProto.INT4, [5], [1, 2, -3, 4, 5]),
        helper.make_tensor("s", TensorProto.STRING, [3], ["", "exec", "a"]),
        helper.make_tensor("c", TensorProto.COMPLEX64, [1], [1j]),
        helper.make_tensor("e", TensorProto.FLOAT, [0], []),
    )),
    "raw numbers": model(weights=tuple(
        array(kind, (3, 1), kind) for kind in ("float16", "int8", "bool", "uint64", "complex128")
    )),
    "external": model(weights=(away(offset="4096", length="48", checksum="ab"),)),
    "external in a folder": model(weights=(away(location="weights/w.onnx_data"),)),
    "branches": model(nested()),
    "function": model(node("Twice", ["x"], ["y"], domain="local"), functions=(function(),)),
    "runtime": model(node("FusedGemm", ["x", "w"], ["y"], domain="com.microsoft")),
    "trees": model(node("TreeEnsembleClassifier", ["x"], ["y"], domain="ai.onnx.ml")),
    "sparse": model(node("Constant", [], ["y"], sparse_value=SPARSE)),
    "words": model(doc_string="Trained with model.eval(); see https://example.org", producer_name="t"),
}  # fmt: skip
helper.set_model_props(
    BENIGN["words"], {"names": "{0: 'person', 1: 'car'}", "chat_template": LLAMA}
)


@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN)
def test_what_the_library_writes_is_clean(content) -> None:
    scan = scanned(content)
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert [(p.format, p.size) for p in scan.pieces] == [("onnx", content.ByteSize())]
    assert scanned(content, "renamed.dat").verdict is Verdict.CLEAN


def test_what_the_runtime_writes_is_clean(tmp_path) -> None:
    content = optimised(tmp_path)
    assert b"com.microsoft" in content
    assert scanned(content).verdict is Verdict.CLEAN


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (schema.MODEL, ModelProto), (schema.GRAPH, GraphProto), (schema.NODE, NodeProto),
        (schema.ATTRIBUTE, AttributeProto), (schema.TENSOR, Tensor), (schema.VALUE, ValueInfoProto),
        (schema.FUNCTION, FunctionProto), (schema.TRAINING, TrainingInfoProto),
        (schema.SPARSE, SparseTensorProto), (schema.ENTRY, StringStringEntryProto),
    ],
)  # fmt: skip
def test_the_fields_are_those_of_the_library(known, message) -> None:
    assert {n for n, _ in known} >= {f.number for f in message.DESCRIPTOR.fields}


def test_the_operators_and_types_are_those_of_the_library() -> None:
    for operator in onnx.defs.get_all_schemas_with_history():
        assert operator.name in schema.OPERATORS[operator.domain]
    assert set(TensorProto.DataType.values()) - {0} <= schema.BITS.keys()


def shaped(*dims: int, raw: bytes = bytes(16), kind: int = 1) -> ModelProto:
    return model(weights=(Tensor(name="w", dims=dims, data_type=kind, raw_data=raw),))


def spoken(**told: str) -> ModelProto:
    said = model()
    helper.set_model_props(said, told)
    return said


def within(kind: type, number: int) -> bytes:
    """A model with a field of this number, which ONNX has not, in a message of this kind."""
    extra = bytes([number << 3 & 0x7F | 0x82, number >> 4, len(EVIL)]) + EVIL
    if kind is ModelProto:
        return model().SerializeToString() + extra
    inner = {NodeProto: node("Relu", ["x"], ["y"]), Tensor: array()}[
        kind
    ].SerializeToString() + extra
    field = b"\x0a" if kind is NodeProto else b"\x2a"
    graph = field + bytes([len(inner)]) + inner
    return b"\x08\x0a\x3a" + bytes([len(graph)]) + graph + b"\x42\x02\x10\x12"


PYTHON = helper.make_function(
    "l", "F", [], [], [node("PyOp", [], [], domain="ai.onnx.contrib")], []
)
CASES = {
    "PyOp": (model(node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib")), "executing-operator"),
    "PyOp of no domain": (model(node("PyOp", ["x"], ["y"])), "executing-operator"),
    "PythonOp": (model(node("PythonOp", ["x"], ["y"], domain="com.microsoft")), "executing-operator"),
    "PyOp in a branch": (model(nested("PyOp", "ai.onnx.contrib")), "executing-operator"),
    "PyOp in a function": (model(functions=[PYTHON]), "executing-operator"),
    "custom": (model(node("Thing", ["x"], ["y"], domain="acme.ops")), "custom-operator"),
    "custom in a branch": (model(nested("Thing", "acme.ops")), "custom-operator"),
    "no such operator": (model(node("Exec", ["x"], ["y"])), "custom-operator"),
    "engine within": (model(node("EPContext", ["x"], ["y"], domain="com.microsoft")), "custom-operator"),
    "shadowed": (model(functions=(function("", "Relu"),)), "shadowed-operator"),
    "parent": (model(weights=(away(location="../../secret"),)), "external-path"),
    "parent within": (model(weights=(away(location="a/../../secret"),)), "external-path"),
    "parent by backslash": (model(weights=(away(location="a\\..\\..\\secret"),)), "external-path"),
    "absolute": (model(weights=(away(location="/etc/hostname"),)), "external-path"),
    "drive": (model(weights=(away(location="C:\\secret"),)), "external-path"),
    "address": (model(weights=(away(location="https://a.invalid/w"),)), "external-path"),
    "home": (model(weights=(away(location="~/secret"),)), "external-path"),
    "memory": (model(weights=(away(location="*/_ORT_MEM_ADDR_/*"),)), "external-path"),
    "base path": (model(weights=(away(basepath="/etc"),)), "external-path"),
    "path in an attribute": (
        model(node("Constant", [], ["y"], value=away(location="/a"))), "external-path"),
    "key": (model(weights=(away(__class__="x"),)), "external-key"),
    "offset below zero": (model(weights=(away(offset="-1"),)), "size"),
    "offset without end": (model(weights=(away(offset="9" * 30),)), "size"),
    "length of another size": (model(weights=(away(length="1000000"),)), "size"),
    "no file": (model(weights=(Tensor(name="w", dims=[1], data_type=1, data_location=1),)), "size"),
    "huge": (shaped(2**40, 2**40), "size"),
    "product that wraps": (shaped(2**32, 2**32), "size"),
    "below zero": (shaped(-1, -4), "size"),
    "too few bytes": (shaped(5), "size"),
    "too many bytes": (shaped(3), "size"),
    "no bytes": (model(weights=(Tensor(name="w", dims=[2**30], data_type=1),)), "size"),
    "unknown type": (shaped(4, kind=77), "size"),
    "many dimensions": (shaped(*[1] * 70, raw=bytes(4)), "size"),
    "huge in sparse": (model(node("Constant", [], ["y"], sparse_value=SparseTensorProto(
        values=Tensor(dims=[2**50], data_type=1), indices=array()))), "size"),
    "code": (spoken(init="__import__('os').getcwd()"), "code-in-metadata"),
    "target": (spoken(config='{"_target_": "os.getcwd"}'), "code-in-metadata"),
    "code in words": (model(doc_string="eval('1')"), "code-in-metadata"),
    "template": (spoken(chat_template="{{ ''.__class__ }}"), "template-code"),
    "hidden in the model": (within(ModelProto, 99), "hidden-field"),
    "hidden in a node": (within(NodeProto, 30), "hidden-field"),
    "hidden in a tensor": (within(Tensor, 50), "hidden-field"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rule"), CASES.values(), ids=CASES)
def test_every_planted_danger_is_told(content, rule) -> None:
    scan = scanned(content)
    assert rule in rules(scan), scan.issues
    wanted = {"custom-operator": Verdict.UNREAD, "size": Verdict.MALFORMED}
    assert scan.verdict is wanted.get(rule, Verdict.FLAGGED)


@pytest.mark.parametrize("kind", [ModelProto, NodeProto, Tensor])
def test_pickles_in_hidden_fields_are_followed(kind) -> None:
    content = within(kind, 40)
    onnx.load_from_string(content)  # the library takes it, and does not show it
    assert any("os.system" in issue.title for issue in scanned(content).issues)


def test_a_finding_tells_operator_and_place() -> None:
    content = model(node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib")).SerializeToString()
    issue = scanned(content).issues[0]
    assert issue.subject == "ai.onnx.contrib.PyOp"
    begin = content.find(node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib").SerializeToString())
    assert issue.offset == begin


def test_training_is_told_and_its_graphs_are_walked() -> None:
    trained = model()
    graph = helper.make_graph([node("PyOp", [], [])], "t", [], [])
    trained.training_info.add(algorithm=graph)
    assert rules(scanned(trained)) == {"training-info", "executing-operator"}
    trained.training_info[0].algorithm.node[0].op_type = "Relu"
    assert rules(scanned(trained)) == {"training-info"}
    assert scanned(trained).verdict is Verdict.CLEAN


def test_depth_and_count_are_bounded() -> None:
    deep = helper.make_graph([node("Relu", ["x"], ["y"])], "g", [], [])
    for _ in range(30):
        deep = helper.make_graph([node("If", ["c"], ["y"], then_branch=deep)], "g", [], [])
    scan = scanned(helper.make_model(deep))
    assert scan.verdict is Verdict.UNREAD
    begin = time.monotonic()
    many = b"\x08\x0a\x3a\x80\x87\xa7\x0e" + b"\x0a\x00" * 15_000_000 + b"\x42\x02\x10\x12"
    assert scanned(many).verdict is Verdict.UNREAD
    assert time.monotonic() - begin < 8


def test_a_cut_model_is_malformed_and_other_things_are_no_models() -> None:
    whole = BENIGN["mlp"].SerializeToString()
    for cut in range(1, len(whole), 3):
        assert scanned(whole[:cut]).verdict is not Verdict.CLEAN
    assert scanned(whole[:-40]).verdict is Verdict.MALFORMED
    for other in (b"(hello) is text", b"2 apples", b"\x08\x96\x01", b"B"):
        assert not any(p.format == "onnx" for p in scanned(other, "m.dat").pieces)


def test_no_mutation_crashes_or_hangs() -> None:
    rng, begin = random.Random(0), time.monotonic()
    sources = [each if isinstance(each, bytes) else each.SerializeToString()
               for each in (*BENIGN.values(), *(c for c, _ in CASES.values()))]  # fmt: skip
    for content in sources:
        for _ in range(30):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 4))):
                changed[rng.randrange(len(changed))] = rng.choice(
                    (0, 1, 127, 255, rng.randrange(256))
                )
            scanned(bytes(changed))
    assert time.monotonic() - begin < 8


def test_the_scanner_answers_for_onnx_only(tmp_path) -> None:
    (tmp_path / "a.onnx").write_bytes(CASES["parent"][0].SerializeToString())
    (tmp_path / "b.pkl").write_bytes(EVIL)
    found = list(OnnxScan().scan(tmp_path / "a.onnx"))
    assert [f.rule for f in found] == ["supply/onnx_scan/external-path", "supply/archive_scan/read"]
    with pytest.raises(NotApplicable):
        list(OnnxScan().scan(tmp_path / "b.pkl"))
