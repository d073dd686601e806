"""Keras models, read without Keras (CVE-2025-1550 and those that followed it)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.scanners.views import of_rules

FORMATS = ("Keras configuration", "HDF5")


@method(cites="keras2025", where="advisory GHSA-48g7-3x6r-xfhp; the list of names is ours")
@dataclass(frozen=True)
class KerasScan(Scanner):
    """Code and paths in Keras model files.

    A Keras file tells in JSON which classes and functions to build, and in HDF5 what their weights
    are. Every object of the JSON is looked up in a list of what Keras offers: Lambda layers with
    bytecode, functions of other modules, Keras's own functions that load or download, pickled torch
    modules and vocabularies at a path are reported. In HDF5 every group is walked: links to other
    files, data kept in other files, and data sets that claim far more memory than they store.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from of_rules(path, "keras_scan", FORMATS)
