"""Graphs in protocol buffers and flat buffers: rows 55 to 57, and TensorFlow Lite and CoreML."""

# ruff: noqa: E501  # tables of cases

import struct
from collections.abc import Iterator
from typing import Any

from benchmarks.corpus import LIE, LOAD, NEEDS, REACH, Sample, zipped
from tests.supply.bypasses import EVIL
from tests.supply.protobuf import message


def node(name: str, op: str, *inputs: str, **settings: bytes) -> bytes:
    """A NodeDef; settings are encoded AttrValues."""
    told = ((5, message((1, key), (2, value))) for key, value in settings.items())
    return message((1, name), (2, op), *((3, each) for each in inputs), *told)


def const(name: str, value: str) -> bytes:
    return node(name, "Const", value=message((8, message((1, 7), (2, b""), (8, value)))))


def function(name: str, *nodes: bytes) -> bytes:
    return message((1, message((1, name))), *((3, each) for each in nodes))


def graph(*nodes: bytes, functions: tuple[bytes, ...] = ()) -> bytes:
    return message(*((1, each) for each in nodes), (2, message(*((1, each) for each in functions))))


def saved(*graphs: bytes, assets: tuple[str, ...] = ()) -> bytes:
    """A SavedModel of these graphs."""
    metas = []
    for each in graphs:
        signature = message(
            (1, "serving_default"), (2, message((2, message((1, "y"), (2, message((1, "y:0")))))))
        )
        told = [(6, message((1, message((1, "a:0"))), (2, name))) for name in assets]
        metas.append((2, message((1, message((4, "serve"))), (2, each), (5, signature), *told)))
    return message((1, 1), *metas)


BASE = (
    node("x", "Placeholder"),
    node("w", "VarHandleOp"),
    node("r", "ReadVariableOp", "w"),
    node("y", "MatMul", "x", "r"),
)


def tensorflow() -> Iterator[Sample]:
    """Row 55."""
    path = const("p", "/etc/hostname")
    operators = {
        "PyFunc": "code", "PyFuncStateless": "code", "EagerPyFunc": "code", "ReadFile": REACH, "WriteFile": REACH,
        "MatchingFiles": REACH, "ImmutableConst": REACH, "TFRecordDatasetV2": REACH, "TextLineDataset": REACH,
        "FixedLengthRecordDatasetV2": REACH, "RpcCall": REACH, "DebugIdentityV2": REACH, "MyShellOp": NEEDS,
    }  # fmt: skip
    for op, tier in operators.items():
        bad = node("z", op, "p")
        yield Sample(
            f"SavedModel: {op}", "saved_model.pb", saved(graph(*BASE, path, bad)), tier, 55
        )
        inner = function("helper", path, bad)
        yield Sample(
            f"SavedModel: {op} in a function",
            "saved_model.pb",
            saved(graph(*BASE, functions=(inner,))),
            tier,
            55,
        )
    read = node("z", "ReadFile", "p")
    yield Sample(
        "SavedModel: second graph",
        "saved_model.pb",
        saved(graph(*BASE), graph(*BASE, path, read)),
        REACH,
        55,
    )
    yield Sample(
        "SavedModel: assets outside",
        "saved_model.pb",
        saved(graph(*BASE), assets=("../../../etc/passwd",)),
        REACH,
        55,
    )
    yield Sample(
        "frozen graph: WriteFile",
        "frozen.pb",
        graph(*BASE, path, node("z", "WriteFile", "p", "x")),
        REACH,
        55,
    )
    yield Sample(
        "frozen graph: PyFunc", "frozen.pb", graph(*BASE, node("z", "PyFunc", "x")), row=55
    )
    stream = node("z", "PrintV2", "x", output_stream=message((2, "file:///tmp/x")))
    yield Sample(
        "SavedModel: print into a file", "saved_model.pb", saved(graph(*BASE, stream)), REACH, 55
    )
    yield Sample(
        "SavedModel in a zip",
        "model.zip",
        zipped(
            {
                "m/saved_model.pb": saved(graph(*BASE, path, read)),
                "m/variables/variables.index": bytes(60),
            }
        ),
        REACH,
        55,
    )
    code = '{"class_name": "Lambda", "config": {"function": {"class_name": "__tuple__", "items": ["4wEAAAAA", null, null]}, "function_type": "lambda"}}'
    yield Sample(
        "Keras metadata: Lambda",
        "keras_metadata.pb",
        message((1, message((2, 1), (3, "root.l"), (4, "_tf_keras_layer"), (5, code)))),
        row=55,
    )


def onnx_files() -> Iterator[Sample]:
    """Rows 56 and 57, by the onnx package where it lets us."""
    from onnx import TensorProto, helper

    def model(
        *nodes: Any, weights: tuple[Any, ...] = (), functions: tuple[Any, ...] = (), **more: Any
    ) -> Any:
        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy")
        made = helper.make_graph(
            list(nodes) or [helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y], list(weights)
        )
        domains = [
            helper.make_opsetid(d, v) for d, v in (("", 17), ("ai.onnx.contrib", 1), ("local", 1))
        ]
        return helper.make_model(
            made, opset_imports=domains, functions=functions, ir_version=9, **more
        )

    def away(**told: str) -> Any:
        tensor = TensorProto(name="w", dims=[4], data_type=1, data_location=1)
        for key, value in {"location": "w.bin", **told}.items():
            tensor.external_data.add(key=key, value=value)
        return tensor

    for label, told in {
        "up": {"location": "../../../etc/passwd"}, "root": {"location": "/etc/passwd"}, "up in between": {"location": "a/../../b"},
        "back slashes": {"location": "..\\..\\b"}, "drive": {"location": "C:\\b"}, "address": {"location": "http://a.invalid/w"},
        "home": {"location": "~/w"}, "base path": {"basepath": "/etc"}, "attribute": {"__class__": "x"},
        "negative offset": {"offset": "-8"}, "huge length": {"length": "9" * 25},
    }.items():  # fmt: skip
        tier = LIE if "offset" in label or "length" in label else REACH
        yield Sample(
            f"ONNX external data: {label}",
            "model.onnx",
            model(weights=(away(**told),)).SerializeToString(),
            tier,
            56,
        )
    inside = helper.make_node("Constant", [], ["c"], value=away(location="/etc/passwd"))
    yield Sample(
        "ONNX external data in an attribute",
        "model.onnx",
        model(inside).SerializeToString(),
        REACH,
        56,
    )
    branch = helper.make_graph([inside], "b", [], [helper.make_tensor_value_info("c", 1, [4])])
    condition = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    yield Sample(
        "ONNX external data in a branch",
        "model.onnx",
        model(condition).SerializeToString(),
        REACH,
        56,
    )
    own = helper.make_function("local", "F", ["a"], ["c"], [inside], [helper.make_opsetid("", 17)])
    yield Sample(
        "ONNX external data in a function",
        "model.onnx",
        model(functions=(own,)).SerializeToString(),
        REACH,
        56,
    )
    for label, one in {
        "PyOp": helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib", code="pass"),
        "PythonOp": helper.make_node("PythonOp", ["x"], ["y"], domain="com.microsoft"),
        "an operator of its own": helper.make_node("Shell", ["x"], ["y"], domain="acme.ops"),
        "an operator that is none": helper.make_node("Exec", ["x"], ["y"]),
        "a compiled engine": helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../x.so"),
    }.items():  # fmt: skip
        tier = "code" if label.startswith("Py") else NEEDS
        yield Sample(f"ONNX: {label}", "model.onnx", model(one).SerializeToString(), tier, 57)
        yield Sample(
            f"ONNX: {label} in a branch",
            "model.onnx",
            model(
                helper.make_node(
                    "If",
                    ["x"],
                    ["y"],
                    then_branch=helper.make_graph([one], "b", [], []),
                    else_branch=branch,
                )
            ).SerializeToString(),
            tier,
            57,
        )
    said = model()
    helper.set_model_props(said, {"init": "__import__('os').system('true')"})
    yield Sample("ONNX metadata with code", "model.onnx", said.SerializeToString(), "poison", 57)
    for label, dims in {
        "huge": [2**40, 2**40],
        "wraps": [2**32, 2**32],
        "negative": [-4],
        "more than is there": [400],
    }.items():
        tensor = TensorProto(name="w", dims=dims, data_type=1, raw_data=bytes(16))
        yield Sample(
            f"ONNX sizes: {label}",
            "model.onnx",
            model(weights=(tensor,)).SerializeToString(),
            LIE,
            57,
        )
    plain = model().SerializeToString()
    yield Sample(
        "ONNX with a pickle in a field of its own",
        "model.onnx",
        plain + message((99, EVIL)),
        row=57,
    )
    yield Sample(
        "ONNX with a pickle as weights of its own kind",
        "model.onnx",
        plain + message((60, b"x" * 30 + EVIL)),
        LIE,
        57,
    )
    yield Sample("ONNX cut in two", "model.onnx", plain[: len(plain) // 2], LIE, 57)
    deep = b""
    for _ in range(200):  # GraphProto.node, NodeProto.attribute, AttributeProto.g
        deep = message(
            (1, message((4, "If"), (5, message((1, "then_branch"), (6, deep), (20, 5)))))
        )
    yield Sample(
        "ONNX two hundred branches deep",
        "model.onnx",
        message((1, 9), (7, deep), (8, message((2, 17)))),
        LOAD,
        57,
    )


def tflite(code: int = 0, custom: bytes = b"", buffer: int = 0, mark: bytes = b"TFL3") -> bytes:
    """A TensorFlow Lite model of one operator, laid out by the flat-buffer library."""
    import flatbuffers

    make = flatbuffers.Builder(256)
    word = make.CreateString(custom.decode()) if custom else 0
    blob = make.CreateByteVector(bytes(16))

    def begun(count: int, *slots: tuple[str, int, int]) -> int:
        make.StartObject(count)
        for kind, slot, value in slots:
            if kind == "ref":
                make.PrependUOffsetTRelativeSlot(slot, value, 0)
            elif kind == "i8":
                make.PrependInt8Slot(slot, value, 0)
            else:
                make.PrependUint32Slot(slot, value, 0)
        return int(make.EndObject())

    def vector(*refs: int) -> int:
        make.StartVector(4, len(refs), 4)
        for each in reversed(refs):
            make.PrependUOffsetTRelative(each)
        return int(make.EndVector())

    def ints(*values: int) -> int:
        make.StartVector(4, len(values), 4)
        for each in reversed(values):
            make.PrependInt32(each)
        return int(make.EndVector())

    slots = [("i8", 0, min(code, 127)), ("u32", 3, code)]
    operators = vector(begun(4, *slots, *([("ref", 1, word)] if word else [])))
    shape, title = ints(1, 4), make.CreateString("w")
    tensor = begun(4, ("ref", 0, shape), ("u32", 2, buffer), ("ref", 3, title))
    tensors, first, second = vector(tensor, tensor), ints(0), ints(1)
    one = vector(begun(3, ("ref", 1, first), ("ref", 2, second)))
    ends, starts = ints(1), ints(0)
    sub = vector(
        begun(5, ("ref", 0, tensors), ("ref", 1, starts), ("ref", 2, ends), ("ref", 3, one))
    )
    buffers = vector(begun(1), begun(1, ("ref", 0, blob)))
    root = begun(5, ("u32", 0, 3), ("ref", 1, operators), ("ref", 2, sub), ("ref", 4, buffers))
    make.Finish(root, mark)
    return bytes(make.Output())


def mobile() -> Iterator[Sample]:
    """TensorFlow Lite and CoreML."""
    for label, custom in {
        "an operator of its own": b"MyShell",
        "FlexPyFunc": b"FlexPyFunc",
        "FlexReadFile": b"FlexReadFile",
        "FlexWriteFile": b"FlexWriteFile",
    }.items():
        yield Sample(
            f"TensorFlow Lite: {label}",
            "model.tflite",
            tflite(32, custom),
            REACH if "File" in label else "code" if "Py" in label else NEEDS,
            64,
        )
    plain = tflite(9)
    yield Sample(
        "TensorFlow Lite: a buffer that is not there",
        "model.tflite",
        tflite(9, buffer=10**6),
        LIE,
        64,
    )
    yield Sample(
        "TensorFlow Lite: a root behind the end",
        "model.tflite",
        struct.pack("<I", 2**31) + plain[4:],
        LIE,
        64,
    )
    yield Sample("TensorFlow Lite: cut", "model.tflite", plain[: len(plain) // 2], LIE, 64)
    yield Sample("TensorFlow Lite: pickle behind the end", "model.tflite", plain + EVIL, LIE, 64)
    custom = message(
        (1, 8),
        (2, message((1, message((1, "x"), (3, message((5, b""))))))),
        (555, message((10, "MyLayer"))),
    )
    yield Sample("CoreML: a custom model class", "model.mlmodel", custom, NEEDS, 64)
    layer = message(
        (1, "l"), (2, "x"), (3, "y"), (500, message((10, "MyShellLayer"), (40, "pass")))
    )
    yield Sample(
        "CoreML: a custom layer",
        "model.mlmodel",
        message((1, 8), (2, message((1, message((1, "x"))))), (500, message((1, layer)))),
        NEEDS,
        64,
    )
    linked = message((1, message((10, "framework"), (20, "../../evil.framework"))))
    yield Sample(
        "CoreML: a linked model",
        "model.mlmodel",
        message((1, 8), (2, message((1, message((1, "x"))))), (556, linked)),
        NEEDS,
        64,
    )


def samples() -> Iterator[Sample]:
    yield from tensorflow()
    yield from onnx_files()
    yield from mobile()
