"""What the documentation shows is run."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from holdfast.core.method import REGISTRY

ROOT = Path(__file__).parents[1]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_python_blocks_run_one_after_the_other(page: Path) -> None:
    scope: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), scope)


def test_the_worked_example_of_the_contributing_guide_passes_its_test() -> None:
    method, test = blocks(ROOT / "CONTRIBUTING.md", "python")
    name = "holdfast.evasion.attacks.fast_gradient_value"
    module = ModuleType(name)
    try:
        sys.modules[name] = module
        exec(compile(method, name, "exec"), module.__dict__)
        assert REGISTRY["evasion/fast_gradient_value"].needs == "Gradients"
        scope = {"FGV": module.__dict__["FGV"]}
        exec(compile(test, "test_fast_gradient_value.py", "exec"), scope)
        scope["test_fgv_succeeds_exactly_when_the_boundary_is_inside_the_ball"]()
    finally:
        sys.modules.pop(name, None)
        REGISTRY.pop("evasion/fast_gradient_value", None)


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    from holdfast.cli.app import app

    shown = {
        line
        for block in blocks(page, "console")
        for line in re.findall(r"^\$ holdfast (.+)$", block, re.M)
    }
    for line in shown:
        verb = line.split()[0]
        helped = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "300"})
        assert helped.exit_code == 0, line
        for option in re.findall(r"(--[a-z-]+)", line):
            assert option in helped.output, line


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_readmes_table_is_the_catalogues() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from hooks import table
    finally:
        sys.path.pop(0)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table() in text, "run: python docs/hooks.py"
