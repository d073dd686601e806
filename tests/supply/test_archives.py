"""Archives that lie: each trick with an inert payload, ordinary archives, and mutated ones."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import struct
import tarfile
import time
import zipfile
import zlib

import numpy as np
import pytest
import torch

from holdfast.core.errors import NotApplicable
from holdfast.supply.archives import leaves
from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.archive_scan import ArchiveScan
from tests.supply.bypasses import EVIL, P2, name, pickled, u, zipped

GOOD = pickle.dumps({"a": [1, 2]})
PLAIN = zipped({"a.pkl": GOOD, "b.txt": b"words"})


def scanned(content: bytes, file: str = "m.zip") -> Scan:
    return scan_bytes(content, file)


def told(scan: Scan) -> str:
    return " | ".join(f"{i.rule.id} {i.title} {i.reason} {i.subject}" for i in scan.issues)


def patched(content: bytes, mark: bytes, at: int, new: bytes, last: bool = False) -> bytes:
    """The archive with bytes written over `at` bytes behind a mark."""
    place = (content.rfind(mark) if last else content.find(mark)) + at
    return content[:place] + new + content[place + len(new) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def renamed(old: bytes, new: bytes, times: int = 2) -> bytes:
    """PLAIN with another name of the same length, in both headers or in the first only."""
    return PLAIN.replace(old, new, times)


def linked(target: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.pkl", GOOD)
        info = zipfile.ZipInfo("link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return out.getvalue()


def unlisted(content: bytes) -> bytes:
    """PLAIN with another member between its members and its directory."""
    extra = zipped({"hidden": content})
    extra = extra[: extra.find(CENTRAL)]
    at = PLAIN.find(CENTRAL)
    return patched(PLAIN[:at] + extra + PLAIN[at:], END, 16, struct.pack("<I", at + len(extra)))


def doubled(content: bytes = EVIL) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.pkl", GOOD)
        archive.writestr("b.pkl", content)
    return out.getvalue().replace(b"b.pkl", b"a.pkl")


def overlapping(count: int = 2) -> bytes:
    """Entries of a directory that all have the same bytes."""
    first = zipped({"a.pkl": GOOD})
    at = first.find(CENTRAL)
    entry = first[at : first.find(END)]
    end = struct.pack("<4sHHHHIIH", END, 0, 0, count, count, len(entry) * count, at, 0)
    return first[:at] + entry * count + end


ZIPS = {
    "up and out": (zipped({"../../a.pkl": GOOD}), Verdict.FLAGGED, "archive_scan/path"),
    "absolute": (zipped({"/etc/a.pkl": GOOD}), Verdict.FLAGGED, "archive_scan/path"),
    "a drive": (zipped({"C:\\a.pkl": GOOD}), Verdict.FLAGGED, "archive_scan/path"),
    "backslashes": (zipped({"x\\..\\..\\a.pkl": GOOD}), Verdict.FLAGGED, "archive_scan/path"),
    "a folder outside": (zipped({"../x/": b"", "a.pkl": GOOD}), Verdict.FLAGGED, "archive_scan/path"),
    "a NUL": (renamed(b"b.txt", b"b\0txt"), Verdict.MALFORMED, "a name that readers cut"),
    "another local name": (renamed(b"a.pkl", b"a.txt", 1), Verdict.MALFORMED, "another name"),
    "a link outside": (linked("/etc/passwd"), Verdict.FLAGGED, "a link to /etc/passwd"),
    "a link up": (linked("../a.pkl"), Verdict.FLAGGED, "a link to ../a.pkl"),
    "marked as encrypted": (patched(PLAIN, CENTRAL, 8, b"\1\0"), Verdict.MALFORMED, "encrypted"),
    "a wrong checksum": (PLAIN.replace(b"words", b"swords"[1:][::-1]), Verdict.MALFORMED, "checksum"),
    "another method": (patched(PLAIN, LOCAL, 8, b"\x08\0"), Verdict.MALFORMED, "packed otherwise"),
    "an unread method": (
        patched(patched(PLAIN, LOCAL, 8, b"\x5d\0"), CENTRAL, 10, b"\x5d\0"),
        Verdict.UNREAD, "method 93",
    ),
    "another local size": (patched(PLAIN, LOCAL, 18, b"\1"), Verdict.MALFORMED, "another size"),
    "a prefix": (b"#!words\n" + PLAIN, Verdict.MALFORMED, "before the first member"),
    "a tail": (PLAIN + b"some words", Verdict.MALFORMED, "behind the end"),
    "a comment that is none": (
        patched(PLAIN, END, 20, b"\4\0") + b"\0\1\2\3", Verdict.MALFORMED, "comment is no text",
    ),
    "a cut comment": (patched(PLAIN, END, 20, b"\x09\0"), Verdict.MALFORMED, "comment is cut"),
    "a wrong count": (patched(PLAIN, END, 10, b"\1\0"), Verdict.MALFORMED, "another number"),
    "members that share bytes": (overlapping(), Verdict.MALFORMED, "shares bytes"),
    "no directory": (PLAIN[: PLAIN.find(CENTRAL)], Verdict.MALFORMED, "without its directory"),
    "a cut member": (patched(PLAIN, CENTRAL, 42, b"\xff\xff"), Verdict.MALFORMED, "no header"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "verdict", "word"), ZIPS.values(), ids=ZIPS.keys())
def test_a_zip_archive_that_lies_is_never_clean(content, verdict, word) -> None:
    scan = scanned(content)
    assert scan.verdict is verdict
    assert word in told(scan)


HIDES = {
    "a member that no directory lists": unlisted(EVIL),
    "a member without a directory": zipped({"a.pkl": GOOD, "b": EVIL})[:-60],
    "a doubled name": doubled(),
    "marked as encrypted": patched(zipped({"a/data.pkl": EVIL}), CENTRAL, 8, b"\1\0"),
    "a wrong checksum": patched(zipped({"a/data.pkl": EVIL}), CENTRAL, 16, b"\1\2\3\4"),
    "a wrong size": patched(zipped({"a.pkl": EVIL}, 8), CENTRAL, 24, b"\1\0\0\0"),
    "packed by bz2": zipped({"a.pkl": EVIL}, zipfile.ZIP_BZIP2),
    "packed by lzma": zipped({"a.pkl": EVIL}, zipfile.ZIP_LZMA),
    "a prefix": EVIL + PLAIN,
    "a tail": PLAIN + EVIL,
    "a zip in a zip": zipped({"x": zipped({"y": zipped({"z": EVIL})})}),
    "a folder that holds bytes": zipped({"a.pkl/": EVIL, "b.pkl": GOOD}),
    "a tar in a gzip in a zip": zipped({"x": gzip.compress(b"")[:0] + gzip.compress(EVIL)}),
    "a mar archive": zipped({"MAR-INF/MANIFEST.json": b"{}", "w.bin": EVIL}),
    "an npz": zipped({"a.npy": b"\x93NUMPY\1\0\x46\0" + b"{'descr': '|O', 'fortran_order': False, "
                      b"'shape': (1,)}".ljust(69) + b"\n" + EVIL}),
}  # fmt: skip


@pytest.mark.parametrize("content", HIDES.values(), ids=HIDES.keys())
def test_what_a_zip_archive_hides_is_read_all_the_same(content) -> None:
    scan = scanned(content, "m.dat")
    assert scan.verdict is Verdict.FLAGGED
    assert "os.system" in told(scan)


def test_bombs_are_refused_before_they_are_large() -> None:
    start = time.perf_counter()
    bomb = zipped({"a": bytes(2**27)}, zipfile.ZIP_DEFLATED)
    assert "unpacks to more" in told(scanned(bomb))
    assert scanned(gzip.compress(bytes(2**27))).verdict is Verdict.UNREAD
    scan = scanned(overlapping(60_000))
    assert scan.verdict is Verdict.UNREAD
    assert "many times" in told(scan)
    assert time.perf_counter() - start < 5


def streamed() -> bytes:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pkl", GOOD)
        archive.writestr("b.pkl", GOOD, zipfile.ZIP_STORED)
    return out.getvalue()


def wide() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a.pkl", "w", force_zip64=True) as file:
        file.write(GOOD)
    return out.getvalue()


def commented() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.pkl", GOOD)
        archive.writestr("folder/na\u00efve.pkl", GOOD)
        archive.comment = b"made by hand\r\n"
    return out.getvalue()


def saved(thing: object) -> bytes:
    out = io.BytesIO()
    torch.save(thing, out)
    return out.getvalue()


def arrays() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, a=np.arange(4.0), b=np.eye(2))
    return out.getvalue()


BENIGN = {
    "plain": PLAIN, "streamed, with descriptors": streamed(), "64 bits": wide(),
    "folders, names and a comment": commented(), "a link within": linked("a.pkl"),
    "torch": saved({"w": torch.zeros(3)}), "npz": arrays(), "bz2": zipped({"a": GOOD}, 12),
    "lzma": zipped({"a": GOOD * 50}, 14),
    "nested": zipped({"x.zip": PLAIN, "y.gz": gzip.compress(GOOD)}),
    "xz": lzma.compress(GOOD), "bzip2": bz2.compress(GOOD), "zlib": zlib.compress(GOOD),
    "appended to": zipped({"a.pkl": GOOD, "sub/": b"", "sub/b.pkl": GOOD}, 8),
}  # fmt: skip


@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN.keys())
def test_ordinary_archives_are_clean(content) -> None:
    scan = scanned(content)
    assert (scan.verdict, told(scan)) == (Verdict.CLEAN, "")


Entry = tuple[str, bytes, dict[str, object]]


def tarred(*entries: Entry, form: int = tarfile.PAX_FORMAT, pax: dict | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=pax) as archive:
        for member, content, more in entries:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


A = ("a.pkl", GOOD, {})
LONG = "d/" * 120 + "a.pkl"
TARS = {
    "up and out": (tarred(("../a.pkl", GOOD, {})), "archive_scan/path"),
    "absolute": (tarred(("/a.pkl", GOOD, {})), "archive_scan/path"),
    "a link outside": (tarred(A, ("l", b"", {"type": b"2", "linkname": "/etc/passwd"})), "a link to"),
    "a link up": (tarred(A, ("d/l", b"", {"type": b"2", "linkname": "../../a.pkl"})), "a link to"),
    "a hard link": (tarred(A, ("l", b"", {"type": b"1", "linkname": "../a.pkl"})), "a link to"),
    "a device": (tarred(A, ("l", b"", {"type": b"3"})), "a device"),
    "a pipe": (tarred(A, ("l", b"", {"type": b"6"})), "a named pipe"),
    "an unknown kind": (tarred(A, ("l", b"", {"type": b"Z"})), "kind that is not read"),
    "a long name outside": (tarred(("x/" * 60 + "../" * 70 + "a", GOOD, {}), form=tarfile.GNU_FORMAT),
                            "archive_scan/path"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "word"), TARS.values(), ids=TARS.keys())
def test_a_tar_archive_that_reaches_out_is_flagged(content, word) -> None:
    scan = scanned(content, "m.tar")
    assert scan.verdict is Verdict.FLAGGED
    assert word in told(scan)


ODD = {
    "a size in two places": (tarred(("a.pkl", GOOD, {"pax_headers": {"size": "9"}})), "moves the next"),
    "a name for all": (tarred(A, pax={"path": "b.pkl"}), "speaks of all members"),
    "a doubled name": (tarred(A, A), "the name of another"),
    "a wrong checksum": (tarred(A, A).replace(b"a.pkl", b"b.pkl", 1), "wrong checksum"),
    "a tail": (tarred(A) + b"words", "behind the end"),
    "a cut member": (tarred(("a.pkl", bytes(4000), {}))[:1024], "longer than the archive"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "word"), ODD.values(), ids=ODD.keys())
def test_a_tar_archive_that_readers_take_differently_is_not_clean(content, word) -> None:
    scan = scanned(content, "m.tar")
    assert scan.verdict is Verdict.MALFORMED
    assert word in told(scan)


def oldest() -> bytes:
    """An archive of the time before there was a mark."""
    content = bytearray(tarred(("a", EVIL, {}), form=tarfile.USTAR_FORMAT))
    content[257:265] = bytes(8)
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    with tarfile.open(fileobj=io.BytesIO(bytes(content))) as archive:
        assert archive.getnames() == ["a"]
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        tarred(A, ("b", EVIL, {})), tarred((LONG, EVIL, {})), gzip.compress(tarred(("a", EVIL, {}))),
        tarred((LONG, EVIL, {}), form=tarfile.GNU_FORMAT), tarred(A) + tarred(("b", EVIL, {})),
        oldest(),
        tarred(("a", zipped({"b": EVIL}), {})), tarred(A, ("l/", EVIL, {"type": b"0"})),
    ],
)  # fmt: skip
def test_what_a_tar_archive_hides_is_read(content) -> None:
    scan = scanned(content, "m.dat")
    assert "os.system" in told(scan)
    assert scan.verdict is Verdict.FLAGGED


CONFIG = b"model:\n  _target_: nemo.collections.asr.models.EncDecCTCModel\n"


@pytest.mark.parametrize(
    "content",
    [
        tarred(A), tarred((LONG, GOOD, {})), tarred((LONG, GOOD, {}), form=tarfile.GNU_FORMAT),
        tarred(A, form=tarfile.USTAR_FORMAT), gzip.compress(tarred(A)),
        tarred(("d", b"", {"type": b"5"}), ("d/a.pkl", GOOD, {}),
               ("l", b"", {"type": b"2", "linkname": "d/a.pkl"}),
               ("d/k", b"", {"type": b"2", "linkname": "../d/./a.pkl"}),
               ("h", b"", {"type": b"1", "linkname": "d/a.pkl"})),
        tarred(("./model_config.yaml", CONFIG, {}), ("./model_weights.ckpt", saved({}), {})),
    ],
)  # fmt: skip
def test_ordinary_tar_archives_are_clean(content) -> None:
    scan = scanned(content, "m.tar")
    assert (scan.verdict, told(scan)) == (Verdict.CLEAN, "")


def test_a_nemo_archive_that_names_code_is_flagged() -> None:
    config = CONFIG.replace(b"nemo.collections.asr.models.EncDecCTCModel", b"os.system")
    assert scanned(tarred(("model_config.yaml", config, {})), "m.nemo").verdict is Verdict.FLAGGED


def first_torch(payload: bytes = b"N.", count: int = 3) -> bytes:
    """Torch's first format, by hand: one storage of floats, one tensor, and an object."""
    kind = name("torch", "FloatStorage")
    storages = pickle.dumps(1, 2) + pickled(b"(K\x00", u("cpu"), kind, b"t")
    storages += struct.pack("<q", count) + bytes(12) + pickle.dumps([], 2)
    tensors = pickle.dumps(1, 2) + pickled(b"(K\x01K\x00", name("torch", "FloatTensor"), b"t")
    tensors += struct.pack("<iiqqq", 1, 0, 3, 1, 0)
    return tarred(
        ("storages", storages, {}), ("tensors", tensors, {}), ("pickle", P2 + payload, {})
    )


def test_torchs_first_format_is_read_pickle_by_pickle() -> None:
    scan = scanned(first_torch(), "m.pt")
    assert (scan.verdict, told(scan)) == (Verdict.CLEAN, "")
    assert sum(piece.format == "pickle" for piece in scan.pieces) == 6
    assert scanned(first_torch(EVIL[2:]), "m.pt").verdict is Verdict.FLAGGED
    assert scanned(first_torch(count=2**60), "m.pt").verdict is Verdict.MALFORMED


def test_paths_that_leave_and_paths_that_stay() -> None:
    out = ("../a", "/a", "a/../../b", "C:/a", "C:\\a", "\\\\host\\a", "a\\..\\b", "..")
    assert all(map(leaves, out))
    assert not any(map(leaves, ("a/b", "a..b/c", "a/...", "a", "a:b", "./a", "")))


def test_large_numbers_are_checked_at_three_hundred_megabytes_a_second() -> None:
    content = zipped({"a/data.pkl": GOOD, "a/data/0": bytes(2**26)})
    start = time.perf_counter()
    assert scanned(content, "m.pt").verdict is Verdict.CLEAN
    assert len(content) / (time.perf_counter() - start) > 1e8  # other work shares this processor
    wrong = patched(content, CENTRAL, 16, b"\1\2\3\4", last=True)
    assert "checksum" in told(scanned(wrong, "m.pt"))


SAMPLES = [PLAIN, unlisted(EVIL), streamed(), wide(), tarred(A, (LONG, EVIL, {})), first_torch(),
           zipped({"a.pkl": GOOD}, 14)]  # fmt: skip


@pytest.mark.parametrize("which", range(len(SAMPLES)))
def test_mutated_archives_neither_crash_nor_hang(which) -> None:
    rng, start = random.Random(which), time.perf_counter()
    content = SAMPLES[which]
    for cut in range(0, len(content), max(1, len(content) // 100)):
        json.dumps(told(scanned(content[:cut])))
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(changed))
            changed[at : at + 1] = rng.choice(
                (b"", b"\xff", b"\0", bytes([rng.randrange(256)]) * 2)
            )
        scanned(bytes(changed))
    assert time.perf_counter() - start < 20


def test_the_scanner_answers_for_archives_only(tmp_path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(zipped({"../a.pkl": EVIL}))
    rules = [finding.rule for finding in ArchiveScan().scan(path)]
    assert rules == ["supply/archive_scan/path", "supply/archive_scan/read"]
    path.write_bytes(GOOD)
    with pytest.raises(NotApplicable):
        list(ArchiveScan().scan(path))
