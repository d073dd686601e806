"""Ordinary files as the libraries themselves write them."""

# ruff: noqa: E501  # tables of cases

import argparse
import collections
import datetime
import enum
import gzip
import io
import json
import pickle
import random
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import nn

from benchmarks.corpus import GOOD, Sample


def good(group: str, name: str, file: str, data: bytes) -> Sample:
    return Sample(f"{group}: {name}", file, data, GOOD, 0, group)


def torched(thing: Any, zip_: bool = True, **more: Any) -> bytes:
    out = io.BytesIO()
    torch.save(thing, out, _use_new_zipfile_serialization=zip_, **more)
    return out.getvalue()


def joblibbed(thing: Any, compress: Any = 0) -> bytes:
    out = io.BytesIO()
    joblib.dump(thing, out, compress=compress)
    return out.getvalue()


def networks() -> dict[str, nn.Module]:
    return {
        "linear": nn.Linear(3, 2),
        "convolutions": nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 2)),
        "transformer": nn.TransformerEncoderLayer(4, 2, 8, activation="gelu"),
        "LSTM": nn.LSTM(3, 4, 2, bidirectional=True),
        "embeddings": nn.ModuleDict({"words": nn.Embedding(9, 4, padding_idx=0), "bag": nn.EmbeddingBag(9, 4)}),
        "lists": nn.ModuleList([nn.Conv1d(1, 2, 3), nn.GroupNorm(1, 2), nn.PReLU(), nn.Dropout(0.1), nn.LayerNorm(3)]),
        "transposed": nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.InstanceNorm2d(2, affine=True), nn.Upsample(scale_factor=2), nn.Sigmoid()),
        "spectral": nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        "GRU": nn.GRU(2, 3), "attention": nn.MultiheadAttention(4, 2), "bilinear": nn.Bilinear(2, 3, 4),
    }  # fmt: skip


def torch_files() -> Iterator[Sample]:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    for name, net in networks().items():
        for form in (True, False):
            how = "zip" if form else "legacy"
            yield good(
                "torch state_dict",
                f"{name}, {how}",
                "pytorch_model.bin",
                torched(net.state_dict(), form),
            )
            if name != "spectral":  # its class is made while the program runs
                yield good("torch module", f"{name}, {how}", "model.pt", torched(net, form))
    net = networks()["convolutions"]
    for kind, make in {
        "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "RMSprop": torch.optim.RMSprop,
    }.items():  # fmt: skip
        optimizer = make(net.parameters())
        for each in net.parameters():
            each.grad = torch.ones_like(each)
        optimizer.step()
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        whole = {
            "epoch": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict(),
            "loss": np.float64(0.3), "best": torch.tensor(0.5), "rng": torch.get_rng_state(), "numpy": np.random.RandomState(0).get_state(),
            "python": random.Random(0).getstate(), "classes": ["a", "b"], "time": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC),
        }  # fmt: skip
        for form in (True, False):
            yield good(
                "torch state_dict",
                f"checkpoint with {kind}, {'zip' if form else 'legacy'}",
                "checkpoint.ckpt",
                torched(whole, form),
            )
    kinds = (
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int8,
        torch.int64,
        torch.bool,
        torch.complex64,
        torch.uint8,
        torch.float8_e4m3fn,
        torch.int32,
    )
    mixed = {str(kind): torch.zeros(2, 3).to(kind) for kind in kinds}
    yield good("torch state_dict", "all kinds of numbers", "model.pt", torched(mixed))
    yield good(
        "torch state_dict",
        "unsigned kinds",
        "model.pt",
        torched({"a": torch.zeros(3, dtype=torch.uint16), "b": torch.zeros(3, dtype=torch.uint32)}),
    )
    shared = torch.arange(12.0)
    for name, thing in {
        "views of one storage": {"a": shared[:4], "b": shared.reshape(3, 4).T, "c": shared[::3]},
        "sparse": torch.eye(3).to_sparse(), "CSR": torch.eye(3).to_sparse_csr(), "one tensor": torch.zeros(3, requires_grad=True),
        "parameters": [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2), requires_grad=False)],
        "buffers": {"b": nn.Buffer(torch.zeros(2))}, "named": torch.zeros(2, 3),
        "quantised": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        "quantised by channel": torch.quantize_per_channel(torch.zeros(2, 3), torch.ones(2), torch.zeros(2), 0, torch.qint8),
        "meta": torch.zeros(3, device="meta"), "with an attribute": nn.Linear(2, 2).state_dict(), "empty": {}, "size": torch.Size([1, 2]),
        "device and type": {"device": torch.device("cpu"), "dtype": torch.float16, "layout": torch.strided},
        "tensor in a named tuple": collections.OrderedDict(a=torch.zeros(2)), "nested": [{"a": (torch.zeros(1), None, {"b"})}],
    }.items():  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield good("torch", name, "data.pt", torched(thing))
    for protocol in (0, 1, 2, 3, 4, 5):
        yield good(
            "torch",
            f"pickled tensor, protocol {protocol}",
            "tensor.pkl",
            pickle.dumps({"w": torch.zeros(2)}, protocol),
        )
    yield good(
        "torch state_dict",
        "protocol 4",
        "model.pt",
        torched(nn.Linear(2, 2).state_dict(), pickle_protocol=4),
    )
    yield good(
        "torch state_dict",
        "behind gzip",
        "model.pt.gz",
        gzip.compress(torched(nn.Linear(2, 2).state_dict())),
    )
    yield good(
        "torch state_dict", "by joblib", "model.joblib", joblibbed(nn.Linear(2, 2).state_dict())
    )


def scripts() -> Iterator[Sample]:
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        for name in ("linear", "convolutions", "LSTM", "transposed"):
            out = io.BytesIO()
            torch.jit.save(torch.jit.script(networks()[name]), out)
            yield good("TorchScript", name, "model.pt", out.getvalue())
        out = io.BytesIO()
        torch.jit.save(
            torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)),
            out,
            _extra_files={"note.txt": "hello"},
        )
        yield good("TorchScript", "traced, with a note", "model.ts", out.getvalue())
        for name in ("linear", "convolutions"):
            x = torch.zeros(1, 3) if name == "linear" else torch.zeros(1, 1, 5, 5)
            net = networks()[name].eval()
            path = Path(folder, f"{name}.pt2")
            torch.export.save(torch.export.export(net if name == "linear" else net[:4], (x,)), path)
            yield good("torch.export", name, "model.pt2", path.read_bytes())


def estimators() -> dict[str, Any]:
    """Fitted on a small table."""
    from sklearn import (
        calibration,
        cluster,
        compose,
        covariance,
        cross_decomposition,
        decomposition,
        discriminant_analysis,
        dummy,
        ensemble,
        feature_extraction,
        feature_selection,
        gaussian_process,
        impute,
        isotonic,
        kernel_approximation,
        linear_model,
        manifold,
        mixture,
        model_selection,
        multiclass,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        random_projection,
        svm,
        tree,
    )  # fmt: skip

    draws = np.random.default_rng(0)
    x = draws.normal(size=(60, 4))
    y = (x[:, 0] + 0.3 * x[:, 1] > 0).astype(int)
    plain = (
        linear_model.LogisticRegression(), linear_model.LinearRegression(), linear_model.Ridge(), linear_model.Lasso(), linear_model.ElasticNetCV(cv=2),
        linear_model.SGDClassifier(random_state=0), linear_model.BayesianRidge(), linear_model.HuberRegressor(), linear_model.PoissonRegressor(), linear_model.RANSACRegressor(random_state=0),
        svm.SVC(probability=False), svm.LinearSVC(), svm.OneClassSVM(), svm.NuSVR(), tree.DecisionTreeClassifier(), tree.ExtraTreeRegressor(),
        ensemble.RandomForestClassifier(4, random_state=0), ensemble.GradientBoostingClassifier(n_estimators=3), ensemble.HistGradientBoostingClassifier(max_iter=3), ensemble.AdaBoostClassifier(n_estimators=3),
        ensemble.IsolationForest(n_estimators=4, random_state=0), ensemble.ExtraTreesClassifier(3), ensemble.BaggingRegressor(n_estimators=2),
        ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]), ensemble.StackingClassifier([("a", tree.DecisionTreeClassifier())], cv=2),
        neighbors.KNeighborsClassifier(), neighbors.NearestCentroid(), neighbors.LocalOutlierFactor(), neighbors.KernelDensity(), naive_bayes.GaussianNB(), naive_bayes.BernoulliNB(),
        neural_network.MLPClassifier((4,), max_iter=3, random_state=0), gaussian_process.GaussianProcessClassifier(), discriminant_analysis.LinearDiscriminantAnalysis(), discriminant_analysis.QuadraticDiscriminantAnalysis(),
        cluster.KMeans(2, n_init=1, random_state=0), cluster.DBSCAN(), cluster.MiniBatchKMeans(2, n_init=1), cluster.AgglomerativeClustering(), cluster.Birch(), mixture.GaussianMixture(2, random_state=0),
        decomposition.PCA(2), decomposition.TruncatedSVD(2, random_state=0), decomposition.FastICA(2, random_state=0, max_iter=20), preprocessing.StandardScaler(), preprocessing.MinMaxScaler(), preprocessing.PolynomialFeatures(),
        preprocessing.QuantileTransformer(n_quantiles=5), preprocessing.PowerTransformer(), preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), preprocessing.SplineTransformer(), impute.SimpleImputer(), impute.KNNImputer(),
        feature_selection.SelectKBest(k=2), feature_selection.RFE(linear_model.LogisticRegression()), feature_selection.VarianceThreshold(), kernel_approximation.RBFSampler(random_state=0),
        random_projection.GaussianRandomProjection(2, random_state=0), calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2), multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
        covariance.EllipticEnvelope(random_state=0), cross_decomposition.PLSRegression(1), dummy.DummyClassifier(), manifold.Isomap(n_components=2),
        model_selection.GridSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=2),
        model_selection.RandomizedSearchCV(linear_model.LogisticRegression(), {"C": [0.1, 1]}, n_iter=2, cv=2, random_state=0),
        pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(2), linear_model.LogisticRegression()),
        pipeline.make_pipeline(compose.ColumnTransformer([("a", preprocessing.StandardScaler(), [0, 1]), ("b", preprocessing.OneHotEncoder(handle_unknown="ignore"), [2])], remainder="passthrough"), ensemble.RandomForestClassifier(3)),
        pipeline.make_union(decomposition.PCA(1), preprocessing.StandardScaler()), compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=preprocessing.StandardScaler()),
        pipeline.make_pipeline(preprocessing.FunctionTransformer(np.log1p), linear_model.LinearRegression()),
    )  # fmt: skip
    made = {}
    for number, each in enumerate(plain):
        positive = np.abs(x)
        made[f"{number} {type(each).__name__}"] = each.fit(positive, y)
    made["isotonic"] = isotonic.IsotonicRegression().fit(x[:, 0], y)
    texts = ["a model of words", "another one", "words and words"] * 3
    made["tf-idf"] = pipeline.make_pipeline(
        feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2)),
        linear_model.SGDClassifier(random_state=0),
    ).fit(texts, [0, 1, 0] * 3)
    made["counts"] = feature_extraction.text.CountVectorizer(stop_words="english").fit(texts)
    made["labels"] = preprocessing.LabelEncoder().fit(["a", "b", "a"])
    made["categories"] = preprocessing.OrdinalEncoder().fit([["a"], ["b"]])
    made["dictionary"] = feature_extraction.DictVectorizer().fit([{"a": 1, "b": "x"}])
    return made


def sklearn_files() -> Iterator[Sample]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = estimators()
    for number, (name, each) in enumerate(made.items()):
        yield good(
            "scikit-learn",
            f"{name}, pickle",
            "model.pkl",
            pickle.dumps(each, (2, 3, 4, 5)[number % 4]),
        )
        yield good("scikit-learn", f"{name}, joblib", "model.joblib", joblibbed(each))
    for how in (("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)):
        yield good(
            "scikit-learn",
            f"a forest, joblib {how[0]}",
            "model.joblib",
            joblibbed(made["16 RandomForestClassifier"], how),
        )
    yield good(
        "scikit-learn",
        "models in a dictionary",
        "models.pkl",
        pickle.dumps({"model": made["0 LogisticRegression"], "features": ["a", "b"], "score": 0.9}),
    )
    import skops.io

    for name in list(made)[::6]:
        try:
            yield good("skops", name, "model.skops", skops.io.dumps(made[name]))
        except Exception as error:
            print(f"skops cannot save {name}: {error}", file=sys.stderr)


def tables() -> Iterator[Sample]:  # noqa: C901  # a list
    """NumPy, pandas, SciPy, XGBoost and LightGBM."""
    import lightgbm
    import pandas as pd
    import scipy.interpolate
    import scipy.sparse
    import scipy.spatial
    import xgboost

    def npy(thing: Any) -> bytes:
        out = io.BytesIO()
        np.save(out, thing)
        return out.getvalue()

    record = np.zeros(3, [("a", "<f4"), ("b", "<i8", (2,)), ("c", "U5")])
    arrays: dict[str, Any] = {
        "floats": np.arange(6.0).reshape(2, 3), "Fortran order": np.asfortranarray(np.eye(3)), "big end": np.arange(3, dtype=">i4"), "record": record,
        "dates": np.array(["2025-01-01"], "M8[D]"), "text": np.array(["a", "bcd"]), "bytes": np.array([b"a"]), "booleans": np.array([True]),
        "complex": np.zeros(2, complex), "scalar": np.float32(2), "empty": np.zeros((0, 4)), "half": np.zeros(3, "f2"),
    }  # fmt: skip
    for name, array in arrays.items():
        yield good("NumPy", f"{name}, npy", "a.npy", npy(array))
    yield good(
        "NumPy", "objects that are text, npy", "a.npy", npy(np.array(["a", None, 3], object))
    )
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, **arrays)
        yield good("NumPy", save.__name__, "a.npz", out.getvalue())
    for protocol in range(6):
        yield good(
            "NumPy", f"pickled arrays, protocol {protocol}", "a.pkl", pickle.dumps(arrays, protocol)
        )
    old = (
        pickle.dumps(arrays, 4)
        .replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        .replace(b"\x8c\x16numpy.core", b"\x8c\x15numpy.core")
        .replace(b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric")
    )
    yield good(
        "NumPy",
        "pickled arrays as 1.26 names them",
        "a.pkl",
        old if b"\x95" not in old[:3] else old[:2] + old[11:],
    )
    yield good(
        "NumPy",
        "generators",
        "g.pkl",
        pickle.dumps([np.random.default_rng(0), np.random.RandomState(1)]),
    )
    yield good(
        "NumPy",
        "scalars and masked arrays",
        "s.pkl",
        pickle.dumps(
            [np.float64(1), np.int8(2), np.ma.masked_array([1, 2], [0, 1]), np.dtype("f4")]
        ),
    )
    yield good("NumPy", "by joblib", "a.joblib", joblibbed(list(arrays.values())))
    yield good(
        "NumPy",
        "memory-mapped and back",
        "a.joblib",
        joblibbed({"w": np.zeros((50, 20)), "b": np.zeros(20)}, ("lzma", 6)),
    )
    frame = pd.DataFrame({
        "a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"]), "d": pd.to_datetime(["2025-01-01", "2025-02-01"]), "e": [1.5, np.nan],
        "f": pd.array([1, None], "Int64"), "g": pd.to_timedelta([1, 2], "D"), "h": [True, False],
    })  # fmt: skip
    for name, thing in {
        "frame": frame, "column": frame["a"], "text index": frame.set_index("b"), "two levels": frame.set_index(["a", "h"]), "range": pd.Series(range(3)), "periods": pd.Series(pd.period_range("2025", periods=2, freq="M")),
        "intervals": pd.cut(pd.Series([1, 2, 3]), 2), "zones": pd.Series(pd.date_range("2025", periods=2, tz="UTC")), "times": pd.date_range("2025", periods=3), "sparse": pd.Series(pd.arrays.SparseArray([0, 0, 1])),
    }.items():  # fmt: skip
        for protocol in (2, 5):
            yield good(
                "pandas", f"{name}, protocol {protocol}", "frame.pkl", pickle.dumps(thing, protocol)
            )
    yield good("pandas", "frame, joblib", "frame.joblib", joblibbed(frame))
    yield good("pandas", "frame, gzip", "frame.pkl.gz", gzip.compress(pickle.dumps(frame)))
    for name, thing in {
        "CSR": scipy.sparse.csr_matrix(np.eye(3)), "COO": scipy.sparse.coo_array(np.eye(3)), "CSC": scipy.sparse.csc_matrix(np.eye(3)), "LIL": scipy.sparse.lil_matrix(np.eye(2)),
        "interpolation": scipy.interpolate.interp1d([0, 1, 2], [1, 2, 3]), "spline": scipy.interpolate.BSpline(np.arange(8.0), np.ones(4), 3), "tree": scipy.spatial.KDTree(np.eye(3)), "cKDTree": scipy.spatial.cKDTree(np.eye(3)),
    }.items():  # fmt: skip
        yield good("SciPy", name, "s.pkl", pickle.dumps(thing))
    out = io.BytesIO()
    scipy.sparse.save_npz(out, scipy.sparse.csr_matrix(np.eye(3)))
    yield good("SciPy", "save_npz", "s.npz", out.getvalue())
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    for model in (
        xgboost.XGBClassifier(n_estimators=2, n_jobs=1),
        xgboost.XGBRegressor(n_estimators=2, n_jobs=1),
        xgboost.XGBRanker(n_estimators=2, n_jobs=1),
    ):
        model.fit(x, y, **({"group": [20, 20]} if "Ranker" in type(model).__name__ else {}))
        yield good("XGBoost", f"{type(model).__name__}, pickle", "model.pkl", pickle.dumps(model))
        yield good("XGBoost", f"{type(model).__name__}, joblib", "model.joblib", joblibbed(model))
    booster = model.get_booster()
    yield good("XGBoost", "booster", "booster.pkl", pickle.dumps(booster))
    for form in ("json", "ubj"):
        yield good("XGBoost", form, f"model.{form}", bytes(booster.save_raw(form)))
    for light in (
        lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1),
        lightgbm.LGBMRegressor(n_estimators=2, n_jobs=1, verbose=-1),
    ):
        light.fit(x, y)
        yield good("LightGBM", f"{type(light).__name__}, pickle", "model.pkl", pickle.dumps(light))
        yield good("LightGBM", f"{type(light).__name__}, joblib", "model.joblib", joblibbed(light))
    yield good("LightGBM", "booster", "booster.pkl", pickle.dumps(light.booster_))
    yield good("LightGBM", "text", "model.txt", light.booster_.model_to_string().encode())


def stand_in(module: str, name: str, bases: tuple[type, ...] = (), **body: Any) -> Any:
    """A class of a library that is not installed; its module stands in `sys.modules` until it is taken out."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    made = type(name, bases, {"__module__": module, "__qualname__": name, **body})
    setattr(sys.modules[module], name, made)
    return made


def trainers() -> Iterator[Sample]:
    """What training programs lay beside their weights."""

    def choice(module: str, name: str, value: str) -> Any:
        made = enum.Enum(name, {value.upper(): value}, module=module, type=str)
        stand_in(module, name)
        setattr(sys.modules[module], name, made)
        return made(value)

    before = set(sys.modules)
    try:
        for kind, module in (("TrainingArguments", "transformers.training_args"), ("Seq2SeqTrainingArguments", "transformers.training_args_seq2seq"),
                             ("SFTConfig", "trl.trainer.sft_config"), ("DPOConfig", "trl.trainer.dpo_config")):  # fmt: skip
            arguments = stand_in(module, kind)()
            utils = "transformers.trainer_utils"
            arguments.__dict__.update(
                output_dir="out", learning_rate=5e-5, num_train_epochs=3, fp16=False, label_names=None, logging_dir="out/runs", _n_gpu=1,
                evaluation_strategy=choice(utils, "IntervalStrategy", "no"), save_strategy=choice(utils, "SaveStrategy", "steps"), hub_strategy=choice(utils, "HubStrategy", "every_save"),
                lr_scheduler_type=choice(utils, "SchedulerType", "linear"), optim=choice("transformers.training_args", "OptimizerNames", "adamw_torch"),
                accelerator_config=stand_in("transformers.trainer_pt_utils", "AcceleratorConfig")(), device=torch.device("cpu"), ddp_timeout_delta=datetime.timedelta(seconds=1800),
                distributed_state=stand_in("accelerate.state", "PartialState")(), deepspeed_plugin=None,
            )  # fmt: skip
            yield good("training arguments", kind, "training_args.bin", torched(arguments))
            yield good(
                "training arguments",
                f"{kind}, legacy",
                "training_args.bin",
                torched(arguments, False),
            )
        space = argparse.Namespace(
            arch="transformer", lr=[0.1], data=Path("data").as_posix(), betas=(0.9, 0.98)
        )
        yield good(
            "training arguments",
            "argparse",
            "checkpoint.pt",
            torched({"args": space, "model": nn.Linear(2, 2).state_dict()}),
        )
        attribute_dict = stand_in("lightning_fabric.utilities.data", "AttributeDict", (dict,))
        yield good("training arguments", "Lightning", "last.ckpt", torched({
            "epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.4.0", "state_dict": nn.Linear(2, 2).state_dict(), "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": "x"}},
            "loops": {"fit_loop": {"state_dict": {}}}, "optimizer_states": [], "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": attribute_dict(lr=0.1, hidden=3),
        }))  # fmt: skip
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("transformers", "trl", "accelerate", "lightning_fabric"):
                del sys.modules[name]
    nested = collections.OrderedDict(
        config={"lr": 0.1},
        history=collections.defaultdict(list, loss=[0.1]),
        counter=collections.Counter("aab"),
    )
    plain: dict[str, Any] = {
        "history": nested, "sets": [{1, 2}, frozenset("a"), slice(1, 2), range(3), 1j, b"x", bytearray(b"y")], "dates": [datetime.date(2025, 1, 1), datetime.timedelta(1), datetime.UTC],
        "deep": json.loads("[" * 30 + "]" * 30), "words": {f"w{i}": i for i in range(3000)}, "names that look bad": ["os.system", "eval", "subprocess"], "queue": collections.deque([1], 3),
    }  # fmt: skip
    for name, thing in plain.items():
        for protocol in (0, 2, 5):
            yield good(
                "plain pickle",
                f"{name}, protocol {protocol}",
                "data.pkl",
                pickle.dumps(thing, protocol),
            )
    out = io.BytesIO()
    for each in (1, [2], {"a": 3}):
        pickle.dump(each, out)
    yield good("plain pickle", "three in a row", "data.pkl", out.getvalue())


def samples() -> Iterator[Sample]:
    groups: tuple[Callable[[], Iterator[Sample]], ...] = (
        torch_files,
        scripts,
        sklearn_files,
        tables,
        trainers,
    )
    for each in groups:
        yield from each()
