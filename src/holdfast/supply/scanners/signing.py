"""Signatures of model files (OpenSSF Model Signing 1.0, 2025)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import hyper, method
from holdfast.core.record import Finding, Severity
from holdfast.supply import signing
from holdfast.supply.pickle_values import show
from holdfast.supply.rules import Issue, Rule
from holdfast.supply.scanners.telling import told

BROKEN = Rule(
    "signing/broken", "The signature of {subject} does not hold", Severity.CRITICAL,
    "Do not load it. Get file and signature again from whoever signs for it.",
)  # fmt: skip
MISSING = Rule(
    "signing/missing", "{subject} is not signed", Severity.HIGH,
    "A key is configured, so whatever is loaded has to be signed: `holdfast sign`.",
)  # fmt: skip


@method(cites="modelsigning2025", where="version 1.0, signatures by a key", extra="signing")
@dataclass(frozen=True)
class Signing(Scanner):
    """Model signature.

    A bundle names every file with its SHA-256 and is signed with ECDSA; it holds when the key is
    the configured one and the files are exactly those. Looked for are `<file>.sig`, and for the
    folder of the file `model.sig` in it and `<folder>.sig` beside it. Nothing is asked of any
    network.
    """

    public_key: str = hyper("", "ours: without a key there is nothing to verify; a file in PEM")

    def scan(self, path: Path) -> Iterator[Finding]:
        if not self.public_key:
            raise NotApplicable("needs the public key of who signs: set public_key to its file")
        file, folder = show(path.name, 200), path.resolve().parent
        places = (
            (path, signing.beside(path)), (folder, folder / "model.sig"),
            (folder, signing.beside(folder)),
        )  # fmt: skip
        signed, bundle = next(((s, b) for s, b in places if b.is_file()), (path, None))
        if bundle is None:
            reason = f"there is no {signing.beside(path).name}, nor a signature of the folder"
            yield Issue(MISSING, file, "", 0, reason, file).finding()
            title = f"{file} has no signature"
            yield told("signing/read", title, file, 1, 0)
            return
        proof = signing.verify(signed, bundle, Path(self.public_key))
        if not proof.holds:
            yield Issue(BROKEN, file, "", 0, proof.reason, file).finding()
        title = f"The signature of {file} {'holds' if proof.holds else 'does not hold'}"
        left = f" Not covered: {', '.join(proof.uncovered[:5])}." if proof.uncovered else ""
        size, detail = path.stat().st_size, f"{proof.reason}.{left}"
        yield told("signing/read", title, file, max(1, len(proof.files)), size, detail)
