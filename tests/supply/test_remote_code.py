"""Configurations and texts: what would import code, and what is ordinary."""

import json
import random

import pytest

from holdfast.core.errors import NotApplicable
from holdfast.supply.files import scan_bytes
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.remote_code import RemoteCode
from tests.supply.bypasses import EVIL

BAD = {
    "auto_map": ("config.json", {"auto_map": {"AutoModel": "modeling_x.XModel"}}, "modeling_x.XModel"),
    "auto_map elsewhere": (
        "config.json", {"auto_map": {"AutoModel": "who/else--modeling_x.XModel"}}, "who/else"),
    "tokenizer list": (
        "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.T", None]}}, "tok.T"),
    "trust": ("config.json", {"text_config": {"trust_remote_code": True}}, "trust_remote_code"),
    "peft": (
        "adapter_config.json",
        {"auto_mapping": {"base_model_class": "M", "parent_library": "evil_pkg.models"}},
        "evil_pkg.models"),
    "custom pipelines": (
        "config.json", {"custom_pipelines": {"x": {"impl": "pipe.MyPipeline"}}}, "pipe.MyPipeline"),
    "hydra": ("conf.json", {"model": {"_target_": "os.system", "command": "true"}}, "os.system"),
    "hydra unknown": ("conf.json", {"m": [{"_target_": "my_package.build"}]}, "my_package.build"),
    "hydra walk": ("conf.json", {"_target_": "torch.nn.modules.os.system"}, "os.system"),
    "hydra private": ("conf.json", {"_target_": "torch.nn._os.System"}, "_os.System"),
    "jsonpickle": ("m.json", {"py/object": "subprocess.Popen", "args": ["true"]}, "subprocess.Popen"),
    "sentence": (
        "modules.json", [{"idx": 0, "type": "custom_module.Evil"}], "custom_module.Evil"),
    "diffusers": ("model_index.json", {"unet": ["my_local_module", "UNet"]}, "my_local_module"),
}  # fmt: skip
GOOD = {
    "bert": ("config.json", {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8}),
    "peft": (
        "adapter_config.json",
        {"auto_mapping": {"base_model_class": "BertModel", "parent_library": "transformers.models"}}),
    "peft none": ("adapter_config.json", {"auto_mapping": None, "peft_type": "LORA"}),
    "trust off": ("config.json", {"trust_remote_code": False}),
    "hydra": ("conf.json", {"_target_": "torch.nn.Linear", "in_features": 3}),
    "nemo": ("conf.json", {"_target_": "nemo.collections.asr.models.EncDecCTCModel"}),
    "sentence": (
        "modules.json", [{"idx": 0, "type": "sentence_transformers.models.Transformer"}]),
    "diffusers": (
        "model_index.json",
        {"_class_name": "X", "unet": ["diffusers", "UNet2DConditionModel"], "safety": [None, None]}),
    "index": ("model.safetensors.index.json", {"weight_map": {"a": "model-1.safetensors"}}),
    "tokens": ("vocab.json", {f"t{i}": i for i in range(2000)}),
}  # fmt: skip


@pytest.mark.parametrize(("file", "document", "told"), BAD.values(), ids=BAD)
def test_a_configuration_that_imports_code_is_flagged_and_named(file, document, told) -> None:
    scan = scan_bytes(json.dumps(document).encode(), file)
    assert scan.verdict is Verdict.FLAGGED
    assert any(told in issue.title for issue in scan.issues)


@pytest.mark.parametrize(("file", "document"), GOOD.values(), ids=GOOD)
def test_an_ordinary_configuration_is_clean(file, document) -> None:
    scan = scan_bytes(json.dumps(document, indent=2).encode(), file)
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert scan.pieces[0].format in ("json", "safetensors index")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: !!python/object/apply:os.system ['true']", "os.system"),
        ("%TAG ! tag:yaml.org,2002:python/\n---\na: 1\n", "python/"),
        ("model:\n  _target_: builtins.eval\n  args: ['1+1']\n", "builtins.eval"),
        ("defaults: &a\n  _target_: pkg.mod.make\nother: *a\n", "pkg.mod.make"),
        ("tokenizer:\n  trust_remote_code: true\n", "trust_remote_code"),
    ],
)
def test_yaml_that_builds_objects_is_flagged(content, told) -> None:
    scan = scan_bytes(content.encode(), "conf.yaml")
    assert scan.verdict is Verdict.FLAGGED
    assert any(told in issue.title for issue in scan.issues)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("conf.yaml", "trainer:\n  max_epochs: 3\nmodel:\n  _target_: torch.optim.Adam\n"),
        ("README.md", "# A model\n\nCall `model.generate()`; see https://example.invalid.\n"),
        ("LICENSE", "Permission is granted, free of charge ..."),
        ("merges.txt", "#version: 0.2\n\u0120 t\n\u0120 a\nh e\n"),
        ("vocab.txt", "[PAD]\n[UNK]\ncat\nsat\n(\n)\n.\n"),
        ("labels.csv", "id,label\n1,cat\n2,dog\n"),
        ("env.yml", "name: x\ndependencies:\n  - python=3.11\n"),
        ("letter.txt", "copy this.\nIt is a letter.\n"),
    ],
)
def test_ordinary_text_is_clean(file, content) -> None:
    scan = scan_bytes(content.encode(), file)
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert scan.pieces[0].format == "text"


def test_text_that_a_pickle_machine_would_run_is_a_pickle() -> None:
    for content in (b"cos\nsystem\n(S'true'\ntR.", EVIL, b"(S'true'\nios\nsystem\n."):
        for file in ("notes.txt", "config.json", "README"):
            scan = scan_bytes(content, file)
            assert scan.verdict is Verdict.FLAGGED
            assert any("os.system" in issue.title for issue in scan.issues)
    hidden = b"U\x28" + b"a" * 39 + b"\xc2" + b"."  # a string that ends within a letter
    assert scan_bytes(hidden, "a.txt").verdict is not Verdict.FLAGGED


def test_a_key_given_twice_and_broken_json_are_malformed() -> None:
    assert scan_bytes(b'{"a": 1, "a": 2}', "config.json").verdict is Verdict.MALFORMED
    assert scan_bytes(b'{"a": 1', "config.json").verdict is Verdict.MALFORMED
    assert scan_bytes(b"[" * 100_000, "config.json").verdict is not Verdict.CLEAN


def test_an_alias_bomb_ends_soon() -> None:
    lines = ["a0: &a0 [x, x]"] + [
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 60)
    ]
    assert scan_bytes("\n".join(lines).encode(), "bomb.yaml").verdict is Verdict.CLEAN


def test_a_program_is_not_analysed() -> None:
    for file, content in (("setup.sh", "echo hello\n"), ("run", "#!/bin/sh\ntrue\n")):
        assert scan_bytes(content.encode(), file).verdict is Verdict.UNREAD


def test_mutated_configurations_never_break_the_reader() -> None:
    rng = random.Random(0)
    whole = json.dumps(BAD["hydra"][1]).encode()
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        for file in ("c.json", "c.yaml", "c.txt"):
            scan_bytes(bytes(content), file)


def test_the_scanner_answers_for_its_own_rules_only(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BAD["auto_map"][1]))
    found = list(RemoteCode().scan(tmp_path / "config.json"))
    assert [f.rule for f in found] == ["supply/remote_code/auto-map", "supply/archive_scan/read"]
    (tmp_path / "m.pkl").write_bytes(EVIL)
    with pytest.raises(NotApplicable):
        list(RemoteCode().scan(tmp_path / "m.pkl"))


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("MLmodel", "flavors:\n  python_function:\n    loader_module: my_code.loader\n", "my_code"),
        ("MLmodel", "flavors:\n  python_function:\n    code: my_code_folder\n", "my_code_folder"),
        ("configuration.json", '{"plugins": ["evil_plugin"]}', "evil_plugin"),
        ("configuration.json", '{"task": "x", "allow_remote": true}', "True"),
    ],
)  # fmt: skip
def test_code_that_lies_beside_a_model_is_flagged(file, content, told) -> None:
    scan = scan_bytes(content.encode(), file)
    assert scan.verdict is Verdict.FLAGGED
    assert any(told in issue.title for issue in scan.issues)


def test_ordinary_mlflow_and_modelscope_files_are_clean_and_pointers_are_not_analysed() -> None:
    fine = (
        "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: m.pkl\n"
    )
    assert scan_bytes(fine.encode(), "MLmodel").verdict is Verdict.CLEAN
    assert (
        scan_bytes(b'{"task": "x", "plugins": []}', "configuration.json").verdict is Verdict.CLEAN
    )
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    assert scan_bytes(pointer, "model.bin").verdict is Verdict.UNREAD
