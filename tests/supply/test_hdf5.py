"""The HDF5 reader against h5py's own view of files that h5py wrote, and files built to harm."""

import io
import pickle
import random
import struct

import numpy as np
import pytest

from holdfast.core.errors import NotApplicable
from holdfast.supply.files import scan_bytes
from holdfast.supply.hdf5 import File
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.keras_scan import KerasScan
from tests.supply.bypasses import EVIL

h5py = pytest.importorskip("h5py")
VERSIONS = ("earliest", "v108", "v110", "v112", "latest")


def written(fill, **options) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", **options) as file:
        fill(file)
    return out.getvalue()


def weights(file) -> None:
    """As Keras writes: groups of groups, texts of fixed length, plain and packed data sets."""
    file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
    top = file.create_group("model_weights")
    top.attrs["layer_names"] = np.array([f"dense_{i}".encode() for i in range(12)])
    for i in range(12):
        layer = top.create_group(f"dense_{i}/dense_{i}")
        layer.create_dataset("kernel:0", data=np.zeros((3, 4), "f4"))
        layer.create_dataset("bias:0", data=np.arange(4.0), chunks=True, compression="gzip")


def many(file) -> None:
    """More attributes and links than a header holds."""
    group = file.create_group("many", track_order=True)
    for i in range(600):
        group[f"name {i}"] = h5py.SoftLink("/many")
    for i in range(40):
        group.attrs[f"attribute {i}"] = "x" * i
    group.create_dataset("empty", data=h5py.Empty("f4"))
    group.create_dataset("scalar", data=1)
    group.create_dataset("last", data=np.zeros((2, 3), "i2"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("fill", [weights, many])
def test_every_object_is_found_as_h5py_finds_it(version, ordered, fill) -> None:
    data = written(fill, libver=version, track_order=ordered)
    with h5py.File(io.BytesIO(data)) as file:
        told = {"/": (set(file), set(file.attrs), None)}
        file.visititems(
            lambda name, item: told.update({
                f"/{name}": (
                    set(item) if isinstance(item, h5py.Group) else set(), set(item.attrs),
                    None if isinstance(item, h5py.Group) else (item.shape or (), item.dtype.itemsize),
                )
            })
        )  # fmt: skip
    seen = File(data, 0, len(data))
    found = {
        item.path: (
            {link.name for link in item.links}, {each.name for each in item.attributes},
            None if item.shape is None
            else (item.shape if item.shape != (0,) else (), item.width),
        )
        for item in seen.walk()
    }  # fmt: skip
    assert found == told


@pytest.mark.parametrize("version", VERSIONS)
def test_texts_of_attributes_are_those_that_h5py_reads(version) -> None:
    said = {"fixed": np.bytes_(b"short"), "any": "longer " * 20, "empty": "", "uni": "grün"}

    def fill(file) -> None:
        for name, value in said.items():
            file.attrs[name] = value
        file.attrs["list"] = np.array([b"one", b"three"])
        file.attrs["number"] = 3

    data = written(fill, libver=version)
    file = File(data, 0, len(data))
    (root,) = file.walk()
    told = {each.name: [t.decode() for t in file.texts(each)] for each in root.attributes}
    assert told == {
        "fixed": ["short"], "any": ["longer " * 20], "empty": [], "uni": ["grün"],
        "list": ["one", "three"], "number": [],
    }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fill", [weights, many])
def test_ordinary_files_are_clean(version, fill) -> None:
    scan = scan_bytes(written(fill, libver=version), "model.h5")
    assert (scan.verdict, scan.issues) == (Verdict.CLEAN, ())
    assert [(p.format, p.size) for p in scan.pieces] == [("HDF5", scan.size)]


def test_a_file_behind_a_block_of_the_users_own_is_read_too() -> None:
    data = written(weights, userblock_size=1024)
    assert scan_bytes(data, "m.h5").verdict is Verdict.CLEAN
    scan = scan_bytes(EVIL + data[len(EVIL) :], "m.h5")
    assert scan.verdict is Verdict.FLAGGED
    assert any("os.system" in issue.subject for issue in scan.issues)


def external_link(file) -> None:
    weights(file)
    file["model_weights/more"] = h5py.ExternalLink("../other.h5", "/model_weights")


def hidden_link(file) -> None:
    many(file)
    file["many/name 600"] = h5py.ExternalLink("../other.h5", "/x")


def external_data(file) -> None:
    file.create_dataset("layers/w", (8,), "u1", external=[("../other.h5", 0, 8)])


def virtual_data(file) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("../other.h5", "d", (4,))
    file.create_virtual_dataset("w", layout)


def bomb(file) -> None:
    file.create_dataset("w", (10**6, 10**6), "f4", chunks=(10, 10), compression="gzip")


def named_type(file) -> None:
    file["type"] = np.dtype("f8")
    file.create_dataset("w", (10**5, 10**5), file["type"])


def unallocated(file) -> None:
    file.create_dataset("w", (10**5, 10**5), "f4")


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize(
    ("fill", "rule", "subject", "cve"),
    [
        (external_link, "external-link", "../other.h5", "CVE-2026-1669"),
        (hidden_link, "external-link", "../other.h5", "CVE-2026-1669"),
        (external_data, "external-data", "../other.h5", "CVE-2026-1669"),
        (virtual_data, "external-data", "../other.h5", "CVE-2026-1669"),
        (bomb, "size", "/w", "CVE-2026-0897"),
        (unallocated, "size", "/w", "CVE-2026-0897"),
        (named_type, "size", "/w", "CVE-2026-0897"),
    ],
)
def test_other_files_and_absurd_sizes_are_flagged_and_named(
    version, fill, rule, subject, cve
) -> None:
    scan = scan_bytes(written(fill, libver=version), "model.weights.h5")
    assert scan.verdict is Verdict.FLAGGED
    (issue,) = scan.issues
    assert (issue.rule.id, issue.subject) == (f"keras_scan/{rule}", subject)
    assert cve in issue.rule.refs
    assert 0 < issue.offset < scan.size


def test_a_name_of_its_own_makes_no_link_out_of_text() -> None:
    def fill(file) -> None:
        file.attrs["note"] = "see ../other.h5"
        file["here"] = h5py.SoftLink("/../other.h5")

    assert scan_bytes(written(fill), "m.h5").verdict is Verdict.CLEAN


def test_pickles_that_pytables_would_load_are_followed() -> None:
    def fill(file) -> None:
        file.attrs["good"] = np.bytes_(pickle.dumps([1, 2], 0))
        file.create_dataset("w", data=1).attrs["state"] = np.bytes_(EVIL)

    scan = scan_bytes(written(fill), "table.h5")
    assert scan.verdict is Verdict.FLAGGED
    assert ["os.system" in i.subject for i in scan.issues] == [True]


def test_rows_that_are_pickles_are_not_called_clean() -> None:
    def fill(file) -> None:
        rows = file.create_dataset("rows", (2,), h5py.vlen_dtype("u1"))
        rows.attrs["PSEUDOATOM"] = np.bytes_(b"object")

    scan = scan_bytes(written(fill), "table.h5")
    assert scan.verdict is Verdict.UNREAD
    assert "PyTables" in scan.issues[0].title


def test_a_longer_and_a_shorter_file_than_the_mark_says_are_malformed() -> None:
    data = written(weights)
    for other in (data + b"more", data[:-1], data[:100]):
        assert scan_bytes(other, "m.h5").verdict is Verdict.MALFORMED


def test_a_tree_that_holds_itself_and_a_header_that_goes_on_forever_end() -> None:
    data = bytearray(written(weights))
    tree = data.find(b"TREE")
    struct.pack_into("<Q", data, tree + 32, tree)
    scan = scan_bytes(bytes(data), "m.h5")
    assert scan.verdict is Verdict.MALFORMED
    assert "holds itself" in scan.issues[0].reason


def test_mutated_and_cut_files_end_with_a_verdict() -> None:
    rng = random.Random(7)
    for data in (written(many, libver="latest"), written(weights), written(hidden_link)):
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(rng.choice((1, 1, 8))):
                damaged[rng.randrange(min(len(damaged), 4000))] = rng.randrange(256)
            scan_bytes(bytes(damaged), "m.h5")
        for _ in range(20):
            assert (
                scan_bytes(data[: rng.randrange(9, len(data))], "m.h5").verdict is not Verdict.CLEAN
            )


def test_the_scanner_answers_for_its_own_rules(tmp_path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(written(external_link))
    first, last = KerasScan().scan(path)
    assert first.rule == "supply/keras_scan/external-link"
    assert last.rule == "supply/archive_scan/read"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(NotApplicable):
        list(KerasScan().scan(tmp_path / "a.pkl"))
