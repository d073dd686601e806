"""Files that are told by their first bytes and read by nobody here: engines, programs, other worlds."""

import struct
from dataclasses import replace

from holdfast.core.record import Severity
from holdfast.supply import rules
from holdfast.supply.formats import pickles
from holdfast.supply.reading import Part, Reading
from holdfast.supply.rules import Rule

PROGRAM = Rule(
    "archive_scan/program", "The file is a program: {subject}", Severity.HIGH,
    "A model is data. Do not run it; ask for the weights alone.",
)  # fmt: skip
_UNREAD = {
    (0, b"ftrt"): "an engine of TensorRT, which holds plug-ins and code for one processor",
    (0, b"ptrt"): "an engine of TensorRT, which holds plug-ins and code for one processor",
    (0, b"RDX2\n"): "data of R, whose reading can run code (CVE-2024-27322)",
    (0, b"RDX3\n"): "data of R, whose reading can run code (CVE-2024-27322)",
    (0, b"RDA2\n"): "data of R, whose reading can run code (CVE-2024-27322)",
    (0, b"RDA3\n"): "data of R, whose reading can run code (CVE-2024-27322)",
    (0, b"X\n\0\0\0\2"): "data of R, whose reading can run code (CVE-2024-27322)",
    (0, b"X\n\0\0\0\3"): "data of R, whose reading can run code (CVE-2024-27322)",
    (0, b"A\n2\n"): "data of R, whose reading can run code (CVE-2024-27322)",
    (0, b"A\n3\n"): "data of R, whose reading can run code (CVE-2024-27322)",
    (8, b"\3\0\0\0V 1"): "a file of Torch 7, whose reading can run code of Lua",
    (4, b"ORTM"): "a model of ONNX Runtime's own format",
    (4, b"ET12"): "a program of ExecuTorch",
    (0, b"CBM1"): "a model of CatBoost",
    (0, b"\xba\x16\x4f\x2f"): "a model of fastText",
    (0, b"ML\xefR"): "byte code of MLIR",
    (0, b"7z\xbc\xaf\x27\x1c"): "an archive of 7-Zip",
    (0, b"Rar!\x1a\7"): "an archive of RAR",
    (0, b"\x28\xb5\x2f\xfd"): "data packed by Zstandard",
    (0, b"\x04\x22\x4d\x18"): "data packed by LZ4",
}  # fmt: skip
_PROGRAMS = {
    b"\x7fELF": "for Linux", b"MZqFpD": "for several systems", b"jartsr": "for several systems",
    b"\xcf\xfa\xed\xfe": "for macOS", b"\xfe\xed\xfa\xcf": "for macOS", b"\0asm": "of WebAssembly",
    b"\xca\xfe\xba\xbe": "for macOS or Java", b"dex\n03": "for Android",
}  # fmt: skip


def claims(part: Part) -> bool:
    """One of the marks."""
    return bool(_known(part) or _program(part))


def _known(part: Part) -> str:
    head = part.head(16)
    return next((kind for (at, mark), kind in _UNREAD.items() if head.startswith(mark, at)), "")


def _program(part: Part) -> str:
    head = part.head(64)
    if head[:2] == b"MZ" and len(head) == 64:
        (place,) = struct.unpack_from("<I", head, 60)
        if part.head(4, place) == b"PE\0\0":
            return "for Windows"
    return next((kind for mark, kind in _PROGRAMS.items() if head.startswith(mark)), "")


def read(reading: Reading, part: Part) -> bool:
    """Says what it is; a pickle may begin with the same bytes."""
    pickles.read(reading, replace(part, raw=True), named=False)
    program = _program(part)
    if program:
        reading.report(part, PROGRAM, "its first bytes say so", None, f"{program}")
    else:
        reading.report(part, rules.UNKNOWN, _known(part))
    return True
