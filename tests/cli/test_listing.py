"""What the catalogue shows on the terminal, and methods from other packages."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast import catalogue
from holdfast.cli.app import app
from holdfast.core.errors import InputError
from holdfast.core.method import REGISTRY

PLUGIN = '''
from dataclasses import dataclass
from torch import Generator, Tensor
from holdfast.core.kinds import Preprocessor
from holdfast.core.method import method

@method(cites="none", where="nowhere")
@dataclass(frozen=True)
class Mirror(Preprocessor):
    """Mirror images."""

    def apply(self, x: Tensor, rng: Generator) -> Tensor:
        return x.flip(-1)
'''


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_list_shows_every_method_and_can_be_narrowed() -> None:
    everything = run("list").output
    assert all(id_ in everything for id_ in catalogue.listings())
    narrow = run("list", "privacy", "--kind", "membership").output
    assert "privacy/lira" in narrow
    assert "evasion/pgd" not in narrow
    assert "privacy/dp_sgd" not in narrow


@pytest.mark.parametrize("id_", sorted(catalogue.listings()))
def test_show_tells_title_paper_and_settings(id_: str) -> None:
    text = run("show", id_).output
    found = catalogue.listing(id_)
    assert found.title in text
    assert f"of {found.cites}" not in text, "the paper, not its key"
    assert all(hyper.name in text for hyper in found.hypers)


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(InputError, match="privacy/lira"):
        catalogue.listing("privacy/lirra")


def test_methods_of_other_packages_register_under_their_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_holdfast").mkdir()
    (tmp_path / "acme_holdfast" / "mirror.py").write_text(PLUGIN)
    entry = EntryPoint("mirror", "acme_holdfast.mirror", catalogue.GROUP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [entry])
    try:
        assert catalogue.load("acme-holdfast/mirror").__name__ == "Mirror"
    finally:
        REGISTRY.pop("acme-holdfast/mirror", None)
        sys.modules.pop("acme_holdfast.mirror", None)
