"""Single compressed streams: gzip, zlib, bzip2, xz, lzma."""

from holdfast.supply import archives, rules
from holdfast.supply.formats import pickles
from holdfast.supply.reading import Part, Reading


def claims(part: Part) -> bool:
    """The mark of a compression."""
    return bool(archives.compression(part.head(13)))


def read(reading: Reading, part: Part) -> bool:
    """What it unpacks to; and the packed bytes themselves, which a pickle machine may also follow."""
    pickles.read(reading, part, named=False)
    kind = archives.compression(part.head(13))
    inner = archives.inflated(reading, part, kind, part.within(0, 0, kind, b""))
    if len(inner) and not reading.read(inner):
        reading.report(inner, rules.UNKNOWN, f"{kind} data of no known kind")
    return True
