"""TensorFlow's files, encoded by hand after its .proto files: ordinary models, and harmful graphs."""

import json
import random
import struct
import time

import pytest

from holdfast.core.errors import NotApplicable
from holdfast.supply import tf_names
from holdfast.supply.files import scan_bytes
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.savedmodel_scan import SavedModelScan
from tests.supply.bypasses import EVIL, zipped
from tests.supply.protobuf import message


def node(name, op, *inputs, **settings) -> bytes:
    """A NodeDef; settings are texts, or functions given as ("f", name), or constants ("c", text)."""
    parts = [(1, name), (2, op), *((3, each) for each in inputs)]
    for key, value in settings.items():
        if isinstance(value, str):
            told = message((2, value))
        elif value[0] == "f":
            told = message((10, message((1, value[1]))))
        elif value[0] == "fs":
            told = message((1, b"".join(message((9, message((1, each)))) for each in value[1:])))
        else:
            told = message((8, message((1, 7), (2, b""), (8, value[1]))))
        parts.append((5, message((1, key), (2, told))))
    return message(*parts)


def const(name, value):
    return node(name, "Const", value=("c", value))


def function(name, arguments, *nodes) -> bytes:
    signature = message((1, name), *((2, message((1, each), (3, 7))) for each in arguments))
    return message((1, signature), *((3, each) for each in nodes))


def graph(*nodes, functions=()) -> bytes:
    library = message(*((1, each) for each in functions))
    return message(*((1, each) for each in nodes), (4, message((1, 1882))), (2, library))


def meta(graph_, *, ends=("serve",), assets=(), objects=b"") -> bytes:
    info = message((4, "serve"), (5, "2.15.0"), (6, "v2.15.0"))
    outputs = [(2, message((1, f"out{i}"), (2, message((1, f"{end}:0"), (2, 1)))))
               for i, end in enumerate(ends)]  # fmt: skip
    saver = message((1, "saver_filename:0"), (2, "save:0"), (3, "restore"), (4, 5), (7, 2))
    return message(
        (1, info), (2, graph_), (3, saver),
        (5, message((1, "serving_default"), (2, message(*outputs, (3, "tensorflow/serving/predict"))))),
        *((6, message((1, message((1, "asset:0"))), (2, name))) for name in assets), (7, objects),
    )  # fmt: skip


def saved(*metas) -> bytes:
    return message((1, 1), *((2, each) for each in metas))


SAVE = function(
    "__inference__traced_save_99", ["file_prefix", "read"],
    node("pattern", "StaticRegexFullMatch", "file_prefix", pattern="^s3://.*"),
    const("Const", ".part"), const("Const_1", "_temp/part"),
    node("Select", "Select", "pattern:output:0", "Const:output:0", "Const_1:output:0"),
    node("StringJoin", "StringJoin", "file_prefix", "Select:output:0"),
    node("Sharded", "ShardedFilename", "StringJoin:output:0", "shard:output:0", "count:output:0"),
    const("shard", ""), const("count", ""), const("names", "layer/.ATTRIBUTES/VARIABLE_VALUE"),
    node("SaveV2", "SaveV2", "Sharded:filename:0", "names:output:0", "read", "^names"),
    node("Pack", "Pack", "Sharded:filename:0", "^SaveV2"),
    node("Merge", "MergeV2Checkpoints", "Pack:output:0", "file_prefix", "^SaveV2"),
    node("Identity", "Identity", "file_prefix", "^Merge"),
)  # fmt: skip
RESTORE = function(
    "__inference__traced_restore_100", ["file_prefix", "variable"],
    const("names", "layer/.ATTRIBUTES/VARIABLE_VALUE"), const("slices", ""),
    node("RestoreV2", "RestoreV2", "file_prefix", "names:output:0", "slices:output:0"),
    node("Identity", "Identity", "RestoreV2:tensors:0"),
    node("Assign", "AssignVariableOp", "variable", "Identity:output:0"),
)  # fmt: skip
CALL = function(
    "__inference_call_7", ["x", "kernel"],
    node("w", "ReadVariableOp", "kernel"), node("MatMul", "MatMul", "x", "w:value:0"),
    node("Relu", "Relu", "MatMul:product:0"), node("Print", "PrintV2", "x", output_stream="stderr"),
)  # fmt: skip


def keras_model(*extra_nodes, functions=(), **more) -> bytes:
    """A SavedModel as Keras writes it: variables, one signature, functions that save and restore."""
    return saved(meta(graph(
        node("VarHandleOp", "VarHandleOp"), node("x", "Placeholder"),
        node("serve", "StatefulPartitionedCall", "x", "VarHandleOp", f=("f", "__inference_call_7")),
        node("saver_filename", "Placeholder"),
        node("save", "StatefulPartitionedCall", "saver_filename",
             f=("f", "__inference__traced_save_99")),
        node("restore", "StatefulPartitionedCall", "saver_filename",
             f=("f", "__inference__traced_restore_100")),
        node("NoOp", "NoOp"), *extra_nodes, functions=(CALL, SAVE, RESTORE, *functions),
    ), **more))  # fmt: skip


OLD = saved(meta(graph(
    node("x", "Placeholder"), node("w", "VariableV2"), node("serve", "MatMul", "x", "w"),
    const("save/filename/input", "model"), node("save/filename", "PlaceholderWithDefault"),
    node("save/Const", "PlaceholderWithDefault", "save/filename"),
    const("save/StringJoin/inputs_1", "_temp_0123/part"),
    node("save/StringJoin", "StringJoin", "save/Const", "save/StringJoin/inputs_1"),
    node("save/Sharded", "ShardedFilename", "save/StringJoin"),
    node("save/SaveV2", "SaveV2", "save/Sharded", "names"),
    node("save/Merge/prefixes", "Pack", "save/Sharded", "^save/SaveV2"),
    node("save/Merge", "MergeV2Checkpoints", "save/Merge/prefixes", "save/Const"),
    node("save/RestoreV2", "RestoreV2", "save/Const", "names"),
    node("save_1/RestoreV2", "RestoreV2", "save/Const", "names"),
)))  # fmt: skip
LAYER = {"name": "d", "class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "relu"},
         "build_input_shape": {"class_name": "TensorShape", "items": [None, 4]}}  # fmt: skip
OWN = {"name": "m", "class_name": "MyModel", "config": {"layer was saved without config": True}}
LAMBDA = {"name": "l", "class_name": "Lambda", "config": {
    "function": {"class_name": "__tuple__", "items": ["4wEAAAAA", None, None]},
    "function_type": "lambda", "module": "__main__"}}  # fmt: skip


def metadata(*layers) -> bytes:
    return message(*(
        (1, message((2, i), (3, f"root.layer-{i}"), (4, "_tf_keras_layer"), (5, json.dumps(each)),
                    (6, message((1, 1), (2, 1)))))
        for i, each in enumerate(layers)
    ))  # fmt: skip


def objects(*layers) -> bytes:
    return message(*(
        (1, message((4, message((1, "_tf_keras_layer"), (2, b""), (3, json.dumps(each))))))
        for each in layers
    ))  # fmt: skip


INDEX = (
    b"\x00\x01\x02" * 20
    + b"\x08\x10\x18\x20".ljust(40, b"\0")
    + struct.pack("<Q", 0xDB4775248B80FB57)
)
BENIGN = {
    "keras": (keras_model(), "saved_model.pb", "SavedModel"),
    "two graphs": (saved(meta(graph(node("a", "Const"))), meta(graph(node("b", "Relu")))),
                   "saved_model.pb", "SavedModel"),
    "of TensorFlow 1": (OLD, "saved_model.pb", "SavedModel"),
    "with words": (keras_model(node("t", "InitializeTableFromTextFileV2"), assets=["words.txt"]),
                   "saved_model.pb", "SavedModel"),
    "with layers": (keras_model(objects=objects(LAYER, OWN)), "saved_model.pb", "SavedModel"),
    "frozen": (graph(node("x", "Placeholder"), const("w", "/etc/passwd"), node("y", "Conv2D", "x", "w")),
               "frozen.pb", "TensorFlow graph"),
    "loop": (graph(node("y", "While", "x", cond=("f", "c"), body=("f", "b")), functions=[
        function("c", ["x"], node("l", "Less")), function("b", ["x"], node("a", "AddV2", "x"))]),
        "loop.pb", "TensorFlow graph"),
    "function by its name": (graph(node("y", "mine", "x"), node("z", "Relu"), functions=[
        function("mine", ["x"], node("r", "Relu6", "x"))]), "frozen.pb", "TensorFlow graph"),
    "meta": (meta(graph(node("x", "Placeholder"), node("serve", "Relu", "x"))),
             "model.ckpt.meta", "TensorFlow meta graph"),
    "metadata": (metadata(LAYER, OWN), "keras_metadata.pb", "Keras metadata of a SavedModel"),
    "fingerprint": (message((1, 2**63 + 5), (2, 77), (3, 8), (6, message((1, 1)))),
                    "fingerprint.pb", "SavedModel fingerprint"),
    "index": (INDEX, "variables.index", "TensorFlow checkpoint index"),
    "data": (struct.pack("<8f", *range(8)), "variables.data-00000-of-00001", "numbers"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "name", "format_"), BENIGN.values(), ids=BENIGN)
def test_ordinary_files_are_clean_and_named(data, name, format_) -> None:
    scan = scan_bytes(data, name)
    assert (scan.verdict, scan.issues) == (Verdict.CLEAN, ())
    assert [(p.format, p.size) for p in scan.pieces] == [(format_, len(data))]


def test_a_whole_folder_in_a_zip_is_clean() -> None:
    names = {"keras": "saved_model.pb", "metadata": "keras_metadata.pb"}
    names |= {"index": "variables/variables.index"}
    names |= {"data": "variables/variables.data-00000-of-00001"}
    data = zipped({f"m/{file}": BENIGN[key][0] for key, file in names.items()})
    scan = scan_bytes(data, "m.zip")
    assert (scan.verdict, scan.issues, scan.others) == (Verdict.CLEAN, (), 0)


READ = node("r", "ReadFile", "path")
IN_FUNCTION = function(
    "helper_1", ["x"], const("p", "/etc/motd"), node("r", "ReadFile", "p:output:0")
)
SIDE = function("__inference_call_8", ["x", "file"], node("s", "SaveV2", "file", "x"))
ELSEWHERE = SAVE.replace(b"_temp/part", b"/root/.ssh")
UP = SAVE.replace(b"_temp/part", b"../../../x")
MALICIOUS = {
    "python": (keras_model(node("p", "PyFunc", "x", token="f")), "python-callable", "PyFunc"),
    "eager python": (keras_model(node("p", "EagerPyFunc", "x")), "python-callable", "EagerPyFunc"),
    "stateless python": (keras_model(node("p", "PyFuncStateless")), "python-callable",
                         "PyFuncStateless"),
    "read": (keras_model(READ), "file-callable", "ReadFile"),
    "write": (keras_model(node("w", "WriteFile", "p", "c")), "file-callable", "WriteFile"),
    "list": (keras_model(node("w", "MatchingFiles", "p")), "file-callable", "MatchingFiles"),
    "in a function": (keras_model(functions=[IN_FUNCTION]), "file-callable", "ReadFile"),
    "print to a file": (keras_model(node("p", "PrintV2", "x", output_stream="file:///tmp/x")),
                        "file-callable", "PrintV2"),
    "save where it answers": (keras_model(
        node("serve2", "PartitionedCall", "x", f=("f", "__inference_call_8")), functions=[SIDE],
        ends=("serve", "serve2")), "file-callable", "SaveV2"),
    "save to a path of its own": (keras_model(functions=[
        ELSEWHERE.replace(b"traced_save_99", b"traced_save_98")]), "file-callable", "SaveV2"),
    "save above": (keras_model(functions=[UP.replace(b"traced_save_99", b"traced_save_98")]),
                   "file-callable", "SaveV2"),
    "restore from a constant": (saved(meta(graph(
        const("p", "/etc/passwd"), node("serve", "RestoreV2", "p", "n")))), "file-callable",
        "RestoreV2"),
    "merge elsewhere": (graph(node("x", "Placeholder"), const("p", "/etc/x"), node("z", "Relu"),
                              node("m", "MergeV2Checkpoints", "x", "p")), "file-callable",
                        "MergeV2Checkpoints"),
    "save by a call with a path": (keras_model(
        const("p", "/root/.profile"),
        node("restore2", "PartitionedCall", "saver_filename", "p", f=("f", "outer")),
        functions=[function("outer", ["a", "b"], node("c", "PartitionedCall", "b", f=("f", "inner"))),
                   function("inner", ["path"], node("s", "SaveV2", "path", "names"))]),
        "file-callable", "PartitionedCall"),
    "save by a function with a path": (keras_model(
        node("restore2", "PartitionedCall", "saver_filename", f=("f", "outer")),
        functions=[function("outer", ["a"], const("p", "/root/.profile"),
                            node("c", "PartitionedCall", "p:output:0", f=("f", "inner"))),
                   function("inner", ["path"], node("s", "SaveV2", "path", "names"))]),
        "file-callable", "PartitionedCall"),
    "path by default": (graph(
        const("p", "/etc/passwd"), node("d", "PlaceholderWithDefault", "p"),
        node("r", "RestoreV2", "d", "names")), "file-callable", "RestoreV2"),
    "function of an operator's name": (graph(node("w", "WriteFile", "a"), functions=[
        function("WriteFile", ["x"], node("r", "Relu", "x"))]), "file-callable", "WriteFile"),
    "behind unknown ones": (graph(*[node(f"n{i}", "Mine") for i in range(300)], READ, functions=[
        function("Mine", ["x"], node("i", "Mine"))]), "file-callable", "ReadFile"),
    "mapped file": (graph(node("i", "ImmutableConst"), node("z", "Relu")), "file-callable",
                    "ImmutableConst"),
    "data set of files": (keras_model(node("d", "TFRecordDatasetV2")), "file-callable",
                          "TFRecordDatasetV2"),
    "network": (keras_model(node("d", "RpcCall")), "network-callable", "RpcCall"),
    "asset outside": (keras_model(assets=["../../etc/passwd"]), "outside-file", "../../etc/passwd"),
    "asset anywhere": (keras_model(assets=["/etc/passwd"]), "outside-file", "/etc/passwd"),
    "second graph": (saved(meta(graph(node("a", "Relu"))), meta(graph(READ))), "file-callable",
                     "ReadFile"),
    "unknown fields before": (message((77, b"x" * 30), (2, meta(graph(node("a", "Relu"), READ)))),
                              "file-callable", "ReadFile"),
    "library before nodes": (message((2, message((1, IN_FUNCTION))), (1, node("a", "Relu"))),
                             "file-callable", "ReadFile"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule", "subject"), MALICIOUS.values(), ids=MALICIOUS)
def test_an_operator_that_reaches_out_is_flagged_and_named(data, rule, subject) -> None:
    for content, name in (
        (data, "saved_model.pb"), (zipped({"m/saved_model.pb": data}), "m.zip"),
        (data, "variables.data-00000-of-00001"), (data, "fingerprint.pb"),
    ):  # fmt: skip
        scan = scan_bytes(content, name)
        assert scan.verdict is Verdict.FLAGGED
        assert {i.rule.id for i in scan.issues} == {f"savedmodel_scan/{rule}"}
        assert subject in {i.subject for i in scan.issues}
    assert 0 < scan_bytes(data, "x").issues[0].offset < len(data)


@pytest.mark.parametrize("content", [metadata(LAYER, LAMBDA), keras_model(objects=objects(LAMBDA))])
def test_a_lambda_in_the_metadata_is_flagged(content) -> None:
    scan = scan_bytes(content, "x.pb")
    assert scan.verdict is Verdict.FLAGGED
    assert [i.rule.id for i in scan.issues] == ["keras_scan/lambda-callable"]


@pytest.mark.parametrize("op", ["MyCustomOp", "IO>ReadSomething", "XlaCallModule", "Abort"])
def test_an_unknown_operator_is_not_analysed(op) -> None:
    scan = scan_bytes(keras_model(node("u", op), node("v", op)), "saved_model.pb")
    assert scan.verdict is Verdict.UNREAD
    assert [(i.rule.id, i.subject) for i in scan.issues] == [
        ("savedmodel_scan/unknown-operator", op)
    ]
    assert "2 times" in scan.issues[0].reason


@pytest.mark.parametrize(
    ("op", "standing"),
    [
        ("MatMul", "known"), ("BatchMatMulV3", "known"), ("FusedBatchNormGradV3", "known"),
        ("ResourceApplyAdam", "known"), ("ResourceScatterNdUpdate", "known"),
        ("StatelessRandomUniformV2", "known"), ("PyFunc", "python"), ("PyFuncGrad", "custom"),
        ("ReadFile", "files"), ("StatelessReadFile", "custom"), ("SaveV2", "saver"), ("", "custom"),
    ],
)  # fmt: skip
def test_versions_and_gradients_of_operators_are_known_by_their_stem(op, standing) -> None:
    assert tf_names.standing(op) == standing


def test_the_lists_of_operators_do_not_overlap() -> None:
    reaching = tf_names.PYTHON | tf_names.FILES | tf_names.NETWORK | tf_names.SAVER
    assert not [op for op in reaching if tf_names.standing(op) == "known"]


def test_what_reaches_out_is_told_behind_any_number_of_strangers() -> None:
    data = graph(node("a", "Relu"), *(node(f"n{i}", f"Mine{i}") for i in range(3000)), READ)
    scan = scan_bytes(data, "graph.pb")
    assert (scan.verdict, scan.issues[0].subject) == (Verdict.FLAGGED, "ReadFile")


def test_a_path_that_is_computed_is_not_analysed() -> None:
    data = graph(node("x", "Placeholder"), node("y", "StringLower", "x"), node("s", "SaveV2", "y"))
    scan = scan_bytes(data, "graph.pb")
    assert scan.verdict is Verdict.UNREAD
    assert "computed" in scan.issues[0].reason


def test_a_serialised_object_with_slashes_is_no_path() -> None:
    told = b"\x0a\x2f\x12\x0elayer/.ATTRIBUTES/..VALUE".decode()
    call_ = node("save2", "PartitionedCall", "saver_filename", "c",
                 f=("f", "__inference__traced_save_99"))  # fmt: skip
    assert scan_bytes(keras_model(const("c", told), call_), "m.pb").verdict is Verdict.CLEAN


def test_a_configuration_under_the_name_of_numbers_is_read() -> None:
    told = b'{"class_name": "Lambda", "config": {"function": ["4wEAAAAA", null, null]}}'
    assert scan_bytes(told, "x.data-00000-of-00001").verdict is Verdict.FLAGGED


def test_a_pickle_that_is_a_graph_too_is_followed() -> None:
    data = message((1, node("a", "Relu")))
    # As a message: field 64, the number "N"; field 6 ("2"), 48 ("0") bytes; then the graph.
    # As a pickle: None, twice, once less, a call, and its end.
    both = b"\x80\x04N20" + EVIL[2:].ljust(48, b".") + data
    scan = scan_bytes(both, "g.pb")
    assert "TensorFlow graph" in scan.read
    assert scan.verdict is Verdict.FLAGGED
    assert scan_bytes(data, "g.pb").verdict is Verdict.CLEAN


TEXT = """# a model
meta_graphs {{
  graph_def {{ node {{ name: "x" op: "Placeholder" }}
    node {{ name: "y" {} }} }} }}
"""


@pytest.mark.parametrize(
    "op",
    [
        'op: "PyFunc"', "op:'PyFunc'", 'op "Py" # comment\n "Func"', 'op : "\\120yFunc"',
        'op:\n#: "Relu"\n"P\\x79Func"',
    ],
)  # fmt: skip
def test_a_graph_as_text_is_searched_however_it_is_written(op) -> None:
    scan = scan_bytes(b"#" * 70_000 + TEXT.format(op).encode(), "saved_model.pbtxt")
    assert scan.verdict is Verdict.FLAGGED
    assert scan.issues[0].subject == "PyFunc"


def test_a_graph_as_text_is_never_called_clean_and_other_text_is_no_graph() -> None:
    scan = scan_bytes(TEXT.format('op: "Relu"').encode(), "graph.pbtxt")
    assert [i.rule.id for i in scan.issues] == ["savedmodel_scan/text"]
    assert scan.verdict is Verdict.UNREAD
    for other in (b"node { name: 1 }", b"the op 'x' of library: 3", b"library: {op: mine}"):
        assert "TensorFlow" not in scan_bytes(other, "a.txt").read


def test_large_graphs_are_read_in_time() -> None:
    nodes = [node(f"layer_{i}/n", "AddV2", f"layer_{i - 1}/n", "w", T="x") for i in range(20_000)]
    data = saved(meta(graph(*nodes, READ)))
    begin = time.perf_counter()
    scan = scan_bytes(data, "saved_model.pb")
    assert time.perf_counter() - begin < 3
    assert scan.verdict is Verdict.FLAGGED


def test_a_function_that_calls_itself_ends() -> None:
    own = function("f", ["x"], node("c", "PartitionedCall", "x", f=("f", "f")), SAVE_NODE)
    data = saved(meta(graph(node("serve", "PartitionedCall", f=("fs", "f", "g")), functions=[own])))
    assert scan_bytes(data, "saved_model.pb").verdict is Verdict.FLAGGED


SAVE_NODE = node("s", "SaveV2", "x", "y")


def test_other_protocol_buffers_and_numbers_are_no_graph() -> None:
    for data in (message((1, 3), (2, "abc")), message((1, message((1, "name"), (2, "a text here")))),
                 b"\x0a\x00", b"\x08\x01", bytes(range(8, 60))):  # fmt: skip
        assert "TensorFlow" not in scan_bytes(data, "x.dat").read
        assert scan_bytes(data, "x.dat").verdict is not Verdict.CLEAN


def test_mutated_and_cut_files_end_with_a_verdict() -> None:
    rng = random.Random(5)
    for data in (keras_model(), OLD, metadata(LAYER, LAMBDA)):
        for _ in range(100):
            damaged = bytearray(data)
            for _ in range(rng.choice((1, 4))):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            scan_bytes(bytes(damaged), "saved_model.pb")
            scan_bytes(data[: rng.randrange(len(data))], "saved_model.pb")


def test_the_scanner_answers_for_its_own_rules(tmp_path) -> None:
    path = tmp_path / "saved_model.pb"
    path.write_bytes(keras_model(READ))
    first, last = SavedModelScan().scan(path)
    assert first.rule == "supply/savedmodel_scan/file-callable"
    assert last.rule == "supply/archive_scan/read"
    path.write_bytes(EVIL)
    with pytest.raises(NotApplicable, match="SavedModel"):
        list(SavedModelScan().scan(path))
