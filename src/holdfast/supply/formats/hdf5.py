"""HDF5, told by its mark."""

from holdfast.supply import rules
from holdfast.supply.reading import Part, Reading

_MAGIC = b"\x89HDF\r\n\x1a\n"


def claims(part: Part) -> bool:
    """The mark of HDF5."""
    return part.head(len(_MAGIC)) == _MAGIC


def read(reading: Reading, part: Part) -> bool:
    """Not read yet."""
    reading.report(part, rules.UNKNOWN, "HDF5")
    return True
