"""Pickle files, read without running them (the policy idea of PickleBall, Kellas et al. 2025)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply import files


def scan_file(path: Path) -> tuple[Finding, ...]:
    """All findings about one file, the worst first; the last tells what was read."""
    return files.scan_file(path).findings


@method(
    cites="kellas2025", where="sec. 4, load policies; the symbolic machine and the list are ours"
)
@dataclass(frozen=True)
class PickleScan(Scanner):
    """Code in pickled model files.

    A pickle is a program: loading it imports and calls whatever it names. This scanner follows
    every opcode of protocols 0 to 5 on a machine whose stack holds descriptions instead of
    objects, and allows only names on a list of what torch, NumPy, SciPy, scikit-learn and joblib
    need; a callable that is harmless for some arguments only has its arguments checked. Torch
    archives (zip, legacy, tar), joblib files with arrays between the opcodes, compressed files,
    .npy and .npz are opened by content. What cannot be followed to its end is a finding, never
    clean. Nothing of the file is imported, called or written to disk.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from scan_file(path)
