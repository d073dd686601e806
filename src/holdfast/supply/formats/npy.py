"""NumPy's array files, one array after the other; arrays of objects are pickles."""

from holdfast.supply import arrays, rules
from holdfast.supply.formats import pickles
from holdfast.supply.reading import Part, Reading


def claims(part: Part) -> bool:
    """The mark of an array file."""
    return part.head(6) == arrays.MAGIC


def read(reading: Reading, part: Part) -> bool:
    """Headers, and the pickles behind them."""
    pos = part.start
    while part.data[pos : pos + 6] == arrays.MAGIC:
        body, size = arrays.read_header(part.data, pos, part.end)
        if size is None:
            return pickles.read(reading, part.slice(body, part.end), named=True)
        begin, pos = pos, body + size
        if pos > part.end:
            reading.report(part, rules.MALFORMED, "an array that is longer than the file", begin)
            return True
        reading.took(part, "npy", pos - begin)
    if pos < part.end:
        reading.report(part, rules.TRAILING, f"{part.end - pos:,} bytes after an array", pos)
        pickles.read(reading, part.slice(pos, part.end), named=False)
    return True
