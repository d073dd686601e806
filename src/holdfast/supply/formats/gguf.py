"""GGUF, told by its mark."""

from holdfast.supply import rules
from holdfast.supply.reading import Part, Reading

_MAGIC = b"GGUF"


def claims(part: Part) -> bool:
    """The mark of GGUF."""
    return part.head(len(_MAGIC)) == _MAGIC


def read(reading: Reading, part: Part) -> bool:
    """Not read yet."""
    reading.report(part, rules.UNKNOWN, "GGUF")
    return True
