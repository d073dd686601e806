"""Workers may raise or die; the stream of results never does."""

from pathlib import Path

import pytest

from holdfast.runtime import local
from holdfast.runtime.local import Done, Failed, Item


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ALLOWED", ("tests.runtime.jobs:double", "tests.runtime.jobs:die"))


def test_results_and_errors_come_as_values() -> None:
    items = [Item("a", "1"), Item("b", "boom"), Item("c", "3")]
    got = {r.key: r for r in local.run("tests.runtime.jobs:double", items, workers=2)}
    assert got["a"] == Done("a", 2)
    assert got["c"] == Done("c", 6)
    assert got["b"] == Failed("b", "ValueError: no number")


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    items = [Item("a", f"{tmp_path / 'a'}|once"), Item("b", f"{tmp_path / 'b'}|once")]
    got = list(local.run("tests.runtime.jobs:die", items, workers=1))
    assert sorted(r.key for r in got) == ["a", "b"]
    assert any(isinstance(r, Done) for r in got)


def test_an_item_that_always_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    items = [Item("a", f"{tmp_path / 'a'}|always"), Item("b", f"{tmp_path / 'b'}|once")]
    got = {r.key: r for r in local.run("tests.runtime.jobs:die", items, workers=2)}
    assert got["a"] == Failed("a", "its worker process died twice")
    assert got["b"] == Done("b", "alive")


def test_only_listed_jobs_are_run() -> None:
    with pytest.raises(ValueError, match="not an allowed job"):
        next(local.run("os:system", [Item("a", "true")], workers=1))


def test_no_items_need_no_workers() -> None:
    assert list(local.run("tests.runtime.jobs:double", [], workers=2)) == []
