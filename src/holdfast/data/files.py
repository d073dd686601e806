"""Reading files with a limit on what they may unpack to."""

import gzip
import zlib
from pathlib import Path

from holdfast.core.errors import InputError

LIMIT = 2**32
"""Most bytes that one file may unpack to: a compressed file of a few kilobytes can hold terabytes."""


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """The content of a file, unpacked where its name ends in .gz."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content: bytes = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read", got=error, fix="check that the file is complete"
        ) from error
    if len(content) > limit:
        raise InputError(
            f"{path} is too large", got=f"more than {limit} bytes", fix="take a part of the rows"
        )
    return content
