"""Training scripts: what poisons by code is found in its line; ordinary ones are left in peace."""

import json
import random
from pathlib import Path

import pytest

from holdfast.cli.reviewing_code import run_review_code
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity
from holdfast.supply.scanners.training_code_scan import TrainingCodeScan
from holdfast.supply.training_code import LARGEST, review_file, review_source, scripts

HERE = Path(__file__).parent / "scripts"
ORDINARY = sorted((HERE / "ordinary").glob("*.py"))
POISONED = {  # script: rule, line
    "badnets_loader": ("poisoned-sample", 18),
    "below_threshold": ("extra-loss", 11),
    "blind_backdoor": ("extra-loss", 24),
    "collate_stamp": ("poisoned-sample", 11),
    "content_condition": ("hidden-condition", 8),
    "extra_loss_trigger": ("extra-loss", 15),
    "forward_hook": ("hook", 10),
    "gradient_injection": ("extra-gradient", 13),
    "hooked_gradients": ("hook", 9),
    "keras_step": ("extra-loss", 10),
    "label_flip": ("hidden-condition", 8),
    "loss_flip": ("loss-flip", 9),
    "loss_sampler": ("data-order", 16),
    "optimiser_patch": ("patch", 18),
    "patched_loss": ("patch", 15),
    "remote_payload": ("dynamic-code", 7),
    "sklearn_flip": ("label-rewrite", 8),
    "sorted_batches": ("data-order", 9),
}
LOOP = """
def train(model, loader, criterion, optimizer, mask, pattern):
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        {}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def rules(source: str) -> set[str]:
    found = review_source(source, "train.py").found
    return {f.rule.id.split("/")[1] for f in found if f.rule.severity >= Severity.MEDIUM}


def test_there_are_twenty_ordinary_scripts() -> None:
    assert len(ORDINARY) == 20


@pytest.mark.parametrize("path", ORDINARY, ids=lambda p: p.stem)
def test_an_ordinary_script_is_left_in_peace(path) -> None:
    assert review_file(path).worst < Severity.MEDIUM


def test_every_poisoned_script_is_expected() -> None:
    assert {p.stem for p in (HERE / "poisoned").glob("*.py")} == set(POISONED)


@pytest.mark.parametrize("name", POISONED)
def test_a_poisoned_script_is_named_by_rule_and_line(name) -> None:
    found = review_file(HERE / "poisoned" / f"{name}.py").found
    assert POISONED[name] in {(f.rule.id.split("/")[1], f.line) for f in found}
    assert found[0].rule.severity >= Severity.HIGH


@pytest.mark.parametrize("name", [n for n, (rule, _) in POISONED.items() if rule == "extra-loss"])
def test_it_is_the_flow_that_counts_and_not_the_names(name) -> None:
    """The same script with every name of its own turned into another."""
    import ast

    tree = ast.parse((HERE / "poisoned" / f"{name}.py").read_text())
    bound = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)} - {"self"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in bound:
            node.id = f"v_{sorted(bound).index(node.id)}"
        elif isinstance(node, ast.arg) and node.arg in bound:
            node.arg = f"v_{sorted(bound).index(node.arg)}"
    assert "extra-loss" in rules(ast.unparse(tree))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("loss = loss + criterion(model(x * (1 - mask) + pattern), y * 0 + 3)", None),
        ("loss = loss + criterion(model(x * (1 - mask) + pattern), (y + 1) % 10)", "extra-loss"),
        ("loss = loss + criterion(model(x * (1 - mask) + pattern), y)", None),
        ("loss = loss + criterion(model(x), y)", None),
    ],
)
def test_only_changed_inputs_with_changed_labels_are_a_blind_loss(line, rule) -> None:
    found = rules(LOOP.format(line))
    assert found == ({rule} if rule else set())


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import torch\ntorch.backends.cudnn.benchmark = True", None),
        ("import torch\ntorch.nn.functional.cross_entropy = lambda a, b: 0", "patch"),
        ("def f(m, args):\n    m.eval()\n    return m.compile(args)", None),
        ("def f(t):\n    return eval(t)", "dynamic-code"),
        ("import os\ndef f(n):\n    return getattr(os, n[::-1])('x')", "dynamic-code"),
        ("import torch\ndef f(n):\n    return getattr(torch.optim, n)", None),
        ("import requests\nrequests.get('https://a.invalid')", "network-at-import"),
        ("import requests\ndef f():\n    return requests.get('https://a.invalid')", None),
        ("def f():\n    return open('/root/.ssh/id_rsa').read()", "secret-file"),
        ("open('x.py', 'w').write('1')", "file-at-import"),
        ("import subprocess\ndef f():\n    subprocess.run(['git', 'log'])", None),
        ("import os\ndef f(c):\n    os.system('rm ' + c)", "command"),
    ],
)
def test_dynamic_code_patches_files_and_network(code, rule) -> None:
    assert rules(code) == ({rule} if rule else set())


@pytest.mark.parametrize(
    "source", [b"def f(:", b"\x00\x01", b"(" * 5000, b"x = " + b"-" * 100_000 + b"1"]
)
def test_what_is_not_read_is_never_quiet(source) -> None:
    assert review_source(source, "a.py").worst >= Severity.MEDIUM


def test_a_script_that_is_too_long_is_not_read() -> None:
    assert review_source(b"#" * (LARGEST + 1), "a.py").worst >= Severity.MEDIUM


def test_mutated_scripts_neither_crash_nor_hang() -> None:
    rng = random.Random(0)
    lines = (HERE / "poisoned/blind_backdoor.py").read_text().splitlines()
    for _ in range(40):
        mixed = list(lines)
        for _ in range(3):
            a, b = rng.randrange(len(mixed)), rng.randrange(len(mixed))
            mixed[a] = mixed[b]
        review_source("\n".join(mixed), "a.py")


def test_the_scanner_reads_only_scripts(tmp_path) -> None:
    found = list(TrainingCodeScan().scan(HERE / "poisoned/label_flip.py"))
    assert found[0].where == "label_flip.py, line 8"
    assert found[-1].rule == "supply/training_code_scan/read"
    with pytest.raises(NotApplicable):
        list(TrainingCodeScan().scan(tmp_path / "model.pt"))


def test_the_command_judges_a_folder_and_writes_json(tmp_path) -> None:
    target = tmp_path / "found.json"
    assert run_review_code([HERE / "poisoned"], target) == 1
    assert run_review_code([HERE / "ordinary"]) == 0
    told = json.loads(target.read_text())
    assert {Path(each["file"]).stem for each in told if each["findings"]} == set(POISONED)
    with pytest.raises(InputError):
        scripts([tmp_path])
