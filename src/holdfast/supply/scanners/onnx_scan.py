"""ONNX models: operators, external data, sizes, hidden fields (the specification of ONNX)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.scanners.views import of_rules


@method(cites="onnx", where="onnx.proto and docs/ExternalData.md, IR version 13")
@dataclass(frozen=True)
class OnnxScan(Scanner):
    """Operators, external files and sizes of ONNX models.

    A model is a graph of operators by name. The scanner walks the graph, the graphs within If, Loop
    and Scan, functions and training, field by field on the wire. It reports operators that call
    Python, that another library must bring or that take the name of one of ONNX's own; paths of
    external data that leave the folder, with keys or numbers that readers have stumbled over; shapes
    that do not fit the bytes; code in metadata; and fields that no ONNX reader shows. The numbers
    are not read.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from of_rules(path, "onnx_scan", ("onnx",))
