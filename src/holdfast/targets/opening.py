"""One door to all models: the format is told from the form of the name, and every model is tried."""

import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.dataset import Dataset
from holdfast.core.errors import HoldfastError, InputError, MissingExtra, TargetError, UnsafeModel
from holdfast.core.recipe import Recipe
from holdfast.core.record import Finding, Severity
from holdfast.core.space import Box
from holdfast.core.target import Answers, Scores
from holdfast.targets.factory import file_at, first_line, load_factory
from holdfast.targets.http import open_http
from holdfast.targets.sklearn import SklearnRecipe, text, wrap
from holdfast.targets.torch import TorchClassifier
from holdfast.targets.training import ClassifierRecipe
from holdfast.targets.weights import load_safetensors, weights_digest

FORMS = (
    "path/to/file.py:factory or package.module:factory (with --weights file.safetensors), "
    "a .onnx, .skops, .joblib or .pkl file, XGBoost's .json or .ubj, LightGBM's .txt, "
    "or an http(s) address"
)
PICKLES = (".joblib", ".pkl", ".pickle")
TREES = {".json": "XGBoost", ".ubj": "XGBoost", ".txt": "LightGBM"}
SKOPS = frozenset({
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
})  # fmt: skip
"""Types that skops leaves to us and that scikit-learn's own classifiers are made of.

They hold numbers and call nothing that the file names. A forged tree can still point outside its
own arrays, which may crash the process but runs no code of the file's choice.
"""

Scan = Callable[[Path], tuple[Finding, ...]]


@dataclass(frozen=True, eq=False)
class Opened:
    """A model that was opened and tried on two rows.

    Attributes:
        target: the model with whatever access its format offers.
        recipe: how to train more of its kind, None where that is unknown.
        format: "PyTorch", "ONNX", "skops", "pickle", "XGBoost", "LightGBM" or the protocol of an
            endpoint.
        name: what people call it.
        digest: sha256 of what makes it this model; of address and metadata for an endpoint, whose
            weights nobody sees.
        facts: what a reader should know of it, in words.
        module: the PyTorch module, None where there is none.
    """

    target: Answers
    recipe: Recipe | None
    format: str
    name: str
    digest: str
    facts: Mapping[str, str] = field(default_factory=dict)
    module: nn.Module | None = None


def open_model(
    spec: str,
    *,
    weights: str | None = None,
    data: Dataset,
    trust: bool = False,
    device: torch.device | str = "cpu",
    scan: Scan | None = None,
) -> Opened:
    """Open a model and try it on the first rows of `data`.

    Args:
        spec: `path/to/file.py:factory` or `package.module:factory` (runs that code), the path of
            an ONNX, skops, joblib or pickle file, of a file of XGBoost or LightGBM, or the address
            of an endpoint.
        weights: safetensors file for what the factory makes.
        data: rows of the kind the model is for; gives its classes and its space.
        trust: load a pickle whose scan was clean.
        device: where a PyTorch module is put.
        scan: reads a pickle without running it; without one no pickle is loaded.

    Raises:
        UnsafeModel: loading the file could run code.
        InputError: the model cannot be opened, or is not for this data.
        TargetError: the model fails or answers what no classifier may.
        MissingExtra: the format needs an optional dependency.
    """
    kind = _kind(spec)
    if weights is not None and kind != "factory":
        raise InputError(
            "only a factory takes a file of weights", got=spec, fix="leave --weights out"
        )
    if kind == "factory":
        opened = _open_factory(spec, weights, data, device)
    elif kind == "http":
        opened = _open_endpoint(spec, data)
    elif kind == "onnx":
        opened = _open_onnx(file_at(spec), data, device)
    elif kind == "skops":
        opened = _open_skops(file_at(spec), data)
    elif kind == "trees":
        opened = _open_trees(file_at(spec), data)
    else:
        opened = _open_pickle(file_at(spec), data, trust, scan)
    out = preflight(opened.target, data, device)
    if opened.module is not None:
        _check_logit(opened.module, out)
        if _is_softmax(out):
            facts = {**opened.facts, "warning": "rows of scores sum to 1: the model seems to end "
                     "in a softmax, which hides gradients; return logits"}  # fmt: skip
            opened = replace(opened, facts=facts)
    return opened


def preflight(target: Answers, data: Dataset, device: torch.device | str = "cpu") -> Tensor:
    """Run the model on at most two rows, check shape, number of classes and finiteness."""
    x, classes = data.first(2).tensor.to(device), len(data.classes)
    got = f"rows of shape {tuple(x.shape[1:])}"
    fix = "give the data set and the shape that the model is for"
    try:
        out = target.scores(x) if isinstance(target, Scores) else target.answer(x)
    except HoldfastError:
        raise
    except Exception as error:  # whatever a model raises on two rows, it is not for this data
        raise InputError(
            f"the model cannot read {data.name}", got=f"{got}: {first_line(error)}", fix=fix
        ) from error
    _check_output(target, out, len(x), classes)
    return out


def _check_output(target: Answers, out: Tensor, rows: int, classes: int) -> None:
    wanted = (rows, classes) if isinstance(target, Scores) else (rows,)
    if tuple(out.shape) != wanted:
        raise InputError(
            f"a classifier of {classes} classes gives shape {wanted} on {rows} rows",
            got=tuple(out.shape),
            fix="give the model and the data of one task",
        )
    if not out.isfinite().all():
        raise TargetError(
            "the model must give finite scores", got="NaN or infinity", fix="check its weights"
        )
    if not isinstance(target, Scores) and not ((out >= 0) & (out < classes)).all():
        raise InputError(
            f"labels are 0 to {classes - 1}", got=out.tolist(), fix="give the data of the same task"
        )


def _check_logit(module: nn.Module, out: Tensor) -> None:
    """A probability taken for a logit is never negative, so every row would be answered as class 1."""
    one = out.shape[1] == 2 and torch.equal(out[:, 0], -out[:, 1])
    if one and isinstance([*module.modules()][-1], nn.Sigmoid):
        raise InputError(
            "one number per row is read as a logit",
            got="a model that ends in a sigmoid",
            fix="return what goes into the sigmoid",
        )


def _is_softmax(out: Tensor) -> bool:
    return bool((out >= 0).all() and ((out.sum(1) - 1).abs() < 1e-4).all())


def _kind(spec: str) -> str:
    """Which of the forms a name has."""
    if spec.startswith(("http://", "https://")):
        return "http"
    suffix = Path(spec).suffix.lower()
    if suffix in (".onnx", ".skops"):
        return suffix[1:]
    if suffix in PICKLES:
        return "pickle"
    if suffix in TREES:
        return "trees"
    if suffix in (".pt", ".pth", ".bin", ".ckpt", ".safetensors"):
        raise InputError(
            "a file of weights needs the code that builds the model",
            got=spec,
            fix="give file.py:factory with --weights file.safetensors",
        )
    place, _, attribute = spec.rpartition(":")
    if place and "://" not in spec and attribute.isidentifier():
        return "factory"
    raise InputError("the model is in no known form", got=repr(spec), fix=f"give {FORMS}")


def _open_factory(
    spec: str, weights: str | None, data: Dataset, device: torch.device | str
) -> Opened:
    factory = load_factory(spec)
    recipe = ClassifierRecipe(factory, space=_box(data))
    module, other = _build(recipe, spec), _build(recipe, spec)
    if {id(p) for p in module.parameters()} & {id(p) for p in other.parameters()}:
        raise InputError(
            f"{spec} must make a fresh model at every call",
            got="the same weights twice",
            fix="build the model inside the function",
        )
    if weights is not None:
        load_safetensors(module, weights)
    module = module.to(device).eval()
    place = spec.rpartition(":")[0]
    own = Path(place).stem if place.endswith(".py") else place
    name = Path(weights).stem if weights is not None else own
    facts = {"weights": weights or "as the factory makes them", **_torch_facts(module)}
    if place.endswith(".py"):
        facts["code"] = f"sha256 {hashlib.sha256(file_at(place).read_bytes()).hexdigest()}"
    target = TorchClassifier(module, _box(data))
    return Opened(target, recipe, "PyTorch", name, weights_digest(module), facts, module)


def _build(recipe: ClassifierRecipe, spec: str) -> nn.Module:
    """What the factory makes, if it makes a module."""
    try:
        module: object = recipe.build(0)
    except Exception as error:  # the user's own code may raise anything
        raise InputError(
            f"{spec} failed", got=first_line(error), fix="it is called without arguments"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{spec} must return a torch.nn.Module",
            got=f"an object of type {type(module).__name__}",
            fix="return the model",
        )
    return module


def _open_onnx(path: Path, data: Dataset, device: torch.device | str) -> Opened:
    from holdfast.targets.onnx import open_onnx

    module = open_onnx(path).to(device).eval()
    return Opened(
        TorchClassifier(module, _box(data)), None, "ONNX", path.stem,
        hashlib.sha256(path.read_bytes()).hexdigest(), _torch_facts(module), module,
    )  # fmt: skip


def _open_skops(path: Path, data: Dataset) -> Opened:
    """Every type in the file is trusted by skops or on our own short list."""
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtra("skops", "skops") from error
    content = path.read_bytes()  # read once: what was checked is what is loaded
    try:
        unknown = skops.io.get_untrusted_types(data=content)
        strange = sorted(set(unknown) - SKOPS)
        if strange:
            raise UnsafeModel(
                f"{path} holds types that could run code",
                got=", ".join(strange[:5]),
                fix="save a plain scikit-learn classifier",
            )
        model = skops.io.loads(content, trusted=unknown)
    except HoldfastError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(
            f"{path} cannot be read as skops", got=first_line(error), fix="save it again"
        ) from error
    return _sklearn(model, "skops", path, content, data)


def _open_trees(path: Path, data: Dataset) -> Opened:
    """Files of numbers; how the model was trained is not in them, so there is no recipe."""
    from holdfast.targets.trees import load_lightgbm, load_xgboost

    kind, content = TREES[path.suffix.lower()], path.read_bytes()
    model = load_xgboost(path) if kind == "XGBoost" else load_lightgbm(path)
    return replace(_sklearn(model, kind, path, content, data), recipe=None)


def _open_pickle(path: Path, data: Dataset, trust: bool, scan: Scan | None) -> Opened:
    """Scanned first, refused on any finding, and loaded only on the user's word."""
    safer = "save it with skops, which runs nothing when loaded"
    if scan is None:
        raise UnsafeModel("a pickle can run code when loaded", got=f"{path} not scanned", fix=safer)
    content = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        # a private copy is scanned and the same bytes are loaded: nobody can swap them in between
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        found = [f for f in scan(copy) if f.severity >= Severity.MEDIUM]
    if found:
        raise UnsafeModel(
            f"the scan of {path} found {len(found)} reasons not to load it",
            got="; ".join(f.title for f in found[:3]),
            fix=f"do not load it; {safer}",
        )
    if not trust:
        raise UnsafeModel(
            f"the scan of {path} was clean, but a pickle can still run code when loaded",
            got="no --trust",
            fix=f"pass --trust if you know who made the file, or {safer}",
        )
    import joblib

    try:
        model = joblib.load(io.BytesIO(content))
    except Exception as error:  # a damaged pickle fails in many ways
        raise InputError(
            f"{path} cannot be loaded", got=first_line(error), fix="save it again"
        ) from error
    return _sklearn(model, "pickle", path, content, data)


def _sklearn(model: Any, kind: str, path: Path, content: bytes, data: Dataset) -> Opened:
    if not hasattr(model, "predict") or not hasattr(model, "classes_"):
        raise InputError(
            f"{path} must hold a fitted scikit-learn classifier",
            got=f"an object of type {type(model).__name__}",
            fix="save the classifier itself",
        )
    _check_columns(model, path, data)
    target = wrap(model, _box(data), _labels(model, path, data))
    scores = isinstance(target, Scores)
    facts = {
        "estimator": type(model).__name__,
        "outputs": "scores" if scores else "labels only: the model has no scores to show",
    }
    recipe = SklearnRecipe(model) if scores else None
    return Opened(target, recipe, kind, path.stem, hashlib.sha256(content).hexdigest(), facts)


def _labels(model: Any, path: Path, data: Dataset) -> tuple[object, ...]:
    """The model's label of each class of the data: the class's name, or else its index."""
    own = {text(label) for label in model.classes_.tolist()}
    indices = tuple(range(len(data.classes)))
    if own <= set(data.classes):
        return data.classes
    if own <= set(map(str, indices)):
        return indices
    raise InputError(
        f"{path} answers classes that {data.name} does not have",
        got=f"{', '.join(sorted(own)[:8])} beside {', '.join(data.classes[:8])}",
        fix="give the model and the data of one task",
    )


def _check_columns(model: Any, path: Path, data: Dataset) -> None:
    """The columns that the model was fitted on, in their order, where it knows them by name."""
    fitted = [str(name) for name in getattr(model, "feature_names_in_", ())]
    if fitted and sorted(fitted) == sorted(data.columns) and fitted != list(data.columns):
        raise InputError(
            f"{path} was fitted on the columns of {data.name} in another order",
            got=f"{', '.join(data.columns[:4])} instead of {', '.join(fitted[:4])}",
            fix="put the columns of the table into that order",
        )


def _open_endpoint(url: str, data: Dataset) -> Opened:
    target = open_http(url, _box(data), len(data.classes), data.first(8).tensor)
    endpoint = target.endpoint
    facts = {**endpoint.facts, "digest": "of address and metadata: the weights are not seen"}
    return Opened(target, None, endpoint.protocol, url, endpoint.digest, facts)


def _torch_facts(module: nn.Module) -> dict[str, str]:
    count = sum(p.numel() for p in module.parameters())
    return {"architecture": type(module).__name__, "parameters": f"{count:,}"}


def _box(data: Dataset) -> Box:
    """The space of the data, which must be one of real numbers."""
    if not isinstance(data.space, Box):
        raise InputError(
            f"{data.name}: these formats are for images and tables",
            got=type(data.space).__name__,
            fix="give data of real numbers",
        )
    return data.space
