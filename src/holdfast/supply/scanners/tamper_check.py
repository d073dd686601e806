"""Files against the hashes they had (RFC 6962, Laurie, Langley and Kasper 2013)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import hyper, method
from holdfast.core.record import Finding, Severity
from holdfast.supply import manifest
from holdfast.supply.pickle_values import show
from holdfast.supply.rules import Issue, Rule
from holdfast.supply.scanners.telling import told

CHANGED = Rule(
    "tamper_check/changed", "{subject} is not what its manifest says", Severity.CRITICAL,
    "Do not load it. Get it again from its source, and find out who could write to it.",
)  # fmt: skip
FORGED = Rule(
    "tamper_check/root", "The manifest is not the one that was published", Severity.CRITICAL,
    "Get the manifest again, or the root over another way.",
)  # fmt: skip


@method(cites="laurie2013", where="sec. 2.1, Merkle hash trees; the layout of the file is ours")
@dataclass(frozen=True)
class TamperCheck(Scanner):
    """Hash manifest.

    A file is cut into chunks. Its tree has leaves SHA-256(0x00 || chunk) and nodes
    SHA-256(0x01 || left || right); names, sizes and roots of all files are leaves of one more
    tree. The manifest beside the file, `<file>.manifest.json`, keeps the leaves, so a changed
    chunk is named. A manifest proves nothing that its writer could not write: sign it, or compare
    its root with one that came over another way.
    """

    root: str = hyper("", "ours: any root; else the hexadecimal root that was published")

    def scan(self, path: Path) -> Iterator[Finding]:
        beside = manifest.beside(path)
        if not beside.is_file():
            raise NotApplicable(f"needs {beside.name} beside the file, by `holdfast manifest`")
        known = manifest.load(beside)
        file = show(path.name, 200)
        if self.root and self.root.lower() != known.root.hex():
            reason = f"its root is {known.root.hex()} instead of {show(self.root, 70)}"
            yield Issue(FORGED, show(beside.name, 200), "", 0, reason).finding()
        found = manifest.check(path, known)
        for each in found.changes:
            if each.kind != "renamed":
                yield Issue(CHANGED, file, "", each.offset, each.reason, file).finding()
        title = f"{file} has {len(found.changes)} changes since its manifest was made"
        if not found.changes:
            title = f"{file} is what its manifest says"
        yield told("tamper_check/read", title, file, 1, found.size, f"Root {known.root.hex()}.")
