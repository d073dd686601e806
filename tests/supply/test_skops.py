"""skops: estimators that are clean, and nodes that do something else than they say."""

import json
import random

import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from holdfast.supply.files import scan_bytes
from holdfast.supply.rules import Verdict
from tests.supply.bypasses import zipped

skops = pytest.importorskip("skops.io")
X, Y = load_iris(return_X_y=True)
MODELS = [
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), RandomForestClassifier(3),
    GradientBoostingClassifier(n_estimators=3), SVC(), KNeighborsClassifier(), SGDClassifier(),
    ColumnTransformer([("a", OneHotEncoder(handle_unknown="ignore"), [0])], remainder="passthrough"),
    FunctionTransformer(),
]  # fmt: skip


def node(loader: str, module: str, name: str, **more: object) -> dict[str, object]:
    return {"__loader__": loader, "__module__": module, "__class__": name, **more}


BAD = {
    "method of another class": node("MethodNode", "builtins", "dict", content={"func": "get"}),
    "operator that calls": node("OperatorFuncNode", "operator", "methodcaller", attrs={}),
    "operator call": node("OperatorFuncNode", "operator", "call", attrs={}),
    "function of os": node("FunctionNode", "os", "system", content="x"),
    "type of subprocess": node("TypeNode", "subprocess", "Popen"),
    "object of nobody": node("ObjectNode", "lovely_package", "Thing", content=None),
    "partial": node("PartialNode", "os", "system", content={}),
    "json of another class": node("JsonNode", "lovely_package", "Thing", content='"a"'),
    "no such node": node("EvalNode", "builtins", "str", content="1+1"),
    "reduce": node("ConstructorFromReduceNode", "os", "system", content=[]),
    "walk": node("ObjectNode", "sklearn", "utils.os.system"),
    "a dict that is not": node("DictNode", "os", "environ", content={}),
}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_estimators_are_clean(model) -> None:
    scan = scan_bytes(skops.dumps(model.fit(X, Y)), "m.skops")
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert any(piece.format == "skops" for piece in scan.pieces)


@pytest.mark.parametrize("inner", BAD.values(), ids=BAD)
def test_a_node_that_reaches_elsewhere_is_flagged_and_named(inner) -> None:
    tree = node("DictNode", "builtins", "dict", content={"a": inner}, protocol=2)
    scan = scan_bytes(zipped({"schema.json": json.dumps(tree).encode()}), "m.skops")
    assert scan.verdict is Verdict.FLAGGED
    assert any(str(inner["__class__"]) in issue.title for issue in scan.issues)


def test_mutated_trees_never_break_the_reader() -> None:
    rng = random.Random(0)
    tree = json.dumps(node("DictNode", "builtins", "dict", content=BAD)).encode()
    for _ in range(300):
        content = bytearray(tree)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        scan_bytes(bytes(content), "schema.json")
