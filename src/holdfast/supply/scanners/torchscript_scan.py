"""TorchScript and exported programs of torch, read without torch (CVE-2025-32434)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.scanners.views import of_rules


@method(cites="pytorch2025", where="advisory GHSA-53q9-r3pm-6pq6; the list of operators is ours")
@dataclass(frozen=True)
class TorchscriptScan(Scanner):
    """Operators of TorchScript and torch.export that leave the model.

    A compiled model brings code of its own, which the loader compiles and runs. Its sources are
    read word by word: operators that write, open or load files or call other machines, operators
    and classes of libraries that are not torch's, and names that are handed on unseen are
    reported. In programs of torch.export the targets of all nodes are compared with the operators
    of torch, as the loader looks them up by their dots, and so are the expressions of shapes,
    which the loader evaluates.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from of_rules(path, "torchscript_scan", ("TorchScript", "torch.export program"))
