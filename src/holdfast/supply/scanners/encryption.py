"""Encryption of model files at rest (STREAM, Hoang, Reyhanitabar, Rogaway and Vizar 2015)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding, Property, Severity, Stage
from holdfast.supply import sealed
from holdfast.supply.pickle_values import show
from holdfast.supply.scanners.telling import told
from holdfast.supply.scanners.views import of_rules


@method(cites="hoang2015", where="the STREAM construction; the header is ours")
@dataclass(frozen=True)
class Encryption(Scanner):
    """Encryption at rest.

    Says whether a file is sealed by `holdfast encrypt`: AES-256-GCM in chunks under the nonces
    prefix || number || last, with a data key of its own that a key file, a passphrase (scrypt) or
    a key management service wraps. Reads the header: cost of scrypt below today's advice, a
    missing end. Whether the content is true only the key can tell, by decrypting.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        with path.open("rb") as file:
            head = file.read(len(sealed.MAGIC))
        if head == sealed.MAGIC:
            yield from of_rules(path, "encryption", ("sealed header",))
            return
        name = show(path.name, 200)
        yield Finding(
            rule="supply/encryption/open", severity=Severity.LOW,
            title=f"{name} is not encrypted at rest",
            detail="Who can read the file has the model. If it is worth stealing, keep it sealed.",
            where=name, property=Property.CONFIDENTIALITY, stage=Stage.DEPLOYMENT,
            refs=("AML.T0035", "AML.M0012", "OWASP ML05:2023"), command="holdfast encrypt",
        )  # fmt: skip
        yield told("encryption/read", f"{name} is no sealed file", name, 1, len(head))
