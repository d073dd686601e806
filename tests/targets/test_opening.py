"""Opening models of every form: what works, what is refused, and what never runs."""

import hashlib
import importlib.machinery
import pickle
import sys
import types
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import HoldfastError, InputError, TargetError, UnsafeModel
from holdfast.core.recipe import Recipe, TorchRecipe
from holdfast.core.record import Finding, Severity
from holdfast.core.space import Box, Waveform
from holdfast.core.target import Gradients, Scores, Weights
from holdfast.targets.opening import Opened, open_model
from holdfast.targets.weights import save_safetensors

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits_cnn.py"
NET = """
from torch import nn

class Net(nn.Sequential):
    pass

def build():
    return Net(nn.Flatten(), nn.Linear(4, 3))

single = build()

def same():
    return single

def narrow():
    return nn.Linear(4, 2)

def softmax():
    return nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))

def sigmoid():
    return nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())

def logit():
    return nn.Sequential(nn.Sigmoid(), nn.Linear(4, 1))

def broken():
    raise RuntimeError("no weights here")

def needs(size):
    return nn.Linear(size, 3)

def number():
    return 3

constant = 4
"""


@pytest.fixture
def data() -> Dataset:
    x = torch.rand(60, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * 3).long().clamp(max=2)
    return Dataset("rows", x, y, ("ant", "bee", "cow"))


@pytest.fixture
def net(tmp_path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return str(tmp_path / "net.py")


def clean(_: Path) -> tuple[Finding, ...]:
    """A scan that finds nothing that matters."""
    return (Finding("note", Severity.LOW, "uses pickle protocol 4"),)


def _forest(data: Dataset, labels: object = None) -> RandomForestClassifier:
    y = data.y.numpy() if labels is None else labels
    return RandomForestClassifier(5, random_state=0).fit(data.tensor.numpy(), y)


def test_a_factory_gives_white_box_access_and_a_recipe(net, data) -> None:
    opened = open_model(f"{net}:build", data=data)
    assert (opened.format, opened.name) == ("PyTorch", "net")
    assert isinstance(opened.target, Gradients)
    assert isinstance(opened.target, Weights)
    assert isinstance(opened.recipe, TorchRecipe)
    assert opened.target.space is data.space
    assert opened.facts["parameters"] == "15"
    torch.testing.assert_close(opened.target.scores(data.x), opened.module(data.x))


def test_weights_are_those_of_the_file(net, data, tmp_path) -> None:
    first = open_model(f"{net}:build", data=data)
    with torch.no_grad():
        first.module[1].bias.fill_(7)
    save_safetensors(first.module, tmp_path / "seven.safetensors")
    opened = open_model(f"{net}:build", weights=str(tmp_path / "seven.safetensors"), data=data)
    assert torch.equal(opened.target.scores(data.x), first.target.scores(data.x))
    assert opened.name == "seven"
    assert opened.digest != open_model(f"{net}:build", data=data).digest
    assert opened.recipe.build(0)[1].bias.max() < 7  # the recipe starts untrained


def test_the_example_is_the_network_it_says(digits) -> None:
    opened = open_model(f"{EXAMPLE}:build", data=digits[1])
    assert opened.facts["parameters"] == "38,282"
    assert opened.facts["code"] == f"sha256 {hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()}"
    assert opened.digest == open_model(f"{EXAMPLE}:build", data=digits[1]).digest


def test_a_module_is_found_in_the_working_directory(net, data, tmp_path, monkeypatch) -> None:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "models.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    opened = open_model("my_package.models:build", data=data)
    assert opened.name == "my_package.models"
    assert sys.path == before
    for name in ("my_package.models", "my_package"):
        del sys.modules[name]


def test_a_file_may_import_its_neighbours_and_define_dataclasses(data, tmp_path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text("WIDTH = 3\n")
    (tmp_path / "main.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from neighbour_of_net import WIDTH\nfrom torch import nn\n"
        "@dataclass\nclass Size:\n    out: int = WIDTH\n"
        "def build():\n    return nn.Linear(4, Size().out)\n"
    )
    assert isinstance(open_model(f"{tmp_path}/main.py:build", data=data), Opened)
    del sys.modules["neighbour_of_net"]


def test_compiled_code_beside_a_file_is_never_run(net, data) -> None:
    """A forged .pyc that claims to be up to date would run instead of the file one reads."""
    cache = Path(importlib.util.cache_from_source(net))
    cache.parent.mkdir()
    code = compile("raise SystemError('forged')", net, "exec")
    import importlib._bootstrap_external as external

    cache.write_bytes(external._code_to_hash_pyc(code, bytes(8), checked=False))
    loader = importlib.machinery.SourceFileLoader("forged", net)
    with pytest.raises(SystemError, match="forged"):  # Python's own loader falls for it
        loader.exec_module(types.ModuleType("forged"))
    assert isinstance(open_model(f"{net}:build", data=data), Opened)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bild", "has no 'bild'.*did you mean build"),
        ("zzz", r"define zzz\(\) there"),
        ("constant", "function that makes a fresh model: got an object of type int"),
        ("single", "function that makes a fresh model: got an object of type Net"),
        ("same", "fresh model at every call: got the same weights twice"),
        ("number", "must return a torch.nn.Module: got an object of type int"),
        ("broken", "failed: got RuntimeError: no weights here"),
        ("needs", "failed: got TypeError.*called without arguments"),
        ("narrow", r"3 classes gives shape \(2, 3\) on 2 rows: got \(2, 2\)"),
    ],
)
def test_a_factory_that_makes_no_model_for_the_data_is_refused(net, data, name, says) -> None:
    with pytest.raises(InputError, match=says):
        open_model(f"{net}:{name}", data=data)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nowhere.py:build", "no model file is there"),
        ("no_such_package.models:build", "cannot be imported: got ModuleNotFoundError"),
        ("model.onnx", "no model file is there"),
        ("model.skops", "no model file is there"),
        ("model.pkl", "no model file is there"),
        ("model.pt", "file of weights needs the code"),
        ("w.safetensors", "give file.py:factory with --weights"),
        ("resnet50", "no known form: got 'resnet50'; give path/to/file.py:factory"),
        ("", "no known form: got ''"),
        (":build", "no known form"),
        ("file.py:", "no known form"),
        ("ftp://host/model", "no known form"),
        ("grpc://host:build", "no known form"),
    ],
)
def test_a_name_of_no_model_is_refused(data, spec: str, says: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says):
        open_model(spec, data=data)


def test_a_file_that_fails_is_told_with_its_error(data, tmp_path) -> None:
    for text, says in (
        ("import nothing_like_it", "nothing_like_it"),
        ("def build(:", "SyntaxError"),
    ):
        (tmp_path / "bad.py").write_text(text)
        with pytest.raises(InputError, match=f"failed when it was imported.*{says}"):
            open_model(f"{tmp_path}/bad.py:build", data=data)
    assert not [name for name in sys.modules if "holdfast_user_bad" in name]


def test_rows_of_another_shape_are_told_with_the_shape(net, data) -> None:
    wide = Dataset("wide", torch.zeros(3, 9), torch.tensor([0, 1, 2]), data.classes)
    with pytest.raises(
        InputError, match=r"cannot read wide: got rows of shape \(9,\): RuntimeError"
    ):
        open_model(f"{net}:build", data=wide)


def test_scores_that_are_no_numbers_are_refused(net, data, tmp_path) -> None:
    opened = open_model(f"{net}:build", data=data)
    with torch.no_grad():
        opened.module[1].bias.fill_(torch.nan)
    save_safetensors(opened.module, tmp_path / "nan.safetensors")
    with pytest.raises(TargetError, match="finite scores"):
        open_model(f"{net}:build", weights=str(tmp_path / "nan.safetensors"), data=data)


def test_a_model_that_ends_in_a_softmax_is_warned_about(net, data) -> None:
    assert "softmax" in open_model(f"{net}:softmax", data=data).facts["warning"]
    assert "warning" not in open_model(f"{net}:build", data=data).facts


def test_sounds_are_not_for_these_formats(net, data) -> None:
    sounds = Dataset("sounds", data.x, data.y, data.classes, space=Waveform())
    with pytest.raises(InputError, match="images and tables: got Waveform"):
        open_model(f"{net}:build", data=sounds)


def test_weights_go_with_a_factory_only(data, tmp_path) -> None:
    with pytest.raises(InputError, match="only a factory takes a file of weights"):
        open_model("model.onnx", weights="w.safetensors", data=data)


def test_an_onnx_file_is_opened_by_its_adapter(data, tmp_path, monkeypatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"graph")
    adapter = types.ModuleType("holdfast.targets.onnx")
    adapter.open_onnx = lambda given: nn.Linear(4, 3) if given == path else None
    monkeypatch.setitem(sys.modules, "holdfast.targets.onnx", adapter)
    opened = open_model(str(path), data=data)
    assert (opened.format, opened.name, opened.recipe) == ("ONNX", "net", None)
    assert opened.digest == hashlib.sha256(b"graph").hexdigest()
    assert isinstance(opened.target, Weights)


@pytest.mark.parametrize("form", ["skops", "joblib", "pkl", "pickle"])
def test_a_scikit_learn_file_gives_its_probabilities_and_a_recipe(data, tmp_path, form) -> None:
    model, path = _forest(data), tmp_path / f"forest.{form}"
    if form == "skops":
        skops.io.dump(model, path)
    elif form == "joblib":
        joblib.dump(model, path, compress=3)
    else:
        path.write_bytes(pickle.dumps(model))
    opened = open_model(str(path), data=data, trust=True, scan=clean)
    wanted = model.predict_proba(data.x.numpy())
    np.testing.assert_allclose(opened.target.scores(data.x).exp().numpy(), wanted, atol=1e-6)
    assert opened.format == ("skops" if form == "skops" else "pickle")
    assert opened.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert isinstance(opened.recipe, Recipe)
    assert opened.facts["estimator"] == "RandomForestClassifier"
    assert opened.recipe.train(data, 0).scores(data.x).shape == (60, 3)


def test_class_names_decide_the_order_of_the_scores(data, tmp_path) -> None:
    swapped = Dataset("rows", data.x, data.y, ("cow", "ant", "bee"))
    names = np.array(swapped.classes)[data.y.numpy()]
    skops.io.dump(_forest(data, names), tmp_path / "m.skops")
    opened = open_model(str(tmp_path / "m.skops"), data=swapped)
    assert (opened.target.answer(data.x) == data.y).float().mean() > 0.9
    other = Dataset("rows", data.x, data.y, ("x", "y", "z"))
    with pytest.raises(InputError, match=r"answers classes that rows does not have: got ant"):
        open_model(str(tmp_path / "m.skops"), data=other)


def test_columns_in_another_order_than_fitted_are_refused(data, tmp_path) -> None:
    import pandas as pd

    frame = pd.DataFrame(data.x.numpy(), columns=list("abcd"))
    skops.io.dump(LogisticRegression().fit(frame, data.y.numpy()), tmp_path / "m.skops")
    for columns, fits in (("abcd", True), ("bacd", False)):
        named = Dataset("rows", data.x, data.y, data.classes, columns=tuple(columns))
        if fits:
            assert isinstance(open_model(str(tmp_path / "m.skops"), data=named), Opened)
        else:
            with pytest.raises(InputError, match="another order: got b, a, c, d instead of a, b"):
                open_model(str(tmp_path / "m.skops"), data=named)


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("form", ["pkl", "joblib", "pickle"])
def test_a_pickle_that_the_scan_warns_of_is_never_run(data, tmp_path, form, trust: bool) -> None:
    mark, path = tmp_path / "ran", tmp_path / f"evil.{form}"
    path.write_bytes(pickle.dumps(Planted(mark)))

    def alarm(_: Path) -> tuple[Finding, ...]:
        return (Finding("call", Severity.MEDIUM, "calls pathlib.Path.touch"),)

    with pytest.raises(UnsafeModel, match=r"found 1 reasons.*calls pathlib\.Path\.touch"):
        open_model(str(path), data=data, trust=trust, scan=alarm)
    with pytest.raises(UnsafeModel, match="not scanned"):
        open_model(str(path), data=data, trust=trust)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have


def test_a_clean_pickle_is_loaded_only_on_the_users_word(data, tmp_path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "unknown.pkl"
    path.write_bytes(pickle.dumps(Planted(mark)))
    with pytest.raises(UnsafeModel, match=r"was clean, but.*no --trust; pass --trust"):
        open_model(str(path), data=data, scan=clean)
    assert not mark.exists()


def test_a_file_swapped_during_the_scan_is_not_what_is_loaded(data, tmp_path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(_forest(data)))

    def swap(seen: Path) -> tuple[Finding, ...]:
        assert seen.read_bytes() == path.read_bytes()
        assert seen.name == "model.pkl"
        path.write_bytes(pickle.dumps(Planted(mark)))
        return ()

    opened = open_model(str(path), data=data, trust=True, scan=swap)
    assert isinstance(opened.target, Scores)
    assert not mark.exists()


def test_a_skops_file_with_foreign_types_is_refused_even_when_trusted(data, tmp_path) -> None:
    mark = tmp_path / "ran"
    step = FunctionTransformer(mark.touch)
    path = tmp_path / "m.skops"
    skops.io.dump(make_pipeline(step, LogisticRegression()), path)
    for trust in (False, True):
        with pytest.raises(UnsafeModel, match=r"types that could run code: got .*pathlib"):
            open_model(str(path), data=data, trust=trust, scan=clean)
    assert not mark.exists()


@pytest.mark.parametrize("form", ["skops", "pkl"])
def test_files_that_hold_no_classifier_are_refused(data, tmp_path, form: str) -> None:
    path = tmp_path / f"m.{form}"
    for thing, says in (
        ({"a": 1}, "fitted scikit-learn classifier: got an object of type dict"),
        (LogisticRegression(), "fitted scikit-learn classifier"),
    ):
        path.write_bytes(skops.io.dumps(thing) if form == "skops" else pickle.dumps(thing))
        with pytest.raises(InputError, match=says):
            open_model(str(path), data=data, trust=True, scan=clean)
    path.write_bytes(b"\x80\x04 no model")
    with pytest.raises(InputError, match=r"cannot be (read as skops|loaded)"):
        open_model(str(path), data=data, trust=True, scan=clean)


def test_rows_of_another_width_are_refused_for_scikit_learn_too(data, tmp_path) -> None:
    skops.io.dump(_forest(data), tmp_path / "m.skops")
    wide = Dataset("wide", torch.zeros(3, 9), torch.tensor([0, 1, 2]), data.classes)
    with pytest.raises(TargetError, match="9 features, but RandomForestClassifier is expecting 4"):
        open_model(str(tmp_path / "m.skops"), data=wide)


def test_an_endpoint_is_opened_with_what_was_settled_about_it(data, monkeypatch) -> None:
    answers = {"probabilities": [[0.2, 0.3, 0.5]]}

    def fetch(url: str, _: object, body: object = None) -> object:
        return (
            {}
            if body is None
            else {"probabilities": answers["probabilities"] * len(body["inputs"])}
        )

    monkeypatch.setattr("holdfast.targets.http.fetch", fetch)
    opened = open_model("http://models.example/predict", data=data)
    assert opened.format == "JSON"
    assert opened.name == "http://models.example/predict"
    assert opened.module is opened.recipe is None
    assert opened.facts["outputs"] == "probabilities, as its first answer calls them"
    assert opened.target.answer(data.x[:2]).tolist() == [2, 2]


def test_every_error_is_one_line(net, data) -> None:
    for spec in (f"{net}:narrow", f"{net}:broken", "x.py:y", "model.pt", "http://u:p@h/"):
        with pytest.raises(HoldfastError) as caught:
            open_model(spec, data=data)
        assert "\n" not in str(caught.value)


def test_the_space_of_a_table_reaches_the_target_and_the_recipe(net, data) -> None:
    box = Box(torch.zeros(4), torch.ones(4))
    bounded = Dataset("rows", data.x, data.y, data.classes, space=box)
    opened = open_model(f"{net}:build", data=bounded)
    assert opened.target.space is box
    assert opened.recipe.train(bounded, 0).space is box


def test_a_probability_is_not_taken_for_a_logit(net, data) -> None:
    """It is never negative: every row would be answered as class 1."""
    two = Dataset("two", data.x, data.y.clamp(max=1), ("no", "yes"))
    with pytest.raises(InputError, match="sigmoid"):
        open_model(f"{net}:sigmoid", data=two)
    assert open_model(f"{net}:logit", data=two).target.scores(two.x).shape == (60, 2)
