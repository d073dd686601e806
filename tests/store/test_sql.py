"""The store on SQLite, and on PostgreSQL where HOLDFAST_TEST_DATABASE_URL names one."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from holdfast.core.assessment import Assessment
from holdfast.core.errors import InputError
from holdfast.core.record import (
    Finding,
    Measurement,
    Outcome,
    Record,
    Severity,
    Status,
    Subject,
    ThreatModel,
)
from holdfast.store.sql import Store
from holdfast.store.tables import Base

SUBJECT = Subject("digits_cnn.py:build", "a" * 64, "torch", "digits", "b" * 64)
RECORD = Record(
    key="k" * 64,
    check="evasion/pgd.linf",
    method="evasion/pgd",
    kind="EvasionAttack",
    params={"steps": 40, "step_size": 2.5, "random_start": True, "note": None},
    given=("steps",),
    threat=ThreatModel("Gradients", measure="linf", eps=(0.1, 0.2)),
    subject=SUBJECT,
    seed=0,
    versions={"python": "3.11"},
    started="2026-11-20T10:00:00+00:00",
    seconds=1.5,
    forwards=41.0,
    backwards=40.0,
    rows=10,
    measurements=(Measurement("robust accuracy", 0.1, 10, 0.0, 0.4, "eps=0.1"),),
    tensors={"clean": "c" * 64},
    notes=("small",),
    findings=(Finding("supply/pickle_scan/os.system", Severity.CRITICAL, "A file that runs code"),),
)


def urls() -> list[str]:
    shared = os.environ.get("HOLDFAST_TEST_DATABASE_URL")
    return ["sqlite", shared] if shared else ["sqlite"]


@pytest.fixture(params=urls(), ids=lambda url: url.split(":")[0])
def store(request: pytest.FixtureRequest, tmp_path: Path):
    url = None if request.param == "sqlite" else request.param
    if url:
        engine = create_engine(url)
        with engine.begin() as connection:
            for table in ("record", "assessment", "alembic_version"):
                connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
        engine.dispose()
    with Store(tmp_path, url) as opened:
        yield opened


def test_a_record_comes_back_as_it_went_in(store: Store) -> None:
    store.add(RECORD)
    assert store.get(RECORD.key) == RECORD


def test_the_first_record_under_a_key_stands(store: Store) -> None:
    store.add(RECORD)
    store.add(replace(RECORD, seconds=9.0))
    found = store.get(RECORD.key)
    assert found is not None
    assert found.seconds == 1.5


def test_an_unknown_key_gives_none(store: Store) -> None:
    assert store.get("x" * 64) is None


def test_records_are_found_by_model_and_method(store: Store) -> None:
    store.add(RECORD)
    store.add(replace(RECORD, key="2" * 64, method="privacy/lira"))
    assert [r.key for r in store.find(method="privacy/lira")] == ["2" * 64]
    assert len(store.find(model_digest="a" * 64)) == 2
    assert store.find(model_digest="z" * 64) == []


def test_an_assessment_comes_back_as_it_went_in(store: Store) -> None:
    outcome = Outcome("evasion/pgd.linf", "evasion/pgd", "PGD", Status.FAILED, "why", record=RECORD)
    whole = Assessment("first", SUBJECT, "image-classifier", "medium", 0, (outcome,))
    number = store.add_assessment(whole)
    store.add_assessment(replace(whole, title="second"))
    assert store.assessment(number) == whole
    assert store.assessment().title == "second"


def test_a_missing_assessment_is_one_clear_error(store: Store) -> None:
    with pytest.raises(InputError, match="holdfast assess"):
        store.assessment()


def test_tensors_are_kept_once_by_content(store: Store, tmp_path: Path) -> None:
    x = torch.arange(6.0).view(2, 3)
    first, again = store.put_tensors({"a": x}), store.put_tensors({"b": x.clone()})
    assert first["a"] == again["b"]
    assert torch.equal(store.tensor(first["a"]), x)
    assert len(list((tmp_path / "tensors").iterdir())) == 1


def test_a_tampered_tensor_is_refused(store: Store, tmp_path: Path) -> None:
    digest = store.put_tensors({"a": torch.zeros(3)})["a"]
    path = tmp_path / "tensors" / f"{digest}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="changed content"):
        store.tensor(digest)


def test_opening_twice_keeps_what_is_there(tmp_path: Path) -> None:
    with Store(tmp_path) as first:
        first.add(RECORD)
    with Store(tmp_path) as second:
        assert second.get(RECORD.key) == RECORD


def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    with Store(tmp_path) as store, store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_database_that_cannot_be_opened_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="HOLDFAST_DATABASE_URL"):
        Store(tmp_path, "sqlite:////nowhere/at/all/x.db")
