"""Real objects of many libraries are clean by every protocol; the same names, misused, are not."""

# ruff: noqa: E501, SIM905, DTZ001  # tables of objects

import argparse
import collections
import datetime
import enum
import importlib
import inspect
import io
import itertools
import pathlib
import pickle
import random
import subprocess
import sys
import types
import warnings

import lightgbm
import numpy as np
import pandas as pd
import pytest
import scipy.interpolate as interpolate
import scipy.optimize
import scipy.signal
import scipy.sparse
import scipy.spatial
import scipy.stats
import torch
import xgboost
from sklearn import (
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    kernel_ridge,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from holdfast.supply import pickle_libraries, pickle_names
from holdfast.supply.files import scan_bytes
from tests.supply.bypasses import call, name, pickled, u

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int)


def told(content: bytes, file: str = "m.pkl") -> list[str]:
    """Why these bytes are not clean."""
    scan = scan_bytes(content, file)
    if scan.verdict.value == "clean":
        return []
    return [f"{issue.title}: {issue.reason}" for issue in scan.issues] or [scan.verdict.value]


def frames() -> dict[str, object]:
    frame = pd.DataFrame(
        {
            "int": [1, 2, 3], "float": [1.0, None, 3], "text": ["x", "y", None],
            "date": pd.date_range("2020", periods=3), "kind": pd.Categorical(["u", "v", "u"]),
            "bool": [True, False, True], "mixed": [1, "x", None],
        }
    )  # fmt: skip
    indexes = [
        pd.RangeIndex(3), pd.Index([1, 5]), pd.Index([1.0, 5]), pd.Index(["a", "b"]),
        pd.Index(["a", 1], dtype=object), pd.CategoricalIndex(["a", "b"]), pd.interval_range(0, 3),
        pd.MultiIndex.from_product([[1, 2], ["a"]]), pd.timedelta_range("1D", periods=3),
        pd.period_range("2020", periods=3, freq="M"),
        *(pd.date_range("2020", periods=3, freq=f) for f in ("D", "ME", "B", "W-MON", "QS", "h", "YE")),
        *(pd.date_range("2020", periods=3, tz=zone) for zone in ("UTC", "Europe/Vienna")),
    ]  # fmt: skip
    kinds = (
        "Int64",
        "Float64",
        "boolean",
        "string",
        "string[python]",
        "string[pyarrow]",
        "int64[pyarrow]",
    )
    arrays = [pd.array([1, None] if "nt" in k or "oat" in k else [None], dtype=k) for k in kinds]
    offsets = [
        pd.DateOffset(months=1), pd.offsets.Day(2), pd.offsets.MonthEnd(), pd.offsets.BDay(),
        pd.offsets.Week(weekday=1), pd.offsets.QuarterBegin(), pd.offsets.Hour(3),
    ]  # fmt: skip
    dtypes = [
        pd.Int8Dtype(), pd.UInt8Dtype(), pd.Float32Dtype(), pd.BooleanDtype(), pd.StringDtype(),
        pd.CategoricalDtype(["a"]), pd.DatetimeTZDtype(tz="UTC"), pd.PeriodDtype("M"),
        pd.IntervalDtype("int64"), pd.SparseDtype(float),
    ]  # fmt: skip
    frame.attrs["k"] = 1
    return {
        "frame": frame,
        "no rows": pd.DataFrame(),
        "two indexes": frame.set_index(["int", "text"]),
        "pivot": frame.pivot_table(index="int", columns="kind", values="float", observed=True),
        "series": [frame[column] for column in frame],
        "indexes": indexes,
        "arrays": [*arrays, pd.arrays.SparseArray([0, 0, 1]), pd.Series([1, 2]).array],
        "of indexes": [index.array for index in indexes[7:] if not isinstance(index, pd.MultiIndex)],
        "scalars": [
            pd.Timestamp("2020-01-01"), pd.Timestamp("2020", tz="Europe/Vienna"), pd.Timedelta("1D"),
            pd.Period("2020-01"), pd.Interval(0, 1), pd.NaT, pd.NA,
        ],
        "offsets": offsets,
        "dtypes": [*dtypes, frame.dtypes],
        "columns of arrays": pd.DataFrame({"i": arrays[0], "p": indexes[9][:2]}),
    }  # fmt: skip


def science() -> dict[str, object]:
    at = np.arange(8.0)
    grid, points = np.add.outer(at, at**2), X[:, :2]
    kinds = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    return {
        "sparse": [getattr(scipy.sparse, f"{k}_{s}")(np.eye(3)) for k in kinds for s in ("matrix", "array")],
        "on a line": [
            interpolate.interp1d(at, at), interpolate.interp1d(at, at, "cubic"),
            interpolate.CubicSpline(at, at), interpolate.PchipInterpolator(at, at),
            interpolate.Akima1DInterpolator(at, at), interpolate.CubicHermiteSpline(at, at, at),
            interpolate.make_interp_spline(at, at), interpolate.UnivariateSpline(at, at),
            interpolate.InterpolatedUnivariateSpline(at, at), interpolate.KroghInterpolator(at, at),
            interpolate.LSQUnivariateSpline(at, at, [3.0]), interpolate.BarycentricInterpolator(at, at),
            interpolate.PPoly(np.ones((2, 3)), np.arange(4.0)),
            interpolate.BPoly(np.ones((2, 3)), np.arange(4.0)), interpolate.AAA(at, at**2),
        ],
        "in space": [
            interpolate.RectBivariateSpline(at, at, grid), interpolate.LinearNDInterpolator(points, X[:, 2]),
            interpolate.NearestNDInterpolator(points, X[:, 2]), interpolate.RBFInterpolator(points, X[:, 2]),
            interpolate.CloughTocher2DInterpolator(points, X[:, 2]),
            interpolate.RegularGridInterpolator((at, at), grid), interpolate.Rbf(at, at, at),
            interpolate.NdBSpline((at,), np.ones(5), 2),
        ],
        "trees": [scipy.spatial.KDTree(X), scipy.spatial.cKDTree(X), scipy.spatial.Rectangle([1, 1], [0, 0])],
        "hulls": [scipy.spatial.Delaunay(points), scipy.spatial.ConvexHull(points), scipy.spatial.Voronoi(points)],
        "turned": scipy.spatial.transform.Rotation.from_euler("z", 1.0),
        "distributions": [
            scipy.stats.norm(), scipy.stats.uniform(0, 1), scipy.stats.loguniform(1, 2),
            scipy.stats.randint(1, 9), scipy.stats.beta(1, 2), scipy.stats.expon(), scipy.stats.poisson(2),
        ],
        "density": scipy.stats.gaussian_kde(X[:, 0]),
        "optimum": scipy.optimize.minimize(lambda v: (v**2).sum(), [1.0]),
        "systems": [scipy.signal.TransferFunction([1.0], [1.0, 1]), scipy.signal.dlti([1.0], [1.0, 1])],
    }  # fmt: skip


def boosters() -> dict[str, object]:
    table = pd.DataFrame({"a": X[:, 0], "c": pd.Categorical(Y)})
    quiet, groups = {"n_estimators": 2, "verbose": -1}, {"group": [30, 30]}
    stop = xgboost.callback.EarlyStopping(2)
    return {
        "XGBClassifier": xgboost.XGBClassifier(n_estimators=2).fit(X, Y),
        "three classes": xgboost.XGBClassifier(n_estimators=2).fit(X, Y + (X[:, 1] > 0)),
        "XGBRegressor": xgboost.XGBRegressor(n_estimators=2).fit(X, X[:, 1]),
        "XGBRanker": xgboost.XGBRanker(n_estimators=2).fit(X, Y, **groups),
        "XGBRFClassifier": xgboost.XGBRFClassifier(n_estimators=2).fit(X, Y),
        "XGBRFRegressor": xgboost.XGBRFRegressor(n_estimators=2).fit(X, X[:, 1]),
        "Booster": xgboost.train({}, xgboost.DMatrix(X, Y), 2),
        "not fitted": xgboost.XGBClassifier(eval_metric="auc", enable_categorical=True),
        "stops early": xgboost.XGBClassifier(n_estimators=3, callbacks=[stop]).fit(
            X, Y, eval_set=[(X, Y)], verbose=False
        ),
        "LGBMClassifier": lightgbm.LGBMClassifier(**quiet).fit(X, Y),
        "LGBMRegressor": lightgbm.LGBMRegressor(**quiet).fit(X, X[:, 1]),
        "LGBMRanker": lightgbm.LGBMRanker(**quiet).fit(X, Y, **groups),
        "with evaluation": lightgbm.LGBMClassifier(**quiet).fit(X, Y, eval_set=[(X, Y)]),
        "with categories": lightgbm.LGBMClassifier(**quiet).fit(table, Y),
        "LightGBM's Booster": lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, Y), 2),
    }


def estimators() -> dict[str, object]:
    columns = compose.ColumnTransformer(
        [
            ("scaled", preprocessing.StandardScaler(), ["a"]),
            ("hot", preprocessing.OneHotEncoder(), ["c"]),
        ]
    )
    search = model_selection.RandomizedSearchCV(
        svm.SVC(), {"C": scipy.stats.uniform(1, 2), "degree": scipy.stats.randint(1, 3)}, n_iter=2, cv=2,
        random_state=0,
    )  # fmt: skip
    kinds = [
        linear_model.LinearRegression(), linear_model.Ridge(), linear_model.Lasso(),
        linear_model.LogisticRegression(), linear_model.SGDClassifier(), linear_model.HuberRegressor(),
        svm.SVC(probability=False), svm.LinearSVC(), svm.SVR(), svm.OneClassSVM(),
        tree.DecisionTreeClassifier(max_depth=3), tree.ExtraTreeRegressor(max_depth=3),
        ensemble.RandomForestClassifier(3), ensemble.ExtraTreesClassifier(3),
        ensemble.GradientBoostingClassifier(n_estimators=3), ensemble.IsolationForest(n_estimators=3),
        ensemble.HistGradientBoostingClassifier(max_iter=3), ensemble.AdaBoostClassifier(n_estimators=3),
        ensemble.BaggingClassifier(n_estimators=3),
        ensemble.VotingClassifier([("a", naive_bayes.GaussianNB()), ("b", svm.LinearSVC())]),
        ensemble.StackingClassifier([("a", naive_bayes.GaussianNB())], cv=2),
        neighbors.KNeighborsClassifier(), neighbors.NearestCentroid(), neighbors.LocalOutlierFactor(),
        naive_bayes.GaussianNB(), naive_bayes.BernoulliNB(), neural_network.MLPClassifier((4,), max_iter=5),
        gaussian_process.GaussianProcessClassifier(), kernel_ridge.KernelRidge(),
        cluster.KMeans(2, n_init=1), cluster.DBSCAN(), cluster.AgglomerativeClustering(),
        mixture.GaussianMixture(2), decomposition.PCA(2), decomposition.TruncatedSVD(2),
        feature_selection.SelectKBest(k=2), impute.SimpleImputer(), preprocessing.QuantileTransformer(n_quantiles=9),
        preprocessing.PolynomialFeatures(2), multiclass.OneVsRestClassifier(svm.LinearSVC()),
        model_selection.GridSearchCV(svm.SVC(), {"C": [1, 2]}, cv=2), search,
        pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(2), svm.SVC()),
        preprocessing.FunctionTransformer(np.log1p),
    ]  # fmt: skip
    made = {f"{type(kind).__name__} {place}": kind.fit(X, Y) for place, kind in enumerate(kinds)}
    table = pd.DataFrame({"a": X[:, 0], "c": pd.Categorical(Y.astype(str))})
    made["columns"] = pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(
        table, Y
    )
    made["words"] = feature_extraction.text.TfidfVectorizer().fit(["a big word", "an odd word"])
    made["isotonic"] = isotonic.IsotonicRegression().fit(X[:, 0], Y)
    return made


def torches() -> dict[str, object]:
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    made: dict[str, object] = {
        "types": [torch.float32, torch.device("cpu"), torch.Size([1]), torch.get_default_dtype()],
        "tensors": [
            torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr(), torch.ones(3, dtype=torch.bfloat16),
            torch.ones(3).to(torch.float8_e4m3fn), torch.ones(3, dtype=torch.uint16), torch.ones(3, device="meta"),
            torch.nn.Parameter(torch.ones(2)), torch.nn.Buffer(torch.ones(2)),
            torch.ones(3, dtype=torch.complex64).conj(),
            torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        ],
        "nets": [
            torch.nn.ModuleList([torch.nn.GRU(2, 3), torch.nn.Transformer(4, 2, 1, 1, 8)]),
            torch.nn.utils.weight_norm(torch.nn.Linear(2, 2)),
            torch.nn.utils.spectral_norm(torch.nn.Linear(2, 2)), torch.nn.DataParallel(net),
            torch.optim.swa_utils.AveragedModel(net),
        ],
        "data": torch.utils.data.Subset(torch.utils.data.TensorDataset(torch.ones(3)), [0]),
    }  # fmt: skip
    for (
        kind
    ) in "SGD Adam AdamW RMSprop Adagrad Adadelta Adamax NAdam RAdam ASGD Rprop Adafactor".split():
        optimiser = getattr(torch.optim, kind)(net.parameters(), lr=0.1)
        net(torch.ones(1, 4)).sum().backward()
        optimiser.step()
        made[kind] = [optimiser, optimiser.state_dict()]
    sgd, schedules = torch.optim.SGD(net.parameters(), 0.1), torch.optim.lr_scheduler
    plans = [
        schedules.StepLR(sgd, 2), schedules.CosineAnnealingLR(sgd, 2), schedules.ExponentialLR(sgd, 0.9),
        schedules.CosineAnnealingWarmRestarts(sgd, 2), schedules.MultiStepLR(sgd, [2]),
        schedules.ReduceLROnPlateau(sgd), schedules.OneCycleLR(sgd, 0.1, total_steps=9),
        schedules.CyclicLR(sgd, 0.1, 0.2), schedules.LinearLR(sgd), schedules.PolynomialLR(sgd),
        schedules.SequentialLR(sgd, [schedules.ConstantLR(sgd), schedules.ExponentialLR(sgd, 0.9)], [2]),
    ]  # fmt: skip
    made["schedules"] = [each.state_dict() for each in plans]
    made |= {type(plan).__name__: plan for plan in plans}
    made["checkpoint"] = {
        "model": net.state_dict(), "optimizer": sgd.state_dict(), "epoch": 3, "best": np.float64(0.3),
        "args": argparse.Namespace(lr=0.1, path=pathlib.Path("x"), at=datetime.datetime(2020, 1, 1)),
        "random": [torch.get_rng_state(), np.random.default_rng(0), random.Random(0).getstate()],
        "counts": [collections.Counter("aab"), collections.deque([1], 3), collections.defaultdict(list)],
    }  # fmt: skip
    return made


def dumped(thing, protocol: int = 2) -> bytes:
    """The pickle; where the oldest protocols cannot hold it, that of the next newer one."""
    try:
        return quietly(lambda: pickle.dumps(thing, protocol))
    except TypeError:
        return dumped(thing, protocol + 1)


KINDS = {
    "pandas": frames, "scipy": science, "boosters": boosters, "sklearn": estimators, "torch": torches,
}  # fmt: skip


def quietly(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


@pytest.fixture(scope="module")
def zoo() -> dict[str, dict[str, object]]:
    return {kind: quietly(make) for kind, make in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_real_objects_are_clean_by_every_protocol(zoo, kind) -> None:
    wrong = {
        f"{what}, protocol {protocol}": found
        for what, thing in zoo[kind].items()
        for protocol in range(6)
        if (found := told(dumped(thing, protocol)))
    }
    assert wrong == {}
    assert (
        len(zoo[kind])
        >= {"pandas": 12, "scipy": 10, "boosters": 15, "sklearn": 47, "torch": 28}[kind]
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_real_objects_of_torch_are_clean_as_torch_saves_them(zoo, zipped) -> None:
    for what, thing in zoo["torch"].items():
        out = io.BytesIO()
        quietly(lambda t=thing, o=out: torch.save(t, o, _use_new_zipfile_serialization=zipped))
        assert told(out.getvalue(), "m.pt") == [], what


def test_a_memory_format_is_a_name_within_any_module_of_torch() -> None:
    for module in ("torch", "torch._utils", "torch.nn.modules.module"):
        found = "channels_last" if module == "torch" else "torch.channels_last"
        assert told(pickled(u(module) + u(found) + b"\x93", header=b"\x80\x04")) == []
    assert told(pickled(u("torch._utils") + u("torch.load") + b"\x93", header=b"\x80\x04"))
    assert told(pickled(u("os") + u("torch.channels_last") + b"\x93", header=b"\x80\x04"))


OLDER = {
    "numpy 1.26": {b"numpy._core.": b"numpy.core."},
    "pandas 2": {
        b"cpandas\nDataFrame": b"cpandas.core.frame\nDataFrame",
        b"cpandas\nSeries": b"cpandas.core.series\nSeries",
        b"cpandas\nIndex": b"cpandas.core.indexes.base\nIndex",
        b"cpandas\nMultiIndex": b"cpandas.core.indexes.multi\nMultiIndex",
        b"cpandas\nRangeIndex": b"cpandas.core.indexes.range\nRangeIndex",
        b"cpandas\nDatetimeIndex": b"cpandas.core.indexes.datetimes\nDatetimeIndex",
        b"cpandas\nCategorical\n": b"cpandas.core.arrays.categorical\nCategorical\n",
        b"cpandas\nCategoricalDtype": b"cpandas.core.dtypes.dtypes\nCategoricalDtype",
        b"cpandas\nInt64Dtype": b"cpandas.core.arrays.integer\nInt64Dtype",
        b"cpandas\nStringDtype": b"cpandas.core.arrays.string_\nStringDtype",
        b"cpandas.arrays\nIntegerArray": b"cpandas.core.arrays.integer\nIntegerArray",
        b"cpandas.arrays\nDatetimeArray": b"cpandas.core.arrays.datetimes\nDatetimeArray",
        b"cpandas.arrays\nPeriodArray": b"cpandas.core.arrays.period\nPeriodArray",
        b"cpandas\nPeriodDtype": b"cpandas.core.dtypes.dtypes\nPeriodDtype",
        b"cpandas.arrays\nArrowStringArray": b"cpandas.core.arrays.string_arrow\nArrowStringArray",
    },
}


@pytest.mark.parametrize("kind", ["pandas", "sklearn"])
def test_the_layouts_of_older_releases_are_clean(zoo, kind) -> None:
    for what, thing in zoo[kind].items():
        content = quietly(lambda t=thing: pickle.dumps(t, 2))
        for changes in OLDER.values():
            for new, old in changes.items():
                content = content.replace(new, old)
        assert told(content) == [], what
        assert b"numpy._core" not in content


def library(module: str, **classes) -> None:
    """Put classes of a library that is not installed where pickle looks for them."""
    for parent in itertools.accumulate(module.split("."), "{}.{}".format):
        made = sys.modules.setdefault(parent, types.ModuleType(parent))
    for called, cls in classes.items():
        cls.__module__, cls.__qualname__, cls.__name__ = module, called, called
        setattr(made, called, cls)


class Plain:
    def __init__(self, **attributes) -> None:
        self.__dict__.update(attributes)


def member(called: str, value: str, module: str):
    made = enum.Enum(called, {"ONE": value})
    library(module, **{called: made})
    return made.ONE


def arguments() -> dict[str, object]:
    """As transformers, accelerate, trl and OmegaConf lay out what they pickle; none is installed."""

    def plain(module: str, called: str, **attributes):
        cls = type(called, (Plain,), {})
        library(module, **{called: cls})
        return cls(**attributes)

    trainer, data = "transformers.trainer_utils", "accelerate.utils.dataclasses"
    state = plain(
        "accelerate.state", "PartialState", _cpu=True, backend=None, device=torch.device("cpu"), debug=False,
        distributed_type=member("DistributedType", "NO", data), num_processes=1, process_index=0,
    )  # fmt: skip
    config = plain(
        "transformers.trainer_pt_utils", "AcceleratorConfig", split_batches=False, even_batches=True
    )
    common = dict(  # noqa: C408
        output_dir="out", learning_rate=5e-5, evaluation_strategy=member("IntervalStrategy", "steps", trainer),
        save_strategy=member("SaveStrategy", "best", trainer), hub_strategy=member("HubStrategy", "end", trainer),
        lr_scheduler_type=member("SchedulerType", "linear", trainer), fsdp=[], accelerator_config=config,
        optim=member("OptimizerNames", "adamw_torch", "transformers.training_args"),
        distributed_state=state, deepspeed_plugin=None, __cached__setup_devices=torch.device("cpu"), _n_gpu=0,
    )  # fmt: skip
    meta = plain(
        "omegaconf.base", "ContainerMetadata", ref_type=object, object_type=dict, optional=True, key=None,
        flags={}, resolver_cache=collections.defaultdict(dict), key_type=str, element_type=object,
    )  # fmt: skip
    node = plain("omegaconf.nodes", "AnyNode", _val=3, _parent=None, _metadata=meta)
    return {
        "training": plain("transformers.training_args", "TrainingArguments", **common),
        "two ends": plain("transformers.training_args_seq2seq", "Seq2SeqTrainingArguments", **common),
        "sft": plain("trl.trainer.sft_config", "SFTConfig", **common),
        "sentences": plain(
            "sentence_transformers.training_args", "SentenceTransformerTrainingArguments", **common,
            batch_sampler=member("BatchSamplers", "batch_sampler", "sentence_transformers.training_args"),
        ),
        "omegaconf": plain("omegaconf.dictconfig", "DictConfig", _content={"lr": node}, _metadata=meta, _parent=None),
        "a list of it": plain("omegaconf.listconfig", "ListConfig", _content=[node], _metadata=meta, _parent=None),
    }  # fmt: skip


@pytest.fixture
def elsewhere():
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        if module.split(".")[0] in (
            "transformers",
            "accelerate",
            "trl",
            "omegaconf",
            "sentence_transformers",
        ):
            del sys.modules[module]


def test_training_arguments_and_configurations_are_clean(elsewhere) -> None:
    for what, thing in arguments().items():
        for protocol in range(6):
            assert told(pickle.dumps(thing, protocol)) == [], what
        out = io.BytesIO()
        torch.save(thing, out)
        assert told(out.getvalue(), "training_args.bin") == [], what
    by_name = call(
        "builtins", "getattr", name("transformers.trainer_utils", "IntervalStrategy"), u("STEPS")
    )
    assert told(pickled(by_name)) == []


BUILT = [
    ("xgboost.core", "Booster"), ("lightgbm.basic", "Booster"), ("pandas", "DataFrame"),
    ("scipy.interpolate._rbf", "Rbf"), ("torch.optim.adam", "Adam"), ("omegaconf.dictconfig", "DictConfig"),
    ("transformers.training_args", "TrainingArguments"), ("accelerate.state", "PartialState"),
    ("accelerate.utils.dataclasses", "DeepSpeedPlugin"), ("scipy.stats._continuous_distns", "norm_gen"),
    ("torch.nn.parallel.data_parallel", "DataParallel"), ("trl.trainer.sft_config", "SFTConfig"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "cls"), BUILT)
def test_a_class_that_is_only_built_is_neither_called_nor_kept(module, cls) -> None:
    made, one = name(module, cls), name(module, cls) + b")\x81"
    assert told(pickled(one)) == []  # of a distribution, too: nothing is run before BUILD
    wrong = {
        "called": made + b")R", "called with a path": made + b"(" + u("/tmp/x") + b"tR",
        "built with an argument": made + u("x") + b"\x85\x81", "kept": b"]" + made + b"a",
        "kept in a tuple in a list": b"](K\x01" + made + b"ta", "kept as an attribute": one + b"}" + u("x") + made + b"sb",
        "kept two tuples deep": b"](" + made + b"t\x85a", "called by INST": b"(i" + f"{module}\n{cls}\n".encode(),
        "called by OBJ": b"(" + made + b"o", "a factory": call("collections", "defaultdict", made),
        "handed on": call("collections", "OrderedDict", made),
        "handed to a reconstructor": call("copyreg", "_reconstructor", name("builtins", "object"), made, b"N"),
        "with items": one + u("a") + b"K\x01s", "appended to": one + b"K\x01a",
        "named arguments": made + b")}" + u("x") + b"K\x01s\x92",
        "new with an argument": call("copyreg", "__newobj__", made, u("x")),
        "a special attribute": one + b"}" + u("__class__") + name("builtins", "dict") + b"sb",
        "a state from a call": one + call("collections", "OrderedDict", b"]") + b"b",
        "slots from a call": one + b"N" + call("collections", "OrderedDict", b"]") + b"\x86b",
    }  # fmt: skip
    assert [
        what for what, body in wrong.items() if not told(pickled(body, header=b"\x80\x04"))
    ] == []


def test_the_text_that_a_distribution_runs_is_the_one_that_scipy_writes() -> None:
    assert told(dumped(scipy.stats.norm().dist)) == []
    cls = name("scipy.stats._continuous_distns", "norm_gen") + b")\x81}" + u("_parse_arg_template")
    for frozen in (scipy.stats.norm(), scipy.stats.beta(1, 2), scipy.stats.randint(1, 2)):
        text = frozen.dist._parse_arg_template
        assert told(pickled(cls, u(text), b"sb")) == []
        for old, new in (
            ("scale=1, size=None", "scale=f(), size=None"), ("loc=0", "loc=(0)"), ("return (", "return f("),
            ("\ndef _parse_args_rvs", "\nf()\ndef _parse_args_rvs"), ("'mv'", "f()"), ("(self, ", "(self, *"),
            ("    return self", "    import os; return self"), ("size=size)", "size=size) or f()"),
            (", moments\n", ", moments\nf()\n"), ("(self, ", "(self, a=f(), "),
        ):  # fmt: skip
            changed = text.replace(old, new)
            if changed != text:
                assert "runs a text from its state" in told(pickled(cls, u(changed), b"sb"))[0]
    short = (
        name("scipy.stats._continuous_distns", "norm_gen") + b")\x81}" + u("_parse_arg_template")
    )
    assert told(pickled(short, u("pass"), b"sb"))
    assert told(pickled(short, call("builtins", "str", u("pass")), b"sb"))


def test_members_of_enumerations_are_asked_for_by_value_and_never_changed() -> None:
    kind = name("transformers.trainer_utils", "IntervalStrategy")
    assert told(pickled(kind, u("steps"), b"\x85R")) == []
    for body in (
        kind + b")R", kind + u("a") + u("b") + b"\x86R", kind + b"]\x85R",
        kind + u("no") + b"\x85R}" + u("value") + u("x") + b"sb", kind + b"}" + u("NO") + u("x") + b"sb",
        call("builtins", "getattr", kind, u("mro")), call("builtins", "getattr", kind, u("__class__")),
        call("builtins", "getattr", kind, u("_missing_")),
    ):  # fmt: skip
        assert told(pickled(body))


def test_what_rebuilds_arrays_and_indexes_of_pandas_rebuilds_nothing_else() -> None:
    backed = ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked")
    index = ("pandas.core.indexes.base", "_new_Index")
    fine = call(*backed, name("pandas", "Categorical"), b"K\x01", b"N")
    assert told(pickled(fine)) == []
    assert told(pickled(call(*index, name("pandas", "Index"), b"}"))) == []
    for body in (
        call(*backed, name("pathlib", "Path"), b"K\x01", b"N"), call(*index, name("collections", "Counter"), b"}"),
        call(*index, name("pandas", "DataFrame"), b"}"), call(*index, b"}", b"}"), call(*index),
        fine + b"NN}" + u("__class__") + name("pandas", "Index") + b"s\x87b",
        fine + b"NN" + call("collections", "OrderedDict", b"]") + b"\x87b",
        fine + b"}" + u("__class__") + name("pandas", "Index") + b"s\x85b",
        b"]" + name(*index) + b"a",
    ):  # fmt: skip
        assert told(pickled(body))


OTHERS = (
    "pandas.read_pickle", "pandas.core.frame.read_csv", "pandas.core.frame.sys", "pandas.io.common.urlopen",
    "pandas.core.arrays.arrow.array.np", "pandas._libs.tslibs.timestamps.eval", "pandas.core.indexes.base.Appender",
    "scipy.interpolate._rbf.callable", "scipy.stats._distn_infrastructure.rv_generic",
    "scipy.stats._continuous_distns.rv_continuous", "scipy.stats._distn_infrastructure.rv_histogram",
    "xgboost.core._load_lib", "xgboost.callback.LearningRateScheduler", "xgboost.callback.TrainingCheckPoint",
    "lightgbm.basic._LIB", "torch.optim.lr_scheduler.partial", "torch.optim.optimizer.warnings",
    "transformers.training_args.os", "transformers.trainer_utils.set_seed", "transformers.AutoModel",
    "accelerate.utils.dataclasses.functools", "accelerate.state.os", "accelerate.launchers.notebook_launcher",
    "omegaconf.OmegaConf.register_new_resolver", "omegaconf.resolvers.oc.env", "omegaconf._utils.import_string",
    "trl.trainer.sft_config.os", "trl.trainer.evil_config.EvilConfig", "hydra.utils.instantiate",
    "numpy.vectorize.__call__", "pytz.open_resource", "zoneinfo.ZoneInfo.from_file", "pyarrow.lib.memory_map",
    "pyarrow.lib.OSFile", "typing.get_type_hints", "typing.ForwardRef",
)  # fmt: skip


@pytest.mark.parametrize("path", OTHERS)
def test_another_name_of_the_same_module_is_named(path) -> None:
    module, _, attribute = path.rpartition(".")
    found = told(pickled(name(module, attribute), b"(", u("true"), b"tR", header=b"\x80\x04"))
    assert path in found[0]


READ = """
    ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax ArrowExtensionArray BaseEstimator BaseOffset
    BlockManager Booster BusinessDay BusinessHour BusinessMixin CVBooster Categorical
    CategoricalDtype CustomBusinessDay DatetimeTZDtype Easter FY5253Mixin FY5253Quarter
    HalfYearOffset IntervalDtype IntervalMixin LastWeekOfMonth Module MonthOffset NAdam
    NDArrayBacked NDFrame Optimizer PeriodDtype PeriodDtypeBase QuarterOffset RAdam
    RBFInterpolator RMSprop RelativeDeltaOffset Rotation Rprop SGD SemiMonthOffset
    SingleBlockManager SparseArray SparseIndex StringDtype Tick Week WeekOfMonth YearOffset
    _Period _WrappedHook cKDTree rv_generic
""".split()
"""Classes whose `__setstate__` was read before those that have it went onto the list."""


def listed() -> set[type]:
    """Every class on the list of these libraries that is installed."""
    found = set()
    for root in ("pandas", "scipy", "xgboost", "lightgbm", "torch.optim", "torch.nn", "numpy.lib"):
        importlib.import_module(root)
        for module in [m for m in sys.modules if m.startswith(root)]:
            for called, thing in list(vars(sys.modules[module]).items()):
                if (
                    inspect.isclass(thing)
                    and pickle_libraries.role(module, called) in pickle_names.CLASSES
                ):
                    found.add(thing)
    return found


def test_every_setstate_that_a_listed_class_runs_was_read_and_runs_nothing() -> None:
    classes = listed()
    assert len(classes) > 150
    unread = set()
    for cls in classes:
        of = next((base for base in cls.__mro__ if "__setstate__" in vars(base)), None)
        if of is None:
            continue
        unread |= {f"{of.__module__}.{of.__name__}"} - {f"{of.__module__}.{each}" for each in READ}
        if inspect.isfunction(of.__setstate__):
            source = inspect.getsource(of.__setstate__)
            assert not any(
                word in source
                for word in ("exec(", "eval(", "import_module", "open(", "__import__")
            )
    assert sorted(unread) == []


def test_what_may_be_kept_is_harmless_to_call_and_every_role_has_a_meaning() -> None:
    roles = {*pickle_names.ALLOWED.values()}
    unsafe = {
        "built",
        "distribution",
        "getattr",
        "storage",
        "reconstructor",
        "newobj",
        "backed",
        "index",
    }
    assert not unsafe & set(pickle_names.HARMLESS)
    assert roles <= {
        *pickle_names.HARMLESS, *pickle_names.CLASSES, "getattr", "storage", "reconstructor", "newobj",
        "newobj_ex", "reconstruct", "scalar", "encode", "ufunc", "subtypes", "generator", "rebuild", "zone",
    }  # fmt: skip


def test_the_list_imports_none_of_the_packages_it_names() -> None:
    script = (
        "import sys, time; t = time.perf_counter(); import holdfast.supply.pickle_names;"
        "print(time.perf_counter() - t, {'pandas', 'numpy', 'scipy', 'torch'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert out.endswith("set()\n")


def test_deep_sharing_is_told_from_ordinary_sharing() -> None:
    row = [1.0, "x", (1, 2)]
    table = [row] * 300
    assert told(pickle.dumps([table] * 300, 4)) == []
    tree_ = row
    for _ in range(30):
        tree_ = [tree_, tree_]
    assert "again and again" in told(pickle.dumps(tree_, 4))[0]
    loop: list[object] = []
    loop.append([loop, {"x": loop}])
    assert told(pickle.dumps(loop, 4)) == []
