"""Bills of materials held against the files (CycloneDX 1.6, ECMA-424)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding, Severity
from holdfast.supply import bom
from holdfast.supply.pickle_values import show
from holdfast.supply.rules import Issue, Rule
from holdfast.supply.scanners.telling import told

OTHER = Rule(
    "bill_of_materials/other-file", "{subject} is not what its bill of materials lists",
    Severity.CRITICAL, "Do not load it; get file and list again, or find out who changed it.",
)  # fmt: skip
UNLISTED = Rule(
    "bill_of_materials/unlisted", "{subject} is not in its bill of materials", Severity.HIGH,
    "List every file of the model: `holdfast bom`.",
)  # fmt: skip
BROKEN = Rule(
    "bill_of_materials/malformed", "The bill of materials cannot be read: {reason}", Severity.HIGH,
    "Write it again: `holdfast bom`.",
)  # fmt: skip


@method(
    cites="cyclonedx2024", where="1.6, component.hashes of a machine-learning-model", extra="bom"
)
@dataclass(frozen=True)
class BillOfMaterials(Scanner):
    """Bill of materials check.

    Looked for are `<file>.cdx.json` beside the file and `bom.cdx.json` in its folder. The file
    holds if its SHA-256 is the one listed under its name for the model. What the list says of data
    and packages is not checked here.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        places = (bom.beside(path), path.parent / f"bom{bom.ENDING}")
        source = next((p for p in places if p.is_file() and p != path), None)
        if source is None:
            raise NotApplicable(f"needs {places[0].name} beside the file, by `holdfast bom`")
        file, size = show(path.name, 200), path.stat().st_size
        try:
            if source.stat().st_size > bom.LARGEST:
                raise InputError("a bill of materials", got="more than 16 MiB", fix="check it")
            listed = bom.hashes(json.loads(source.read_text(encoding="utf-8")))
        except (InputError, ValueError, OSError, RecursionError) as error:
            yield Issue(BROKEN, show(source.name, 200), "", 0, show(str(error), 200)).finding()
            yield told("bill_of_materials/read", f"{file} was not compared", file, 1, 0)
            return
        names = [n for n in listed if n == path.name or n.endswith(f"/{path.name}")]
        found = bom.digest(path)
        if not names:
            yield Issue(UNLISTED, file, "", 0, "no entry has its name", file).finding()
        elif found not in {listed[n].lower() for n in names}:
            reason = f"its SHA-256 is {found} instead of {show(listed[names[0]], 70)}"
            yield Issue(OTHER, file, "", 0, reason, file).finding()
        yield told("bill_of_materials/read", f"{file} was held against its list", file, 1, size)
