"""Manifests against the tree of RFC 6962, and every way in which files can change."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cli.sealing import run_manifest
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity
from holdfast.core.run import Run
from holdfast.engine.scan import scan
from holdfast.supply import manifest
from holdfast.supply.manifest import build, check, load, parse
from holdfast.supply.merkle import leaf, tree
from holdfast.supply.scanners.tamper_check import TamperCheck

SMALL = 1024
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
          "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
ROOTS = [  # the vectors that implementations of Certificate Transparency share
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def by_recursion(leaves: list[bytes]) -> bytes:
    """The definition of the RFC, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while 2 * half < len(leaves):
        half *= 2
    both = by_recursion(leaves[:half]) + by_recursion(leaves[half:])
    return hashlib.sha256(b"\x01" + both).digest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of a model with three shards of several chunks."""
    folder = tmp_path / "model"
    (folder / "shards").mkdir(parents=True)
    for number in range(3):
        content = bytes([number]) * (5 * SMALL + 100 + number)
        (folder / "shards" / f"{number}.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    return folder


def kinds(folder: Path, known: manifest.Manifest) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(c.kind, c.path, c.chunks) for c in check(folder, known).changes]


@pytest.mark.parametrize("count", range(1, 9))
def test_the_tree_has_the_published_roots(count: int) -> None:
    leaves = [leaf(bytes.fromhex(each)) for each in LEAVES[:count]]
    assert tree(leaves).hex() == ROOTS[count - 1]


@given(st.integers(0, 40))
@settings(max_examples=41, deadline=None)
def test_the_tree_is_the_recursion_of_the_standard(count: int) -> None:
    leaves = [leaf(bytes([number])) for number in range(count)]
    assert tree(leaves) == by_recursion(leaves)


def test_a_leaf_is_never_a_node() -> None:
    one, two = leaf(b"a"), leaf(b"b")
    assert tree([one, two]) != leaf(one + two)
    assert tree([]) == hashlib.sha256().digest() != leaf(b"")


def test_unchanged_files_hold_and_the_text_is_always_the_same(model: Path, tmp_path: Path) -> None:
    known = build(model, chunk=SMALL)
    assert check(model, known).changes == ()
    assert check(model, known).files == 5
    other = tmp_path / "elsewhere"
    (other / "shards").mkdir(parents=True)
    for path in sorted(model.rglob("*"), reverse=True):  # made in another order
        if path.is_file():
            (other / path.relative_to(model)).write_bytes(path.read_bytes())
    assert build(other, chunk=SMALL).text() == known.text()
    assert parse(known.text()) == known


@pytest.mark.parametrize("at", [0, SMALL - 1, SMALL, 3 * SMALL + 7, 5 * SMALL, 5 * SMALL + 100])
def test_one_changed_byte_names_the_shard_and_the_chunk(model: Path, at: int) -> None:
    known = build(model, chunk=SMALL)
    shard = model / "shards" / "1.safetensors"
    content = bytearray(shard.read_bytes())
    content[at] ^= 1
    shard.write_bytes(content)
    (change,) = check(model, known).changes
    assert (change.kind, change.path) == ("changed", "shards/1.safetensors")
    assert change.chunks == (at // SMALL,)
    assert change.offset <= at < change.offset + SMALL


def test_added_removed_and_renamed_files_are_named(model: Path) -> None:
    known = build(model, chunk=SMALL)
    (model / "new.py").write_text("pass")
    (model / "config.json").unlink()
    (model / "shards" / "0.safetensors").rename(model / "shards" / "9.safetensors")
    assert kinds(model, known) == [
        ("removed", "config.json", ()), ("added", "new.py", ()),
        ("renamed", "shards/9.safetensors", ()),
    ]  # fmt: skip
    assert check(model, known).changes[2].was == "shards/0.safetensors"


def test_two_files_that_change_places_are_both_changed(model: Path) -> None:
    known = build(model, chunk=SMALL)
    one, two = model / "shards" / "0.safetensors", model / "shards" / "1.safetensors"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert [(k, p) for k, p, _ in kinds(model, known)] == [
        ("changed", "shards/0.safetensors"), ("changed", "shards/1.safetensors"),
    ]  # fmt: skip


def test_a_cut_and_a_longer_file_name_their_last_chunks(model: Path) -> None:
    known = build(model, chunk=SMALL)
    shard = model / "shards" / "2.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[: 4 * SMALL])
    assert kinds(model, known) == [("changed", "shards/2.safetensors", (4, 5))]
    shard.write_bytes(content + b"x" * SMALL)
    assert kinds(model, known) == [("changed", "shards/2.safetensors", (5, 6))]


def test_a_link_counts_as_what_a_loader_reads_and_a_linked_folder_is_refused(model: Path) -> None:
    known = build(model, chunk=SMALL)
    moved = model.parent / "blob"
    (model / "config.json").rename(moved)
    (model / "config.json").symlink_to(moved)
    assert check(model, known).changes == ()
    (model / "more").symlink_to(model / "shards")
    assert [(c.kind, c.path) for c in check(model, known).changes] == [("added", "more")]
    with pytest.raises(InputError, match="a link to a folder"):
        build(model)
    (model / "more").unlink()
    os.mkfifo(model / "pipe")
    assert "a pipe" in str(check(model, known).changes[0])


def test_a_file_keeps_its_chunks_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(3 * SMALL))
    known = build(path, chunk=SMALL)
    path = path.rename(tmp_path / "b.bin")
    assert kinds(path, known) == [("renamed", "b.bin", ())]
    path.write_bytes(bytes(2 * SMALL) + b"x" + bytes(SMALL - 1))
    assert kinds(path, known) == [("changed", "b.bin", (2,)), ("renamed", "b.bin", ())]


EDITS = {
    "another root": lambda n: n.update(root="0" * 64),
    "another root of a file": lambda n: n["files"][0].update(root="0" * 64),
    "another chunk": lambda n: n["files"][0]["chunks"].__setitem__(0, "0" * 64),
    "another size": lambda n: n["files"][0].update(size=n["files"][0]["size"] + 1),
    "a file left out": lambda n: n["files"].pop(),
    "a file twice": lambda n: n["files"].append(n["files"][-1]),
    "another order": lambda n: n["files"].reverse(),
    "a path upwards": lambda n: n["files"][0].update(path="../config.json"),
    "an absolute path": lambda n: n["files"][0].update(path="/config.json"),
    "a number for a path": lambda n: n["files"][0].update(path=1),
    "another format": lambda n: n.update(format="holdfast-manifest/2"),
    "no chunk size": lambda n: n.pop("chunk"),
    "chunks of no size": lambda n: n.update(chunk=0),
    "a truth for a size": lambda n: n["files"][0].update(size=True),
    "files that are none": lambda n: n.update(files="abc"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_manifest_is_refused(model: Path, edit) -> None:
    node = json.loads(build(model, chunk=SMALL).text())
    edit(node)
    with pytest.raises(InputError, match="no manifest that can be trusted"):
        parse(json.dumps(node))


def test_a_broken_or_missing_manifest_is_an_error_in_one_line(tmp_path: Path) -> None:
    for text in ("", "[]", "null", "{", '{"format": 1, "format": 2}', "[" * 100_000):
        with pytest.raises(InputError, match="no manifest"):
            parse(text)
    with pytest.raises(InputError, match="no manifest"):
        load(tmp_path / "none.json")
    (tmp_path / "odd.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no manifest"):
        load(tmp_path / "odd.json")


def test_the_root_stands_for_names_sizes_contents_and_the_chunk_size(model: Path) -> None:
    roots = {build(model, chunk=SMALL).root, build(model, chunk=2 * SMALL).root}
    (model / "config.json").rename(model / "config2.json")
    roots.add(build(model, chunk=SMALL).root)
    (model / "config2.json").write_text("[]")
    roots.add(build(model, chunk=SMALL).root)
    assert len(roots) == 4


def test_progress_ends_at_the_bytes_of_all_files(model: Path) -> None:
    told: list[tuple[int, int]] = []
    build(model, chunk=SMALL, told=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == sum(p.stat().st_size for p in model.rglob("*.*"))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_hashing_is_not_slower_than_a_gigabyte_in_five_seconds(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(2**20) * 64)
    known = build(path)
    began = time.process_time()  # other work on the machine does not count
    assert check(path, known).changes == ()
    seconds = time.process_time() - began
    assert seconds / path.stat().st_size * 1e9 < 5


def test_the_scanner_names_the_byte_and_needs_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(4 * SMALL))
    with pytest.raises(NotApplicable, match=r"model\.bin\.manifest\.json"):
        scan(TamperCheck(), path, Run())
    known = build(path, chunk=SMALL)
    manifest.beside(path).write_text(known.text())
    (fine,) = scan(TamperCheck(), path, Run())
    assert fine.severity == Severity.INFO
    path.write_bytes(bytes(2 * SMALL) + b"x" + bytes(2 * SMALL - 1))
    bad, last = scan(TamperCheck(), path, Run())
    assert bad.severity == Severity.CRITICAL
    assert bad.rule == "supply/tamper_check/changed"
    assert bad.where == "model.bin, byte 2,048"
    assert {m.name: m.value for m in last.evidence} == {"parts read": 1, "bytes read": 4 * SMALL}


def test_a_manifest_that_was_made_anew_is_caught_by_the_published_root(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"true")
    root = build(path).root.hex()
    path.write_bytes(b"false")
    manifest.beside(path).write_text(build(path).text())
    assert len(scan(TamperCheck(), path, Run())) == 1
    found = scan(TamperCheck(root=root), path, Run())
    assert found[0].rule == "supply/tamper_check/root"


def test_the_command_ends_with_zero_or_one(model: Path, capsys) -> None:
    assert run_manifest(model, False, None, "", SMALL) == 0
    root = capsys.readouterr().out.split()[-1]
    assert run_manifest(model, True, None, root, SMALL) == 0
    assert run_manifest(model, True, None, "0" * 64, SMALL) == 1
    (model / "shards" / "0.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert run_manifest(model, True, None, "", SMALL) == 1
    assert "changed shards/0.safetensors" in capsys.readouterr().out


def test_a_manifest_within_the_folder_does_not_list_itself(model: Path) -> None:
    inside = model / "manifest.json"
    assert run_manifest(model, False, inside, "", SMALL) == 0
    assert run_manifest(model, True, inside, "", SMALL) == 0
    assert "manifest.json" not in [entry.path for entry in load(inside).files]
