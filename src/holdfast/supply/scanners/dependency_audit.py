"""Packages with known vulnerabilities and odd names (the OSV schema, OpenSSF 2021)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import hyper, method
from holdfast.core.record import Finding
from holdfast.supply import advisories, requirements
from holdfast.supply.pickle_values import show
from holdfast.supply.rules import Issue
from holdfast.supply.scanners.telling import told


@method(cites="osv2021", where="affected ranges; the model-loading rules are ours", extra="audit")
@dataclass(frozen=True)
class DependencyAudit(Scanner):
    """Dependency audit.

    Every package of `requirements.txt`, the file itself or beside the model, is held against model
    loading vulnerabilities with known fixed versions, and against a dump of advisories where one
    is given: v is affected if it is listed, or the last event at or below v is `introduced`. Names
    one letter from a known package, second indexes, addresses, repositories without a commit and
    missing pins are told as well. Nothing is asked of any network.
    """

    advisories: str = hyper(
        "", "ours: a folder or zip of OSV advisories; else only what is built in"
    )

    def scan(self, path: Path) -> Iterator[Finding]:
        text = path.suffix == ".txt" and "requirements" in path.name
        listed = path if text else path.parent / "requirements.txt"
        if not listed.is_file():
            raise NotApplicable("needs requirements.txt, as the file or beside it")
        listing = requirements.read(listed)
        known = advisories.dump(Path(self.advisories)) if self.advisories else []
        file = show(listed.name, 200)
        for doubt in advisories.audit(listing, known):
            reason = f"{doubt.reason}, line {doubt.line}"
            yield Issue(doubt.rule, file, "", 0, reason, doubt.subject).finding()
        count = len(listing.packages)
        title = f"{count} packages were held against {len(known)} advisories and the rules"
        yield told("dependency_audit/read", title, file, max(1, count), listed.stat().st_size)
