"""Configurations that name code: what a loader would import or call because a file says so.

A configuration is data until a loader takes one of its words for the name of a class. The keys by
which loaders do so are few and known; what they name is checked like the imports of a pickle.
"""

import re
from collections.abc import Iterator

from holdfast.core.record import Severity
from holdfast.supply import pickle_names, templates
from holdfast.supply.pickle_values import Exhausted, show
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule

MOST = 1_000_000
"""Values of one configuration that are looked at."""

_REFUSE = "Do not load it with trust_remote_code. Review the code that it names, or remove the key."
REMOTE = Rule(
    "remote_code/auto-map", "The configuration makes the loader import code: {subject}",
    Severity.HIGH, _REFUSE,
)  # fmt: skip
TRUST = Rule(
    "remote_code/trust", "The configuration asks for trust_remote_code", Severity.HIGH,
    "Whether code is trusted is for who loads the model to say. Remove the key.",
)  # fmt: skip
TARGET = Rule(
    "remote_code/target", "The configuration names a callable: {subject}", Severity.HIGH,
    "Do not instantiate it. Only classes of the frameworks that build models are let through.",
    refs=("CVE-2025-23304",),
)  # fmt: skip
RUNS = Rule(
    "remote_code/executing-target", "The configuration calls {subject}", Severity.CRITICAL,
    "Do not load the file: what it names runs code, opens files or reaches the network.",
    refs=("CVE-2025-23304",),
)  # fmt: skip
PICKLED = Rule(
    "remote_code/object-tag", "The text makes its reader build a Python object: {subject}",
    Severity.CRITICAL, "Read it with a safe loader only, which refuses such tags.",
)  # fmt: skip

_MODULES = re.compile(
    r"(torch\.(nn|optim)|torchvision\.(models|transforms)|torchmetrics|transformers|diffusers"
    r"|sentence_transformers|lightning|pytorch_lightning|nemo\.(collections|core)|timm|keras"
    r"|sklearn|omegaconf|peft|accelerate|datasets\.Dataset)(\.\w+)*\.[A-Z]\w*"
)
"""Classes of frameworks: written in capitals, and reached through their own modules."""
_LIBRARIES = (
    "diffusers", "transformers", "onnxruntime", "optimum", "flax", "sentence_transformers",
    "k_diffusion", "peft", "timm", "stable_diffusion_pipeline",
)  # fmt: skip
_BESIDE = (
    ("configuration.json", "plugins"), ("configuration.json", "allow_remote"), ("MLmodel", "code"),
)  # fmt: skip
"""Keys of ModelScope and MLflow that bring code which lies beside the file, or elsewhere."""
_OFF = (False, None, "", "false", "False", "no", "off", "null")
_CALLS = ("_target_", "__target__", "py/object", "py/function", "py/reduce", "py/type", "py/repr")


def review(reading: Reading, part: Part, document: object) -> None:
    """Report what a parsed configuration would make a loader import or call.

    Raises:
        Exhausted: it has more values than are looked at.
    """
    modules = part.called == "modules.json"  # of sentence-transformers
    for path, key, value in _items(document):
        where = show(".".join([*path, key]), 80)
        if key in ("auto_map", "custom_pipelines", "auto_mapping"):
            _remote(reading, part, key, value)
        elif key == "trust_remote_code" and value not in _OFF:
            reading.report(part, TRUST, f"at {where}")
        elif (part.called, key) in _BESIDE and value not in _OFF and value != []:
            reading.report(part, REMOTE, f"the key {where}", None, show(str(value), 120))
        elif isinstance(value, str) and key == "loader_module" and not value.startswith("mlflow."):
            target(reading, part, value, f"at {where}, which MLflow imports")
        elif isinstance(value, str) and (key in _CALLS or (key == "type" and modules)):
            target(reading, part, value, f"at {where}")
        elif isinstance(value, str) and "chat_template" in (key, *path[-1:]):
            templates.report(reading, part, "remote_code", value)
        elif part.called == "model_index.json" and not path:
            _component(reading, part, key, value)


def target(reading: Reading, part: Part, name: str, reason: str) -> None:
    """Report a dotted name that would be imported, unless it is a class of a known framework."""
    module, _, attribute = name.rpartition(".")
    if pickle_names.executes(module, attribute):
        reading.report(
            part, RUNS, f"{reason}, known to run code, files or network", None, show(name)
        )
    elif not _MODULES.fullmatch(name) or any(p.startswith("_") for p in name.split(".")):
        reading.report(
            part, TARGET, f"{reason}, not a class of a known framework", None, show(name)
        )


def _remote(reading: Reading, part: Part, key: str, value: object) -> None:
    """Keys whose values are classes in files that lie beside the configuration, or elsewhere."""
    if key == "auto_mapping":  # of PEFT: the library to import, and a class of it
        library = value.get("parent_library") if isinstance(value, dict) else None
        if library is None or str(library).split(".")[0] in ("transformers", "peft", "diffusers"):
            return
        value = library
    told = [v for _, _, v in _items({"": value}) if isinstance(v, str)]
    for each in told[:20] or [show(value)]:
        away = ", from another repository" if "--" in str(each) else ""
        reading.report(part, REMOTE, f"the key {key}{away}", None, show(each))


def _component(reading: Reading, part: Part, key: str, value: object) -> None:
    """A part of a diffusers pipeline: [library, class]."""
    if key.startswith("_") or not (isinstance(value, list) and len(value) == 2):
        return
    library = value[0]
    if isinstance(library, str) and library.split(".")[0] not in _LIBRARIES:
        reading.report(part, REMOTE, f"the pipeline's part {show(key)}", None, show(library))


def _items(document: object) -> Iterator[tuple[list[str], str, object]]:
    """Every value under a key: the keys above it, the key, the value. Shared parts come once."""
    left: list[tuple[list[str], object]] = [([], document)]
    seen, count = set[int](), 0
    while left:
        path, thing = left.pop()
        if isinstance(thing, dict | list):
            if id(thing) in seen:
                continue
            seen.add(id(thing))
        pairs = thing.items() if isinstance(thing, dict) else ()
        for key, value in pairs:
            count += 1
            if count > MOST:
                raise Exhausted("more values than are looked at")
            yield path, str(key), value
            left.append(([*path[-4:], str(key)], value))
        if isinstance(thing, list):
            count += len(thing)
            if count > MOST:
                raise Exhausted("more values than are looked at")
            for value in thing:
                if isinstance(value, str):
                    yield path, "", value
            left += [(path, value) for value in thing]
