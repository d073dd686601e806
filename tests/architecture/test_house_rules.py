"""House rules that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import catalogue
from holdfast.core.method import REGISTRY

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "holdfast").rglob("*.py"))
LISTED = catalogue.listings()
METHODS = {
    each.id: ROOT / "src" / Path(*each.module.split(".")).with_suffix(".py")
    for each in LISTED.values()
}
TESTS = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
BIB = (ROOT / "src/holdfast/core/papers.bib").read_text(encoding="utf-8")


def calls(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_the_catalogue_read_from_files_is_the_one_that_registers() -> None:
    catalogue.load_all()
    for id_, each in LISTED.items():
        if id_ in REGISTRY:
            entry = REGISTRY[id_]
            assert (each.kind, each.needs, each.cites, each.where) == (
                entry.kind, entry.needs, entry.cites, entry.where,
            )  # fmt: skip
    assert {i for i, e in REGISTRY.items() if e.cls.__module__.startswith("holdfast.")} <= set(
        LISTED
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src/holdfast")))
def test_a_file_is_a_room_not_a_hall(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("id_", METHODS)
def test_a_method_is_one_short_file_with_a_title_and_sources(id_: str) -> None:
    lines = METHODS[id_].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert 3 <= len(LISTED[id_].title) <= 80
    assert LISTED[id_].text, "the docstring shows the update rule or what is measured"
    assert all(len(h.source) >= 4 for h in LISTED[id_].hypers)


@pytest.mark.parametrize("id_", METHODS)
def test_a_method_is_tested_by_name(id_: str) -> None:
    module = LISTED[id_].module
    assert any(f"from {module} import" in text for text in TESTS), f"no test imports {module}"


def test_every_citation_has_an_entry_and_every_entry_is_cited() -> None:
    keys = re.findall(r"@\w+\{(\w+),", BIB)
    assert len(keys) == len(set(keys))
    assert {each.cites for each in LISTED.values()} == set(keys)


@pytest.mark.parametrize("id_", METHODS)
def test_methods_leave_devices_seeds_and_printing_to_the_engine(id_: str) -> None:
    banned = re.compile(
        r"^(print|torch\.manual_seed|torch\.(rand|randn|randint|randperm)_?like|(np|numpy)\.random\.(?!default_rng|Generator).*"
        r"|random\..*|.*\.cuda)$"
    )
    found = [name for name in calls(METHODS[id_]) if banned.match(name)]
    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src/holdfast")))
def test_random_draws_name_their_generator(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    draws = {
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "bernoulli",
        "multinomial",
        "normal_",
        "uniform_",
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in draws
        ):
            owner = ast.unparse(node.func.value)
            if owner == "torch" or node.func.attr.endswith("_"):
                assert any(k.arg == "generator" for k in node.keywords), f"line {node.lineno}"


def test_help_and_list_do_not_import_torch() -> None:
    script = (
        "import sys; sys.argv = ['holdfast', 'list']\n"
        "from holdfast.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "evasion/pgd" in done.stdout


def test_nothing_in_the_repository_names_a_machine_path() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    for name in listed.stdout.split():
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".jinja", ""}
            and path.is_file()
        ):
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert "/".join(["", "work", ""]) not in text, name
