"""Bills of materials of models: CycloneDX 1.6 with a model card (ECMA-424).

`cyclonedx-python-lib` has no model cards and no formulation, so the document is written here, and
checked with that library against the schema. The same files give the same bytes: a serial number
comes from the content, and a time only if it is given.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from urllib.parse import quote

from holdfast.core.errors import InputError, MissingExtra
from holdfast.supply.pickle_values import show
from holdfast.supply.requirements import Package

Node = dict[str, Any]
SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
ENDING = ".cdx.json"
CHUNK, LARGEST = 2**20, 16 * 2**20
WANTED = ("clean accuracy", "robust accuracy", "attack success", "certified accuracy")
"""Measurements that a model card shows first; others follow up to a hundred."""
APPROACHES = ("supervised", "unsupervised", "reinforcement-learning", "semi-supervised",
              "self-supervised")  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What its maker says of a model; what is empty is left out.

    Attributes:
        task: such as "image classification".
        approach: one of `APPROACHES`.
        family: architecture family, such as "convolutional neural network".
        architecture: such as "ResNet-18".
        inputs: formats of inputs.
        outputs: formats of outputs.
        uses: what it is meant for.
        limits: what it is not good at.
        ethics: risks by name, and what is done about them.
    """

    task: str = ""
    approach: str = ""
    family: str = ""
    architecture: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    ethics: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """How it came to be.

    Attributes:
        scripts: files of the training code.
        seed: root of the random streams.
        notes: anything else, by name.
    """

    scripts: tuple[Path, ...] = ()
    seed: int | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """What a bill of materials lists.

    Attributes:
        name: of the model.
        version: of the model.
        files: of the model.
        data: files of data sets.
        packages: of the environment.
        assessment: JSON that Holdfast wrote, for the metrics.
    """

    name: str
    version: str = ""
    files: tuple[Path, ...] = ()
    data: tuple[Path, ...] = ()
    packages: tuple[Package, ...] = ()
    assessment: Path | None = None


def build(contents: Contents, card: Card, made: Made, time: str = "", serial: bool = False) -> Node:
    """The document.

    Args:
        contents: what to list.
        card: what the maker says.
        made: how it came to be.
        time: ISO 8601, left out if empty.
        serial: whether to number it; the number follows from the content.

    Raises:
        InputError: a file cannot be read.
    """
    if card.approach and card.approach not in APPROACHES:
        fix = f"give one of {', '.join(APPROACHES)}"
        raise InputError("an approach of learning", got=card.approach, fix=fix)
    data = _files(contents.data, "data")
    libraries = [_library(p) for p in sorted(contents.packages, key=lambda p: p.name) if p.version]
    parts = _files(contents.files, "file")
    model: Node = {
        "type": "machine-learning-model", "bom-ref": "model", "name": contents.name,
        **({"version": contents.version} if contents.version else {}),
        **({"hashes": parts[0]["hashes"]} if len(parts) == 1 else {}),
        "modelCard": _card(card, data, contents.assessment), "components": parts,
    }  # fmt: skip
    tool = {"type": "application", "name": "holdfast", "version": installed("holdfast")}
    components = [*data, *libraries]
    document: Node = {
        "$schema": SCHEMA, "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"tools": {"components": [tool]}, "component": model},
        "components": components,
        "dependencies": [
            {"ref": "model", "dependsOn": [c["bom-ref"] for c in components]},
            *({"ref": c["bom-ref"]} for c in components),
        ],
    }  # fmt: skip
    if time:
        document["metadata"] = {"timestamp": time} | document["metadata"]
    if made.scripts or made.seed is not None or made.notes:
        document["formulation"] = [_formula(made, data)]
    if serial:
        text = hashlib.sha256(text_of(document).encode()).hexdigest()
        document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return document


def text_of(document: Node) -> str:
    """As it is written: sorted keys, ASCII, one line at the end."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def _files(paths: Sequence[Path], kind: str) -> list[Node]:
    """A component per file, by name; folders are walked."""
    found = list[Node]()
    for path in map(Path, paths):
        inner = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for each in inner:
            name = each.relative_to(path.parent).as_posix()
            node: Node = {
                "type": kind, "bom-ref": f"{kind}:{name}", "name": name,
                "hashes": [{"alg": "SHA-256", "content": digest(each)}],
            }  # fmt: skip
            if kind == "data":
                node["data"] = [{"type": "dataset", "name": name}]
            found.append(node)
    refs = [node["bom-ref"] for node in found]
    if len(set(refs)) < len(refs):
        raise InputError("files with names of their own", got="one twice", fix="rename one")
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: it cannot be read.
    """
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
    except OSError as error:
        raise InputError(
            "a file to list", got=f"{path}: {error.strerror}", fix="check it"
        ) from error
    return found.hexdigest()


def _library(package: Package) -> Node:
    purl = f"pkg:pypi/{quote(package.name)}@{quote(str(package.version), safe='')}"
    return {
        "type": "library", "bom-ref": purl, "name": package.name,
        "version": package.version, "purl": purl,
    }  # fmt: skip


def _card(card: Card, data: Sequence[Node], assessment: Path | None) -> Node:
    parameters: Node = {
        "approach": {"type": card.approach} if card.approach else None,
        "task": card.task,
        "architectureFamily": card.family,
        "modelArchitecture": card.architecture,
        "datasets": [{"ref": each["bom-ref"]} for each in data],
        "inputs": [{"format": each} for each in card.inputs],
        "outputs": [{"format": each} for each in card.outputs],
    }
    ethics = [
        {"name": name, "mitigationStrategy": how} for name, how in sorted(card.ethics.items())
    ]
    considerations: Node = {
        "useCases": list(card.uses), "technicalLimitations": list(card.limits),
        "ethicalConsiderations": ethics,
    }  # fmt: skip
    metrics = _metrics(assessment) if assessment else []
    found: Node = {
        "modelParameters": _kept(parameters),
        "quantitativeAnalysis": {"performanceMetrics": metrics} if metrics else None,
        "considerations": _kept(considerations),
    }
    return {"bom-ref": "model-card", **_kept(found)}


def _kept(node: Node) -> Node:
    return {key: value for key, value in node.items() if value}


def _metrics(path: Path) -> list[Node]:
    """Measurements of an assessment that Holdfast wrote, those first that matter most."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError("an assessment", got="more than 16 MiB", fix="give the JSON of one")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("an assessment in JSON", got=f"{path}: {error}", fix="check it") from error
    found = list[tuple[int, Node]]()
    for check, each in _measurements(document, ""):
        name, value = each.get("name"), each.get("value")
        if not isinstance(name, str) or not isinstance(value, int | float):
            continue
        node: Node = {"type": name, "value": f"{value:.6g}"}
        where = ", ".join(filter(None, (check, str(each.get("part") or ""))))
        if where:
            node["slice"] = where
        if all(isinstance(each.get(end), int | float) for end in ("low", "high")):
            node["confidenceInterval"] = {
                "lowerBound": f"{each['low']:.6g}", "upperBound": f"{each['high']:.6g}",
            }  # fmt: skip
        found.append((WANTED.index(name) if name in WANTED else len(WANTED), node))
    found.sort(key=lambda pair: pair[0])
    unique = {json.dumps(node, sort_keys=True): node for _, node in found}
    return list(unique.values())[:100]


def _measurements(node: Any, check: str, depth: int = 12) -> Iterator[tuple[str, Node]]:
    if depth <= 0:
        return
    if isinstance(node, dict):
        check = str(node.get("check") or node.get("method") or check)
        for key, value in node.items():
            if key == "measurements" and isinstance(value, list):
                yield from ((check, each) for each in value if isinstance(each, dict))
            else:
                yield from _measurements(value, check, depth - 1)
    elif isinstance(node, list):
        for value in node:
            yield from _measurements(value, check, depth - 1)


def _formula(made: Made, data: Sequence[Node]) -> Node:
    scripts = _files(made.scripts, "file")
    for each in scripts:
        each["bom-ref"] = f"script:{each['name']}"
    notes = dict(made.notes) | ({} if made.seed is None else {"seed": str(made.seed)})
    inputs = [{"resource": {"ref": each["bom-ref"]}} for each in [*scripts, *data]]
    workflow: Node = {
        "bom-ref": "training", "uid": "training", "name": "training", "taskTypes": ["build"],
        "inputs": inputs, "outputs": [{"resource": {"ref": "model"}}],
        "properties": [
            {"name": f"holdfast:{key}", "value": value} for key, value in sorted(notes.items())
        ],
    }  # fmt: skip
    return {"bom-ref": "formula", **_kept({"components": scripts, "workflows": [_kept(workflow)]})}


def invalid(text: str) -> str:
    """What the schema says against a document, "" where nothing.

    Raises:
        MissingExtra: cyclonedx-python-lib is not installed.
    """
    try:
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError as error:
        raise MissingExtra("cyclonedx-python-lib", "bom") from error
    try:
        found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except MissingOptionalDependencyException as error:
        raise MissingExtra("cyclonedx-python-lib[validation]", "bom") from error
    return "" if found is None else show(str(found), 400)


def beside(path: Path) -> Path:
    """Where the bill of materials of a file is looked for."""
    return path.with_name(path.name + ENDING)


def hashes(document: Any) -> dict[str, str]:
    """SHA-256 by name of every file that the model consists of.

    Raises:
        InputError: it is no CycloneDX document about a model.
    """
    fix = "write one with `holdfast bom`"
    try:
        model = document["metadata"]["component"]
        if document["bomFormat"] != "CycloneDX" or model["type"] != "machine-learning-model":
            raise InputError("a bill of materials of a model", got=model["type"], fix=fix)
        own = {model["name"]: model.get("hashes", ())}
        parts = {c["name"]: c.get("hashes", ()) for c in model.get("components", ())}
        return {
            name: h["content"] for name, each in (parts or own).items() for h in each
            if h["alg"] == "SHA-256"
        }  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError("a bill of materials of a model", got=f"no {error}", fix=fix) from error
