"""TensorFlow graphs, read without TensorFlow."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.scanners.views import of_rules

FORMATS = ("SavedModel", "TensorFlow graph", "TensorFlow meta graph")


@method(cites="tensorflow2024", where="models are programs; the list of operators is ours")
@dataclass(frozen=True)
class SavedModelScan(Scanner):
    """TensorFlow SavedModel operators.

    A graph is a program whose operators can read and write files, call Python and use the network.
    The protocol buffers of SavedModels, frozen graphs and meta graphs are read field by field; each
    node of each graph and function is looked up in a list of operators that only compute. Saving
    and restoring is allowed where no signature reaches it and the path is the caller's. The JSON
    that Keras keeps beside the graph is reviewed as that of a Keras file.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from of_rules(path, "savedmodel_scan", FORMATS)
