"""Keras files: ordinary models as Keras 2 and 3 write them, and those of the known CVEs, inert."""

import base64
import io
import json
import random
import zipfile

import numpy as np
import pytest

from holdfast.core.errors import NotApplicable
from holdfast.supply import keras_names
from holdfast.supply.files import scan_bytes
from holdfast.supply.formats.keras import review
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.keras_scan import KerasScan
from tests.supply.bypasses import EVIL, zipped

METADATA = {"keras_version": "3.11.3", "date_saved": "2025-09-01@10:00:00"}
CODE = "4wEAAAABAAAAAAAAAAIAAADjAAAAU3RydWU=\n"
"""Not even bytecode: what matters is that a loader would unmarshal it."""


def thing(module, name, config=None, /, **more):
    """An object as Keras 3 writes it."""
    return {
        "module": module, "class_name": name, "config": config if config is not None else {},
        "registered_name": None, **more,
    }  # fmt: skip


def function(module, name, registered=None):
    return thing(module, "function", name) | {"registered_name": registered or name}


POLICY = thing("keras", "DTypePolicy", {"name": "float32"}, shared_object_id=140123)


def dense(name, units, **more):
    return thing(
        "keras.layers", "Dense",
        {
            "name": name, "trainable": True, "dtype": POLICY, "units": units, "activation": "relu",
            "use_bias": True,
            "kernel_initializer": thing("keras.initializers", "GlorotUniform", {"seed": None}),
            "bias_initializer": thing("keras.initializers", "Zeros"),
            "kernel_regularizer": thing("keras.regularizers", "L2", {"l2": 0.01}),
            "bias_regularizer": None, "kernel_constraint": None, "bias_constraint": None, **more,
        },
        build_config={"input_shape": [None, 4]}, name=name,
    )  # fmt: skip


def tensor(layer):
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 4], "dtype": "float32", "keras_history": [layer, 0, 0]},
    }


def functional(*layers, module="keras.src.models.functional", **more):
    first = thing(
        "keras.layers", "InputLayer",
        {"batch_shape": [None, 4], "dtype": "float32", "sparse": False, "name": "in"}, name="in",
    )  # fmt: skip
    for layer in layers:
        layer["inbound_nodes"] = [{"args": [tensor("in")], "kwargs": {}}]
    return {
        "module": module, "class_name": "Functional",
        "config": {"name": "m", "trainable": True, "layers": [first, *layers],
                   "input_layers": [["in", 0, 0]], "output_layers": [["d", 0, 0]]},
        "registered_name": "Functional", "build_config": {"input_shape": None}, **more,
    }  # fmt: skip


COMPILED = {
    "optimizer": thing("keras.optimizers", "Adam", {
        "name": "adam", "epsilon": 1e-07,
        "learning_rate": thing("keras.optimizers.schedules", "ExponentialDecay", {"decay_rate": 0.9}),
    }),
    "loss": thing("keras.losses", "SparseCategoricalCrossentropy", {"reduction": "sum"}),
    "metrics": ["accuracy", function("builtins", "mean_squared_error", "function"),
                thing("keras.metrics", "AUC", {"name": "auc"})],
    "loss_weights": None, "weighted_metrics": None, "run_eagerly": False, "steps_per_execution": 1,
}  # fmt: skip


def archive(config, **members) -> bytes:
    return zipped({
        "metadata.json": json.dumps(METADATA).encode(), "config.json": json.dumps(config).encode(),
        "assets/vocabulary.txt": b"one\ntwo\n", **members,
    })  # fmt: skip


def lookup(vocabulary):
    return thing("keras.layers", "StringLookup", {
        "name": "s", "max_tokens": None, "num_oov_indices": 1, "vocabulary": vocabulary,
        "idf_weights": None, "encoding": "utf-8",
    })  # fmt: skip


def lambda_(told=None):
    code = {"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}}
    return thing("keras.layers", "Lambda", {"name": "l", "function": told or code, "arguments": {}})


def old(*layers):
    """A Sequential model as Keras 2 writes it into HDF5."""
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


OLD_DENSE = {"class_name": "Dense", "config": {
    "name": "d", "units": 2, "activation": "linear", "batch_input_shape": [None, 4],
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
}}  # fmt: skip

BENIGN = {
    "functional": functional(dense("d", 2), compile_config=COMPILED),
    "sequential": thing("keras", "Sequential", {"name": "s", "layers": [dense("d", 3)]}),
    "as 3.12 names it": functional(dense("d", 2), module="keras.models"),
    "tf.keras 2.13": functional(dense("d", 2), module="keras.src.engine.functional"),
    "within tensorflow": functional(thing("tensorflow.keras.layers", "ReLU", {"max_value": 6})),
    "words in the file": functional(lookup(["a", "b", "../c"])),
    "operations": functional(
        thing("keras.src.ops.numpy", "GetItem", {"name": "get_item"}),
        thing("keras.src.ops.nn", "Relu6") | {"registered_name": "Relu6"},
        dense("d", 2, activation=function("keras.activations", "gelu")),
        thing("keras.layers", "TimeDistributed", {"layer": dense("e", 1)}),
    ),
    "lambda of a known function": functional(lambda_(function("keras.ops", "relu"))),
    "recurrent": functional(thing("keras.layers", "Bidirectional", {
        "merge_mode": "concat", "layer": thing("keras.layers", "LSTM", {"units": 4}),
    })),
    "values": functional(thing("keras.layers", "Normalization", {
        "mean": {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}},
        "axis": {"class_name": "__slice__", "config": {"start": 0, "stop": 1, "step": None}},
    })),
    "types": functional(thing("keras.layers", "InputLayer", {"type_spec": {
        "class_name": "__typespec__", "spec_name": "TensorSpec", "registered_name": None,
        "module": "tensorflow.python.framework.tensor_spec", "config": [[None], "float32", "x"],
    }})),
    "of Keras 2": old(OLD_DENSE, {"class_name": "TFOpLambda", "config": {
        "name": "tf.math.add", "trainable": True, "dtype": "float32", "function": "math.add",
    }}, {"class_name": "TensorFlowOpLayer", "config": {"node_def": '{"op": "AddV2"}'}}),
}  # fmt: skip


@pytest.mark.parametrize("config", BENIGN.values(), ids=BENIGN)
def test_ordinary_models_are_clean(config) -> None:
    scan = scan_bytes(archive(config), "model.keras")
    assert (scan.verdict, scan.issues) == (Verdict.CLEAN, ())
    assert [(p.member, p.format) for p in scan.pieces][:2] == [
        ("metadata.json", "Keras metadata"), ("config.json", "Keras configuration"),
    ]  # fmt: skip
    assert scan_bytes(json.dumps(config).encode(), "model.json").verdict is Verdict.CLEAN


def test_a_whole_archive_with_weights_is_clean_to_the_last_member() -> None:
    h5py = pytest.importorskip("h5py")
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables.create_dataset("0", data=np.zeros((4, 2), "f4"))
        file.create_group("optimizer/vars").create_dataset("0", data=np.int64(3))
    data = archive(BENIGN["functional"], **{"model.weights.h5": out.getvalue()})
    scan = scan_bytes(data, "model.keras")
    assert (scan.verdict, scan.issues) == (Verdict.CLEAN, ())
    assert {"Keras metadata", "Keras configuration", "HDF5"} <= {p.format for p in scan.pieces}


MALICIOUS = {
    "lambda in bytecode": (
        functional(lambda_()), "lambda-callable", "", "CVE-2024-3660"),
    "lambda as an argument": (
        functional(dense("d", 1, activation={"class_name": "__lambda__", "config": {"value": CODE}})),
        "lambda-callable", "", "CVE-2024-3660"),
    "function of another module": (
        functional(lambda_(function("os", "system"))),
        "executing-callable", "os.system", "CVE-2025-1550"),
    "module with an attribute walk": (
        functional(thing("keras.layers", "os.system", {"command": "true"}) | {"module": "shutil"}),
        "executing-callable", "shutil.os.system", "CVE-2025-1550"),
    "builtin function": (
        functional(dense("d", 1, activation=function("builtins", "eval"))),
        "executing-callable", "builtins.eval", "CVE-2025-1550"),
    "module that nobody knows": (
        functional(thing("my_package.layers", "Fancy", {"a": 1})),
        "unknown-callable", "my_package.layers.Fancy", "CVE-2025-1550"),
    "look-alike of keras": (
        functional(thing("kerass.layers", "Dense")),
        "unknown-callable", "kerass.layers.Dense", "CVE-2025-1550"),
    "download by a function of Keras": (
        functional(lambda_(function("keras.utils", "get_file"))),
        "download-callable", "keras.utils.get_file", "CVE-2025-8747"),
    "download from within": (
        functional(lambda_(function("keras.src.utils.file_utils", "get_file"))),
        "download-callable", "keras.src.utils.file_utils.get_file", "CVE-2025-12060"),
    "safe mode off": (
        functional(thing("keras.config", "function", "enable_unsafe_deserialization"), lambda_()),
        "safe-mode-callable", "keras.config.enable_unsafe_deserialization", "CVE-2025-9906"),
    "loader of models": (
        functional(lambda_(function("keras.models", "load_model"))),
        "executing-callable", "keras.models.load_model", "CVE-2025-8747"),
    "loader of bytecode": (
        functional(lambda_(function("keras.src.utils.python_utils", "func_load"))),
        "executing-callable", "keras.src.utils.python_utils.func_load", "CVE-2025-8747"),
    "torch module": (
        functional(thing("keras.layers", "TorchModuleWrapper", {
            "module": base64.b64encode(EVIL).decode(), "name": "t"})),
        "pickle-callable", "TorchModuleWrapper", "CVE-2025-49655"),
    "vocabulary at a path": (
        functional(lookup("/etc/passwd")), "outside-file", "/etc/passwd", "CVE-2025-12058"),
    "vocabulary at an address": (
        functional(thing("keras.layers", "TextVectorization", {
            "vocabulary": "https://words.invalid/v.txt"})),
        "outside-file", "https://words.invalid/v.txt", "CVE-2025-12058"),
    "another model at a path": (
        functional(thing("keras.layers", "TFSMLayer", {"filepath": "//x.invalid/m"})),
        "outside-model", "//x.invalid/m", "CVE-2026-1462"),
    "in the build configuration": (
        functional(dense("d", 1), build_config={"a": function("subprocess", "run")}),
        "executing-callable", "subprocess.run", "CVE-2025-1550"),
    "in the compile configuration": (
        functional(dense("d", 1), compile_config=COMPILED | {"loss": function("os", "popen")}),
        "executing-callable", "os.popen", "CVE-2025-1550"),
    "without a class on top": (
        {"any": [function("os", "system")]}, "executing-callable", "os.system", "CVE-2025-1550"),
    "type of another module": (
        functional(thing("keras.layers", "InputLayer", {"type_spec": {
            "class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess",
            "registered_name": None, "config": []}})),
        "executing-callable", "subprocess.Popen", "CVE-2025-1550"),
    "lambda with a module of its own": (
        functional(lambda_(function("keras.ops", "relu")) | {"module": "pdb"}),
        "executing-callable", "pdb.Lambda", "CVE-2025-1550"),
    "old lambda": (
        old(OLD_DENSE, {"class_name": "Lambda", "config": {
            "function": [CODE, None, None], "function_type": "lambda", "module": "__main__"}}),
        "lambda-callable", "", "CVE-2025-9905"),
    "old lambda as a tuple": (
        old({"class_name": "Lambda", "config": {
            "function": {"class_name": "__tuple__", "items": [CODE, None, None]}}}),
        "lambda-callable", "", "CVE-2025-9905"),
    "old lambda without its kind": (
        old({"class_name": "Lambda", "config": {"function": CODE}}),
        "lambda-callable", "", "CVE-2025-9905"),
    "old lambda of a builtin": (
        old({"class_name": "Lambda", "config": {"function": "exec", "function_type": "function"}}),
        "executing-callable", "exec", "CVE-2025-1550"),
    "function without a module": (
        functional(dense("d", 1, activation=function(None, "os.system"))),
        "executing-callable", "os.system", "CVE-2025-1550"),
    "old shape lambda": (
        old({"class_name": "Lambda", "config": {
            "function": "relu", "function_type": "function",
            "output_shape": [CODE, None, None], "output_shape_type": "lambda"}}),
        "lambda-callable", "", "CVE-2025-9905"),
    "file operator by name": (
        old({"class_name": "TFOpLambda", "config": {"function": "io.write_file"}}),
        "executing-callable", "tf.io.write_file", "CVE-2025-1550"),
    "name of a layer": (
        functional(dense("../../../x", 1)), "layer-path", "../../../x", "CVE-2026-12479"),
    "file operator in disguise": (
        old({"class_name": "SlicingOpLambda", "config": {"function": "io.read_file"}}),
        "executing-callable", "tf.io.read_file", "CVE-2025-1550"),
    "python by name": (
        old({"class_name": "TFOpLambda", "config": {"function": "compat.v1.py_func"}}),
        "executing-callable", "py_func", "CVE-2025-1550"),
    "file operator as a node": (
        old({"class_name": "TensorFlowOpLayer", "config": {"node_def": '{"op": "WriteFile"}'}}),
        "executing-callable", "WriteFile", "CVE-2025-1550"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "rule", "subject", "cve"), MALICIOUS.values(), ids=MALICIOUS)
def test_a_known_attack_is_flagged_and_named(config, rule, subject, cve) -> None:
    for data, name in (
        (archive(config), "model.keras"), (json.dumps(config).encode(), "model.json"),
    ):  # fmt: skip
        scan = scan_bytes(data, name)
        assert scan.verdict is Verdict.FLAGGED
        found = [i for i in scan.issues if i.rule.id == f"keras_scan/{rule}"]
        assert found
        assert subject in found[0].subject
        assert cve in found[0].rule.refs


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("attribute", ["model_config", "training_config"])
def test_the_configuration_in_an_hdf5_file_is_read_the_same_way(version, attribute) -> None:
    h5py = pytest.importorskip("h5py")

    def data(config) -> bytes:
        out = io.BytesIO()
        with h5py.File(out, "w", libver=version) as file:
            file.attrs["keras_version"] = "2.15.0"
            file.attrs[attribute] = json.dumps(config)
            file.create_group("model_weights").create_dataset("w", data=np.zeros(3))
        return out.getvalue()

    assert scan_bytes(data(BENIGN["of Keras 2"]), "m.h5").verdict is Verdict.CLEAN
    config, rule, _, _ = MALICIOUS["old lambda"]
    scan = scan_bytes(data(config), "m.h5")
    assert scan.verdict is Verdict.FLAGGED
    assert [i.rule.id for i in scan.issues] == [f"keras_scan/{rule}"]
    assert scan_bytes(data(["not", "json"])[:-9], "m.h5").verdict is Verdict.MALFORMED


@pytest.mark.parametrize("cls", ["Mine", "package>Mine"])
@pytest.mark.parametrize("module", [None, "__main__", "keras.layers", "keras_hub.src.models"])
def test_a_class_that_the_file_does_not_define_is_not_called_clean(cls, module) -> None:
    layer = thing(module, cls, {"units": 2}) | {"registered_name": f"{cls}"}
    scan = scan_bytes(archive(functional(layer)), "model.keras")
    assert scan.verdict is Verdict.UNREAD
    assert "Mine" in scan.issues[0].subject


def test_a_known_class_registered_as_another_is_not_called_clean() -> None:
    layer = dense("d", 2) | {"registered_name": "package>Other"}
    scan = scan_bytes(archive(functional(layer)), "model.keras")
    assert (scan.verdict, scan.issues[0].subject) == (Verdict.UNREAD, "package>Other")


def test_the_pickle_in_a_torch_layer_is_followed() -> None:
    config = MALICIOUS["torch module"][0]
    scan = scan_bytes(archive(config), "model.keras")
    inner = [i for i in scan.issues if i.rule.id.startswith("pickle_scan/")]
    assert "os.system" in inner[0].subject
    assert inner[0].member == "config.json!torch module"


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "assets/../../x", "/etc/x", "..\\x", "C:/x", "a/\\..\\..\\x"]
)
def test_a_member_that_leads_out_of_its_folder_is_flagged(name) -> None:
    scan = scan_bytes(archive(BENIGN["functional"], **{name: b"text"}), "model.keras")
    assert scan.verdict is Verdict.FLAGGED
    assert [i.rule.id for i in scan.issues] == ["archive_scan/path"]


@pytest.mark.parametrize("name", ["", "a..b", "./x", "..x/y", "x/...", "a:b"])
def test_dots_in_a_name_lead_nowhere(name) -> None:
    data = archive(functional(dense(name, 2)), **{f"assets/x{name}": b"text"})
    assert scan_bytes(data, "model.keras").verdict is Verdict.CLEAN


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_or_escapes_hide_nothing(encoding) -> None:
    config = json.dumps(functional(lambda_(function("os", "system"))))
    escaped = config.replace("class_name", "class\\u005fname").replace("os", "\\u006fs")
    for text in (config, escaped):
        data = zipped({"config.json": text.encode(encoding)})
        assert scan_bytes(data, "model.keras").verdict is Verdict.FLAGGED


def test_a_number_of_many_digits_hides_nothing() -> None:
    config = json.dumps(functional(lambda_(), a=1)).replace('"a": 1', '"a": ' + "9" * 6000)
    assert scan_bytes(config.encode(), "model.json").verdict is Verdict.FLAGGED


@pytest.mark.parametrize("levels", [250, 5_000, 200_000])
def test_a_configuration_that_is_too_deep_is_not_analysed_and_never_clean(levels) -> None:
    config = '{"class_name": "Dense", "config": ' + "[" * levels + "]" * levels + "}"
    scan = scan_bytes(config.encode(), "model.json")
    assert scan.verdict is Verdict.UNREAD
    assert "200 levels" in scan.issues[0].reason


def test_a_configuration_that_is_too_long_is_not_analysed() -> None:
    config = json.dumps(old(OLD_DENSE)).encode() + b" " * 16 * 2**20
    assert scan_bytes(config, "model.json").verdict is Verdict.UNREAD


def test_the_same_finding_is_told_once_and_with_its_place() -> None:
    config = json.dumps(functional(*[lambda_(function("os", "popen")) for _ in range(50)])).encode()
    scan = scan_bytes(config, "model.json")
    assert len(scan.issues) == 1
    assert config[scan.issues[0].offset :].startswith(b"popen")


def test_what_runs_is_told_behind_any_number_of_strangers() -> None:
    strangers = [{"class_name": f"X{i}", "config": {}} for i in range(3000)]
    config = [*strangers, function("os", "system"), *strangers]
    scan = scan_bytes(json.dumps(config).encode(), "model.json")
    assert scan.verdict is Verdict.FLAGGED
    assert scan.issues[0].subject == "os.system"


@pytest.mark.parametrize(
    ("module", "name", "standing"),
    [
        ("keras.layers", "Dense", "known"), ("keras.src.layers.core.dense", "Dense", "known"),
        ("tf_keras.src.layers.core.dense", "Dense", "known"), (None, "Dense", "known"),
        ("tensorflow.python.keras.layers.core", "Dense", "known"), (None, "adam", "known"),
        ("keras.src.layers.core.dense", "activations", "custom"), ("builtins", "exec", "runs"),
        ("keras.src.layers.core.dense.os", "system", "custom"), ("keras.layers.", "Dense", "outside"),
        ("keras.utils", "get_file", "runs"), ("keras.src.saving.saving_lib", "zipfile", "runs"),
        ("keras.layers", "deserialize", "runs"), ("tensorflow.io", "write_file", "outside"),
        ("builtins", "relu", "known"), ("builtins", "my_loss", "custom"), ("pickle", "loads", "runs"),
        ("keras_hub", "os.system", "runs"), ("keras.src.ops.numpy", "np", "custom"),
    ],
)  # fmt: skip
def test_a_name_counts_only_with_its_module(module, name, standing) -> None:
    assert keras_names.standing(module, name) == standing


def test_other_json_is_left_to_its_own_readers() -> None:
    for text in (b'{"a": 1}', b"[1, 2]", b'{"class_name": 3, "config": {}}', b"{broken", b"{}"):
        reading = Reading("a.json", lambda _reading, _part: False)
        assert not reading.issues
        assert "Keras" not in scan_bytes(text, "a.json").read


def test_objects_are_counted_at_every_depth() -> None:
    reading = Reading("m", lambda _reading, _part: False)
    part = Part(b"", 0, 0)
    assert review(reading, part, old(OLD_DENSE)) == 3
    assert review(reading, part, [[{"x": {"class_name": "Dense", "config": {}}}]]) == 1


def test_mutated_and_cut_files_end_with_a_verdict() -> None:
    rng = random.Random(3)
    config = json.dumps(MALICIOUS["torch module"][0]).encode()
    whole = archive(MALICIOUS["old lambda"][0])
    for data in (config, whole):
        for _ in range(150):
            damaged = bytearray(data)
            for _ in range(rng.choice((1, 3))):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            scan_bytes(bytes(damaged), "model.keras")
            scan_bytes(data[: rng.randrange(len(data))], "model.keras")


def test_the_scanner_answers_for_its_own_rules(tmp_path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(archive(MALICIOUS["torch module"][0]))
    found = list(KerasScan().scan(path))
    assert [f.rule for f in found] == [
        "supply/keras_scan/pickle-callable", "supply/archive_scan/read",
    ]  # fmt: skip
    path.write_bytes(zipped({"a.json": b"{}"}, zipfile.ZIP_DEFLATED))
    with pytest.raises(NotApplicable, match="Keras configuration"):
        list(KerasScan().scan(path))
