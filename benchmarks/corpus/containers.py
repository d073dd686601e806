"""Archives and what is packed in them: rows 36 to 41, 44, 45 and 65."""

# ruff: noqa: E501  # tables of cases

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from benchmarks.corpus import LIE, LOAD, NEEDS, REACH, Sample, zipped
from benchmarks.corpus.pickles import torch_zip
from tests.supply.bypasses import EVIL, MAGIC, P2, call, name, pickled, u

GOOD = pickle.dumps({"a": [1.0, 2.0]}, 2)


def tarred(*members: tuple[str, bytes], mode: str = "w", **more: object) -> bytes:
    """A tar archive; `more` are attributes of the last member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for number, (member, content) in enumerate(members, 1):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            for key, value in more.items() if number == len(members) else ():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return out.getvalue()


def patched(data: bytes, signature: bytes, offset: int, value: bytes, which: int = 0) -> bytes:
    """Overwrite bytes of the header that begins with this signature, the `which`-th of them."""
    at = -1
    for _ in range(which + 1):
        at = data.index(signature, at + 1)
    at += offset
    return data[:at] + value + data[at + len(value) :]


LOCAL, CENTRAL, TAIL = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
MODEL = torch_zip(EVIL)
PLAIN = zipped({"model.pkl": EVIL})


def raw_zip(*members: tuple[str, str, bytes, bytes]) -> bytes:
    """An archive whose two directories can differ: (local name, central name, local, central bytes)."""
    body, directory = b"", b""
    for local, central, content, told in members:
        head = struct.pack(
            "<HHHHHIIIHH",
            20,
            0,
            0,
            0,
            33,
            zlib.crc32(content),
            len(content),
            len(content),
            len(local),
            0,
        )
        entry = struct.pack(
            "<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, zlib.crc32(told), len(told), len(told), len(central), 0, 0, 0, 0, 0, len(body)
        )  # fmt: skip
        directory += CENTRAL + entry + central.encode()
        body += LOCAL + head + local.encode() + content
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + TAIL + end


def encrypted() -> Iterator[Sample]:
    """Rows 36 to 39: lying directories."""
    for label, data, file in (("torch", MODEL, "model.pt"), ("plain", PLAIN, "model.zip")):
        flagged = patched(patched(data, LOCAL, 6, b"\x01"), CENTRAL, 8, b"\x01")
        yield Sample(f"{label} zip, encryption bit in both headers", file, flagged, row=36)
        yield Sample(
            f"{label} zip, encryption bit in the local header",
            file,
            patched(data, LOCAL, 6, b"\x01"),
            row=36,
        )
        yield Sample(
            f"{label} zip, encryption bit in the directory",
            file,
            patched(data, CENTRAL, 8, b"\x01"),
            row=36,
        )
        crc = patched(patched(data, LOCAL, 14, b"\1\2\3\4"), CENTRAL, 16, b"\1\2\3\4")
        yield Sample(f"{label} zip with wrong checksums", file, crc, row=38)
        yield Sample(
            f"{label} zip, checksum wrong in the directory",
            file,
            patched(data, CENTRAL, 16, b"\1\2\3\4"),
            row=38,
        )
        yield Sample(
            f"{label} zip, data descriptor bit",
            file,
            patched(patched(data, LOCAL, 6, b"\x08"), CENTRAL, 8, b"\x08"),
            row=36,
        )
        yield Sample(
            f"{label} zip with an unknown method",
            file,
            patched(patched(data, LOCAL, 8, b"\x63"), CENTRAL, 10, b"\x63"),
            LIE,
            39,
        )
        yield Sample(
            f"{label} zip behind a program's head", file, b"MZ" + bytes(510) + data, row=39
        )
        yield Sample(
            f"{label} zip behind a picture",
            file.replace("model.", "m.png."),
            b"\x89PNG\r\n\x1a\n" + bytes(200) + data,
            row=39,
        )
        yield Sample(f"{label} zip, then a tail", file, data + b"tail" * 50, row=39)
        yield Sample(f"{label} zip without its end", file, data[: data.index(TAIL)], LIE, 39)
        yield Sample(
            f"{label} zip without its directory", file, data[: data.index(CENTRAL)], LIE, 39
        )
        yield Sample(
            f"{label} zip whose directory says no members",
            file,
            patched(data, TAIL, 8, b"\0\0\0\0"),
            row=39,
        )
    yield Sample(
        "local name differs",
        "model.pt",
        raw_zip(("a/data.pkl", "a/notes.txt", EVIL, EVIL), ("a/version", "a/version", b"3", b"3")),
        row=37,
    )
    yield Sample(
        "central name is a folder",
        "model.pt",
        raw_zip(("a/data.pkl", "a/data.pkl/", EVIL, EVIL)),
        LIE,
        37,
    )
    yield Sample(
        "name ends at a zero byte",
        "model.pt",
        raw_zip(("a/data.pkl", "a/data.pkl\0.txt", EVIL, EVIL)),
        row=37,
    )
    yield Sample(
        "sizes of the directory are zero",
        "model.pt",
        patched(patched(MODEL, CENTRAL, 20, bytes(4)), CENTRAL, 24, bytes(4)),
        LIE,
        39,
    )
    two = zipped({"a/data.pkl": GOOD, "b/data.pkl": EVIL}).replace(b"b/data.pkl", b"a/data.pkl")
    yield Sample("same name twice, payload second", "model.pt", two, row=39)
    two = zipped({"a/data.pkl": EVIL, "b/data.pkl": GOOD}).replace(b"b/data.pkl", b"a/data.pkl")
    yield Sample("same name twice, payload first", "model.pt", two, row=39)
    hidden = raw_zip(("a/data.pkl", "a/data.pkl", GOOD, GOOD))
    gap = (
        LOCAL
        + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(EVIL), len(EVIL), len(EVIL), 1, 0)
        + b"x"
        + EVIL
    )
    yield Sample("a member that the directory leaves out", "model.pt", gap + hidden, LIE, 39)
    yield Sample(
        "two archives, one behind the other",
        "model.pt",
        zipped({"a/data.pkl": GOOD}) + zipped({"a/data.pkl": EVIL}),
        row=39,
    )
    yield Sample("an archive in the comment of another", "model.pt", commented(EVIL), LIE, 39)
    yield Sample(
        "a pickle before an archive", "model.pt", EVIL + zipped({"a/data.pkl": GOOD}), row=39
    )


def commented(content: bytes) -> bytes:
    plain = zipped({"a/data.pkl": GOOD})
    return plain[:-2] + struct.pack("<H", len(content)) + content


def nested() -> Iterator[Sample]:
    """Rows 40 and 41: members by other names, archives within archives."""
    for member in (
        "data.pkl",
        "weights.bin",
        "notes.txt",
        "README.md",
        "tensors/0",
        ".hidden",
        "config.json",
        "a.b.c",
    ):
        yield Sample(
            f"payload in the member {member}",
            "model.zip",
            zipped({"plain.pkl": GOOD, member: EVIL}),
            row=40,
        )
    deep = EVIL
    for level in range(1, 6):
        deep = zipped(
            {f"level{level}.zip" if level > 1 else "model.pkl": deep}, zipfile.ZIP_DEFLATED
        )
        yield Sample(f"zip, {level} deep", "model.zip", deep, row=41)
    yield Sample(
        "packed zip in torch zip",
        "model.pt",
        zipped({"a/data.pkl": GOOD, "a/extra/x": zipped({"b": EVIL}, zipfile.ZIP_DEFLATED)}),
        row=41,
    )
    for mode, ending in (
        ("w", "tar"),
        ("w:gz", "tar.gz"),
        ("w:bz2", "tar.bz2"),
        ("w:xz", "tar.xz"),
    ):
        yield Sample(
            f"{ending} of a pickle",
            f"model.{ending}",
            tarred(("m/model.pkl", EVIL), mode=mode),
            row=41,
        )
        yield Sample(
            f"{ending} of a torch archive",
            f"model.{ending}",
            tarred(("a.txt", b"hello"), ("m/model.pt", MODEL), mode=mode),
            row=41,
        )
    yield Sample(
        "zip in tar.gz in zip",
        "model.zip",
        zipped({"a.tgz": tarred(("b.zip", PLAIN), mode="w:gz")}),
        row=41,
    )
    yield Sample("gzip of a zip", "model.zip.gz", gzip.compress(PLAIN), row=41)
    yield Sample(
        "tar named .pt",
        "model.pt",
        tarred(("pickle", EVIL), ("storages", GOOD), ("tensors", GOOD), ("sys_info", GOOD)),
        row=41,
    )
    yield Sample(
        "torch's tar, payload in sys_info",
        "model.pt",
        tarred(("storages", GOOD), ("tensors", GOOD), ("pickle", GOOD), ("sys_info", EVIL)),
        row=41,
    )
    yield Sample(
        "torch's tar, payload in storages",
        "model.pt",
        tarred(
            ("storages", pickle.dumps(1) + EVIL),
            ("tensors", GOOD),
            ("pickle", GOOD),
            ("sys_info", GOOD),
        ),
        row=41,
    )
    manifest = {
        "runtime": "python",
        "model": {"modelName": "m", "serializedFile": "model.pt", "handler": "handler.py"},
    }
    members = {
        "MAR-INF/MANIFEST.json": json.dumps(manifest).encode(),
        "handler.py": b"def handle(data, context):\n    return data\n",
    }
    yield Sample(
        "model archive with a payload", "model.mar", zipped({**members, "model.pt": MODEL}), row=41
    )
    yield Sample(
        "model archive with a handler that starts a process",
        "model.mar",
        zipped(
            {
                **members,
                "handler.py": b"import os\nos.system('true')\n",
                "model.pt": torch_zip(GOOD),
            }
        ),
        row=45,
    )
    yield Sample("7z that says it holds a pickle", "model.7z", seven(EVIL), row=41)
    yield Sample(
        "rar that says it holds a pickle",
        "model.rar",
        b"Rar!\x1a\x07\x01\x00" + bytes(20) + EVIL,
        row=41,
    )


def seven(content: bytes) -> bytes:
    """A 7z archive of one stored file, by the format's description."""
    sizes = bytes([len(content)])
    streams = (
        b"\x04\x06\x00\x01\x09"
        + sizes
        + b"\x00"
        + b"\x07\x0b\x01\x00\x01\x01\x00\x0c"
        + sizes
        + b"\x00\x08\x00\x00"
    )
    title = "model.pkl".encode("utf-16-le") + b"\0\0"
    files = b"\x05\x01\x11" + bytes([len(title) + 1]) + b"\x00" + title + b"\x00\x00"
    header = b"\x01" + streams + files
    start = struct.pack("<QQI", len(content), len(header), zlib.crc32(header))
    return (
        b"7z\xbc\xaf\x27\x1c\x00\x04"
        + struct.pack("<I", zlib.crc32(start))
        + start
        + content
        + header
    )


SCRIPT = """class M(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    {line}
    return torch.relu(x)
"""


def script(line: str, suffix: str = "__torch__.py", **members: bytes) -> bytes:
    """A TorchScript archive whose forward holds this line."""
    pickled_ = P2 + name("__torch__", "M") + b")\x81}" + u("training") + b"\x89sb."
    return zipped({
        "m/data.pkl": pickled_, f"m/code/{suffix}": SCRIPT.format(line=line).encode(),
        "m/constants.pkl": pickle.dumps((), 2), "m/version": b"3\n", **members,
    })  # fmt: skip


def scripts() -> Iterator[Sample]:
    """Row 44: operators of TorchScript that reach files, processes or other code; row 45: packages."""
    for label, line in {
        "aten::save": 'ops.aten.save(x, "/tmp/x")', "torch.save": 'torch.save(x, "/tmp/x")',
        "aten::from_file": 'y = ops.aten.from_file("/etc/hostname", False, 4)',
        "torch.from_file": 'y = torch.from_file("/etc/hostname", False, 4)',
    }.items():  # fmt: skip
        yield Sample(f"TorchScript: {label}", "model.pt", script(line), REACH, 44)
        yield Sample(
            f"TorchScript in a module of its own: {label}",
            "model.pt",
            script(line, "__torch__/a/b.py"),
            REACH,
            44,
        )
    for label, line in {
        "Python operator": "y = ^MyFunction()(x)", "operator of an own library": "y = ops.my_ops.run(x)",
        "class of an own library": "y = __torch__.torch.classes.my_ops.Shell.run()",
        "backend with a blob": 'y = __torch__.torch.classes.__backends__.nnapi.execute(x)',
    }.items():  # fmt: skip
        yield Sample(
            f"TorchScript: {label}",
            "model.pt",
            script(line),
            "code" if "Python" in label else NEEDS,
            44,
        )
    yield Sample(
        "TorchScript whose constants run code",
        "model.pt",
        script("pass", **{"m/constants.pkl": EVIL}),
        row=44,
    )
    yield Sample(
        "TorchScript with a pickle as extra file",
        "model.pt",
        script("pass", **{"m/extra/info": EVIL}),
        row=44,
    )
    yield Sample(
        "TorchScript whose debug file runs code",
        "model.pt",
        script("pass", **{"m/code/__torch__.py.debug_pkl": EVIL}),
        row=44,
    )
    package = {
        "p/.data/version": b"6\n", "p/.data/extern_modules": b"os\n", "p/.data/python_version": b"3.11",
        "p/net/__init__.py": b"", "p/net/model.py": b"import os\nos.system('true')\n",
    }  # fmt: skip
    own = P2 + name("net.model", "Net") + b")\x81}b."
    yield Sample(
        "torch.package: a class of its own source",
        "model.pt",
        zipped({**package, "p/model/model.pkl": own}),
        row=45,
    )
    yield Sample(
        "torch.package: a mangled class",
        "model.pt",
        zipped(
            {
                **package,
                "p/model/model.pkl": own.replace(b"net.model", b"<torch_package_0>.net.model"),
            }
        ),
        row=45,
    )
    yield Sample(
        "torch.package: os.system",
        "model.pt",
        zipped({**package, "p/model/model.pkl": EVIL}),
        row=45,
    )
    nemo = b"target: nemo.collections.asr.models.EncDecCTCModel\nencoder:\n  _target_: os.system\n  command: 'true'\n"
    own = b"target: my_models.asr.Model\nencoder:\n  _target_: my_models.encoder.Encoder\n"
    for label, config in (
        ("os.system", nemo),
        ("a package nobody knows", own),
        ("posix.system", nemo.replace(b"os.s", b"posix.s")),
    ):
        yield Sample(
            f"NeMo with _target_ {label}",
            "model.nemo",
            tarred(("./model_config.yaml", config), ("./model_weights.ckpt", torch_zip(GOOD))),
            row=45,
        )
        yield Sample(
            f"NeMo packed, with _target_ {label}",
            "model.nemo",
            tarred(
                ("./model_config.yaml", config),
                ("./model_weights.ckpt", torch_zip(GOOD)),
                mode="w:gz",
            ),
            row=45,
        )
    yield Sample(
        "NeMo whose weights run code",
        "model.nemo",
        tarred(
            ("./model_config.yaml", b"target: nemo.core.Model\n"), ("./model_weights.ckpt", MODEL)
        ),
        row=45,
    )
    for member in (
        "data/sample_inputs/model.pt",
        "data/constants/model_constants.pt",
        "data/weights/model.pt",
    ):
        program = {
            "a/archive_format": b"pt2",
            "a/version": b"0",
            "a/models/model.json": b"{}",
            f"a/{member}": MODEL,
        }
        yield Sample(
            f"torch.export with a payload in {member}", "model.pt2", zipped(program), row=44
        )
    yield Sample(
        "torch.export with a shared library",
        "model.pt2",
        zipped(
            {
                "a/archive_format": b"pt2",
                "a/data/aotinductor/model/m.so": b"\x7fELF\x02\x01\x01" + bytes(200),
            }
        ),
        row=44,
    )


def escapes() -> Iterator[Sample]:
    """Row 65: members that leave the folder, links, bombs."""
    for label, member in {
        "up": "../../../tmp/x", "root": "/etc/cron.d/x", "back slashes": "..\\..\\x", "drive": "C:\\x",
        "up in between": "a/../../x", "encoded as two dots later": "a/b/../../../x",
    }.items():  # fmt: skip
        yield Sample(
            f"zip member that goes {label}",
            "model.zip",
            zipped({"a.txt": b"hello", member: b"text"}),
            REACH,
            65,
        )
        yield Sample(
            f"tar member that goes {label}",
            "model.tar",
            tarred(("a.txt", b"hello"), (member, b"text")),
            REACH,
            65,
        )
        yield Sample(
            f"Keras archive member that goes {label}",
            "model.keras",
            zipped(
                {
                    "config.json": b'{"class_name": "Sequential", "config": {"name": "s", "layers": []}}',
                    "metadata.json": b"{}",
                    member: b"text",
                }
            ),
            REACH,
            53,
        )
    for label, kind, link in (
        ("symbolic link to root", tarfile.SYMTYPE, "/etc/passwd"), ("symbolic link up", tarfile.SYMTYPE, "../../x"),
        ("hard link up", tarfile.LNKTYPE, "../../etc/passwd"), ("device", tarfile.CHRTYPE, ""), ("pipe", tarfile.FIFOTYPE, ""),
    ):  # fmt: skip
        yield Sample(
            f"tar with a {label}",
            "model.tar",
            tarred(("a.txt", b"hello"), ("w", b""), type=kind, linkname=link),
            REACH,
            65,
        )
    info = zipfile.ZipInfo("weights", (1990, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    yield Sample("zip with a symbolic link", "model.zip", out.getvalue(), REACH, 65)
    zeros = bytes(2**28)
    yield Sample(
        "zip bomb", "model.zip", zipped({"w": zeros + zeros}, zipfile.ZIP_DEFLATED), LOAD, 65
    )
    squeezed = gzip.compress(gzip.compress(zeros + zeros))
    yield Sample("gzip bomb in gzip", "model.pkl.gz", squeezed, LOAD, 65)
    many = zlib.compress(bytes(2**24))
    yield Sample(
        "bombs side by side", "model.zip", zipped({f"{i}.z": many for i in range(40)}), LOAD, 65
    )
    small = zipped({"x": b"y"})
    yield Sample(
        "an archive of fifty thousand members",
        "model.zip",
        zipped({f"{i:05}": small for i in range(50_000)}),
        LOAD,
        65,
    )
    one = raw_zip(("x", "x", b"a" * 1000, b"a" * 1000))
    entry = one[one.index(CENTRAL) : one.index(TAIL)]
    end = struct.pack("<HHHHIIH", 0, 0, 500, 500, 500 * len(entry), one.index(CENTRAL), 0)
    yield Sample(
        "five hundred members that overlap",
        "model.zip",
        one[: one.index(CENTRAL)] + entry * 500 + TAIL + end,
        LIE,
        65,
    )
    yield Sample(
        "legacy torch: the magic number alone",
        "model.pt",
        pickle.dumps(MAGIC, 2) + pickled(call("os", "system", u("true"))),
        row=42,
    )


def samples() -> Iterator[Sample]:
    yield from encrypted()
    yield from nested()
    yield from scripts()
    yield from escapes()
