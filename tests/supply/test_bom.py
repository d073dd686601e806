"""Bills of materials: valid by the schema, the same every time, and held against the files."""

import hashlib
import json

import pytest

from holdfast.cli.billing import run_bom
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity
from holdfast.supply import bom
from holdfast.supply.bom import Card, Contents, Made
from holdfast.supply.requirements import Package
from holdfast.supply.scanners.bill_of_materials import BillOfMaterials

CARD = Card(
    "image classification", "supervised", "convolutional", "LeNet-5", ("28x28 image",),
    ("10 scores",), ("digits",), ("rotated digits",), {"bias": "assessed per group"},
)  # fmt: skip


@pytest.fixture
def parts(tmp_path):
    for name in ("model.safetensors", "digits.npz", "train.py"):
        (tmp_path / name).write_bytes(name.encode())
    measured = {"name": "robust accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "part": "eps=0.1"}
    told = {"outcomes": [{"check": "pgd", "record": {"measurements": [measured]}}]}
    (tmp_path / "assessment.json").write_text(json.dumps(told))
    contents = Contents(
        "digits", "1.0", (tmp_path / "model.safetensors",), (tmp_path / "digits.npz",),
        (Package("torch", "2.6.0+cpu"), Package("numpy", "2.0.0"), Package("loose", None)),
        tmp_path / "assessment.json",
    )  # fmt: skip
    return contents, Made((tmp_path / "train.py",), 7, {"python": "3.11"})


@pytest.mark.parametrize("full", [True, False])
def test_the_document_is_valid_by_the_schema_of_cyclonedx(parts, full) -> None:
    pytest.importorskip("cyclonedx")
    contents, made = parts
    if not full:
        contents, made = Contents("digits", files=contents.files), Made()
    time = "2026-01-01T00:00:00Z" if full else ""
    document = bom.build(contents, CARD if full else Card(), made, time, serial=full)
    assert bom.invalid(bom.text_of(document)) == ""
    document["metadata"]["component"]["type"] = "no such type"
    assert bom.invalid(bom.text_of(document)) != ""


def test_it_holds_hashes_data_packages_metrics_and_provenance(parts) -> None:
    document = bom.build(parts[0], CARD, parts[1])
    model = document["metadata"]["component"]
    assert model["hashes"][0]["content"] == hashlib.sha256(b"model.safetensors").hexdigest()
    parameters = model["modelCard"]["modelParameters"]
    assert parameters["datasets"] == [{"ref": "data:digits.npz"}]
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "robust accuracy", "value": "0.5", "slice": "pgd, eps=0.1",
         "confidenceInterval": {"lowerBound": "0.4", "upperBound": "0.6"}}
    ]  # fmt: skip
    purls = [c["purl"] for c in document["components"] if c["type"] == "library"]
    assert purls == ["pkg:pypi/numpy@2.0.0", "pkg:pypi/torch@2.6.0%2Bcpu"]
    formula = document["formulation"][0]
    script = hashlib.sha256(b"train.py").hexdigest()
    assert formula["components"][0]["hashes"][0]["content"] == script
    assert {"name": "holdfast:seed", "value": "7"} in formula["workflows"][0]["properties"]


def test_the_same_files_give_the_same_bytes_and_others_another_number(parts) -> None:
    first = bom.build(parts[0], CARD, parts[1], serial=True)
    assert bom.text_of(first) == bom.text_of(bom.build(parts[0], CARD, parts[1], serial=True))
    parts[0].files[0].write_bytes(b"other")
    other = bom.build(parts[0], CARD, parts[1], serial=True)
    assert other["serialNumber"] != first["serialNumber"]
    plain = bom.build(parts[0], CARD, parts[1])
    assert "serialNumber" not in plain
    assert "timestamp" not in plain["metadata"]


def test_a_changed_file_is_found_and_an_unchanged_one_is_not(parts, tmp_path) -> None:
    model = parts[0].files[0]
    with pytest.raises(NotApplicable):
        list(BillOfMaterials().scan(model))
    assert run_bom(parts[0], CARD, parts[1]) == 0
    (read,) = BillOfMaterials().scan(model)
    assert read.severity is Severity.INFO
    model.write_bytes(b"model.safetensorz")
    found = [f.rule for f in BillOfMaterials().scan(model)]
    assert found[0] == "supply/bill_of_materials/other-file"
    bom.beside(model).rename(tmp_path / "bom.cdx.json")
    assert next(BillOfMaterials().scan(parts[1].scripts[0])).rule.endswith("unlisted")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metadata": 3}', "[" * 3000])
def test_a_list_that_cannot_be_read_is_never_clean(parts, text) -> None:
    bom.beside(parts[0].files[0]).write_text(text)
    first, *_ = BillOfMaterials().scan(parts[0].files[0])
    assert first.rule == "supply/bill_of_materials/malformed"


def test_what_cannot_be_listed_is_an_error(tmp_path) -> None:
    with pytest.raises(InputError):
        bom.build(Contents("m", files=(tmp_path / "none",)), Card(), Made())
    with pytest.raises(InputError):
        bom.build(Contents("m"), Card(approach="magic"), Made())
