"""Tar archives: torch's oldest format, .nemo, and any other."""

from holdfast.supply import archives
from holdfast.supply.formats import pickles, zips
from holdfast.supply.reading import Part, Reading


def claims(part: Part) -> bool:
    """The mark of POSIX and GNU archives."""
    return archives.is_tar(part.data, part.start, part.end)


def read(reading: Reading, part: Part) -> bool:
    """Every member, and the archive itself as a pickle, which its first name can be."""
    pickles.read(reading, part, named=False)
    entries = archives.tar_members(part.data, part.start, part.end)
    return zips.members(reading, part, archives.listed(reading, part, entries))
