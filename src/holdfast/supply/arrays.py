"""Headers of NumPy's array files: where the data begins, and whether it is a pickle of objects."""

import ast
import math
import re
import struct
import warnings

from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed

MAGIC = b"\x93NUMPY"
_PLAIN = re.compile(r"[<>|=]?(?:([biufcmMSUVa])(\d{1,9})|\?)(\[[^\]]*\])?")


def read_header(data: Buffer, start: int, end: int) -> tuple[int, int | None]:
    """Where the data begins, and how many bytes it has; None when a pickle of objects follows.

    Raises:
        Malformed: the header cannot be read.
        Exhausted: it is far longer than NumPy writes.
    """
    version = data[start + 6] if end - start > 12 else 0
    if version not in (1, 2, 3):
        raise Malformed("an array file of unknown version")
    form, body = ("<H", start + 10) if version == 1 else ("<I", start + 12)
    (size,) = struct.unpack_from(form, data, start + 8)
    if body + size > end:
        raise Malformed("an array file whose header does not end")
    if size > 65_536:
        raise Exhausted("an array header longer than is read")
    text = bytes(data[body : body + size]).decode("utf-8" if version == 3 else "latin-1", "replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's remarks on odd literals
            told = ast.literal_eval(text.strip())
        shape, kind = tuple(told["shape"]), told["descr"]
        item = _item(kind, 16)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise Malformed("an array file whose header cannot be read") from error
    if not all(type(length) is int and length >= 0 for length in shape):
        raise Malformed("an array file whose shape is not whole numbers")
    return body + size, None if item is None else item * math.prod(shape)


def _item(kind: object, depth: int) -> int | None:
    """Bytes of one item, None where it holds objects; what cannot be read is an error."""
    if depth == 0:
        raise ValueError("a type within types")
    if isinstance(kind, str):
        if kind.lstrip("<>|=").startswith("O"):
            return None
        match = _PLAIN.fullmatch(kind)
        if not match:
            raise ValueError("an unknown type")
        size = int(match[2] or 1)
        return size * 4 if match[1] == "U" else size
    if isinstance(kind, tuple) and len(kind) == 2:
        inner = _item(kind[0], depth - 1)
        shape = kind[1] if isinstance(kind[1], tuple) else (kind[1],)
        return None if inner is None else inner * math.prod(int(n) for n in shape)
    if not isinstance(kind, list):
        raise ValueError("an unknown type")
    sizes = [_item(f[1] if len(f) == 2 else (f[1], f[2]), depth - 1) for f in kind]
    return None if None in sizes else sum(size for size in sizes if size is not None)
