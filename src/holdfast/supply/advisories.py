"""Known vulnerabilities of packages: from an offline dump of OSV, from pip-audit, and built in.

The dump is what https://osv.dev and the PyPA advisory database publish: a folder or a zip of JSON
or YAML files in the OSV schema. Ranges are read as its version 1.6 says: events in the order of
versions, `introduced` opens, `fixed` and `last_affected` close.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from holdfast.core.errors import InputError, MissingExtra
from holdfast.core.record import Severity
from holdfast.supply.pickle_values import show
from holdfast.supply.requirements import Doubt, Listing, Package
from holdfast.supply.rules import Rule

KNOWN_HOLE = Rule(
    "dependency_audit/vulnerable", "{subject} has a known vulnerability", Severity.HIGH,
    "Update to a version in which it is fixed.",
)  # fmt: skip
LOADER_HOLE = Rule(
    "dependency_audit/model-loader", "{subject} runs or reads too much when a model is loaded",
    Severity.HIGH, "Update to the fixed version before any model from elsewhere is loaded.",
)  # fmt: skip
MAY_BE = Rule(
    "dependency_audit/may-be-vulnerable", "A version of {subject} that is allowed is vulnerable",
    Severity.LOW, "Ask for at least the fixed version.",
)  # fmt: skip
LARGEST, MOST = 4 * 2**20, 400_000
"""Bytes of one advisory, and how many advisories."""

LOADERS: tuple[tuple[str, str, str, str], ...] = (
    ("torch", "<2.6.0", "CVE-2025-32434", "weights_only=True of torch.load runs code"),
    ("torch", "<2.10.0", "CVE-2026-24747", "the weights_only unpickler corrupts memory"),
    ("keras", "<2.13", "CVE-2024-3660", "Lambda layers run code when a model is loaded"),
    ("keras", ">=3.0.0,<3.9.0", "CVE-2025-1550", "config.json of a .keras file calls functions"),
    ("keras", ">=3.0.0,<3.11.0", "CVE-2025-8747", "safe_mode is passed by in .keras files"),
    ("keras", ">=3.0.0,<3.11.3", "CVE-2025-9905", "safe_mode is ignored for .h5 files"),
    ("keras", ">=3.11.0,<3.11.3", "CVE-2025-49655", "TorchModuleWrapper unpickles"),
    ("keras", ">=3.13.0,<3.13.2", "CVE-2026-1462", "TFSMLayer loads SavedModels from elsewhere"),
    ("numpy", "<1.16.3", "CVE-2019-6446", "numpy.load unpickles by default"),
    ("onnx", "<1.16.0", "CVE-2024-27318", "external data are read from any folder"),
    ("onnx", "<1.16.2", "CVE-2024-5187", "a downloaded archive overwrites any file"),
    ("onnx", "<1.21.0", "CVE-2026-27489", "external data are read through links"),
    ("transformers", "<4.36.0", "CVE-2023-7018", "a file from a hub is unpickled"),
    ("transformers", "<4.36.0", "CVE-2023-6730", "a retriever's index is unpickled"),
    ("skops", "<0.13.0", "CVE-2025-54886", "Card.get_model falls back to joblib"),
    ("llama-cpp-python", "<0.2.72", "CVE-2024-34359", "chat templates of GGUF files run code"),
)
"""Package, affected versions, id, what happens. Sources of the ranges: the PyTorch advisories as
retold by SentinelOne (CVE-2026-24747) and others; GitHub's reviewed advisories of keras by way of
aithreatalert.com, kodemsecurity.com and Tenable (CVE-2026-1462); numpy's own reference of
`lib.format.read_array`; onnx releases 1.16.0, 1.16.2 and 1.21.0 by way of
github/advisory-database pull requests 4301 and 5233; transformers 4.36 by way of open-ce issue
987; the CVE record of skops; modelaudit pull request 323. What was not found is left out."""


@dataclass(frozen=True)
class Hole:
    """One vulnerability of one package.

    Attributes:
        id: of the advisory.
        names: every id of the same vulnerability, sorted.
        package: normalised name.
        summary: one sentence, from outside.
        affected: whether a version is.
        fixed: versions in which it is mended.
    """

    id: str
    names: tuple[str, ...]
    package: str
    summary: str
    affected: Callable[[Version], bool]
    fixed: tuple[str, ...] = ()


def built_in() -> Iterator[Hole]:
    """Model-loading vulnerabilities that need no dump."""
    for package, spec, name, summary in LOADERS:
        inside = SpecifierSet(spec, prereleases=True)
        fixed = (spec.rpartition("<")[2],)
        yield Hole(name, (name,), package, summary, inside.contains, fixed)


def dump(path: Path) -> list[Hole]:
    """Advisories of PyPI packages in a folder or zip; withdrawn ones are left out, aliases joined.

    Raises:
        InputError: nothing of it can be read.
    """
    entries, read = list[dict[str, Any]](), 0
    for name, text in _files(Path(path)):
        read += 1
        entry = _parse(name, text)
        known = isinstance(entry, dict) and isinstance(entry.get("id"), str)
        if known and not entry.get("withdrawn"):
            entries.append(entry)
    if not read:
        raise InputError("advisories in OSV format", got=str(path), fix="give a folder or a zip")
    return joined(hole for entry in entries for hole in holes(entry))


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    endings = (".json", ".yaml", ".yml")
    try:
        if path.is_dir():
            for each in sorted(path.rglob("*")):
                if each.suffix in endings and each.is_file() and each.stat().st_size <= LARGEST:
                    yield each.name, each.read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist()[:MOST]:
                if info.filename.endswith(endings) and info.file_size <= LARGEST:
                    with archive.open(info) as file:
                        yield info.filename, file.read(LARGEST)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(
            "a folder or zip of advisories", got=f"{path}: {error}", fix="check the path"
        ) from error


def _parse(name: str, text: bytes) -> Any:
    try:
        if name.endswith(".json"):
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except (ValueError, RecursionError, ImportError) as error:
        raise InputError(
            "an advisory", got=f"{show(name, 80)}: {error}", fix="remove it"
        ) from error
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise InputError("an advisory", got=show(name, 80), fix="remove it") from error
        raise


def holes(entry: dict[str, Any]) -> Iterator[Hole]:
    """One per package that an advisory in OSV format is about."""
    aliases = [a for a in entry.get("aliases") or () if isinstance(a, str)]
    names = tuple(sorted({entry["id"], *aliases}))
    summary = show(str(entry.get("summary") or entry.get("details") or ""), 160)
    for affected in entry.get("affected") or ():
        package = affected.get("package") or {}
        if package.get("ecosystem") != "PyPI" or not isinstance(package.get("name"), str):
            continue
        ranges = [r for r in affected.get("ranges") or () if r.get("type") == "ECOSYSTEM"]
        events = [r.get("events") or () for r in ranges]
        listed = frozenset(map(_version, affected.get("versions") or ()))
        fixed = tuple(dict.fromkeys(str(e["fixed"]) for es in events for e in es if "fixed" in e))
        yield Hole(
            entry["id"], names, str(canonicalize_name(package["name"])), summary,
            _inside(events, listed), fixed,
        )  # fmt: skip


def _inside(
    ranges: Sequence[Sequence[dict[str, Any]]], listed: frozenset[Version | None]
) -> Callable[[Version], bool]:
    """Whether a version is listed, or in any range."""
    spans = list[list[tuple[Version, int, bool]]]()
    for events in ranges:
        points = list[tuple[Version, int, bool]]()
        for event in events:
            for kind, opens in (("introduced", True), ("fixed", False), ("last_affected", False)):
                at = _version("0.dev0" if event.get(kind) == "0" else event.get(kind))
                if at is not None:
                    points.append((at, int(kind == "last_affected"), opens))
        spans.append(sorted(points))

    def affected(version: Version) -> bool:
        for points in spans:
            state = False
            for at, after, opens in points:
                if version > at or (version == at and not after):
                    state = opens
            if state:
                return True
        return version in listed

    return affected


def _version(text: object) -> Version | None:
    try:
        return Version(str(text)) if text is not None else None
    except InvalidVersion:
        return None


def joined(found: Iterable[Hole]) -> list[Hole]:
    """The same vulnerability under several ids, of one package, is one."""
    kept = list[Hole]()
    for hole in found:
        same = [k for k in kept if k.package == hole.package and set(k.names) & set(hole.names)]
        for each in same:
            kept.remove(each)
        every = [*same, hole]
        names = tuple(sorted({n for h in every for n in h.names}))
        fixed = tuple(dict.fromkeys(f for h in every for f in h.fixed))
        tests = [h.affected for h in every]
        summary = max((h.summary for h in every), key=len)
        kept.append(Hole(_best(names), names, hole.package, summary, _either(tests), fixed))
    return kept


def _best(names: Sequence[str]) -> str:
    return next((n for n in names if n.startswith("CVE-")), names[0])


def _either(tests: Sequence[Callable[[Version], bool]]) -> Callable[[Version], bool]:
    return lambda version: any(test(version) for test in tests)


def audit(listing: Listing, found: Sequence[Hole]) -> list[Doubt]:
    """What is odd about packages, and which vulnerabilities hold for them."""
    own = list(built_in())
    merged = joined([*own, *found])
    loaders = {name for hole in own for name in hole.names}
    doubts = list(listing.doubts)
    for package in listing.packages:
        for hole in merged:
            if hole.package == package.name:
                doubts += _hits(package, hole, bool(loaders & set(hole.names)))
    return doubts


def _hits(package: Package, hole: Hole, loader: bool) -> Iterator[Doubt]:
    told = f"{', '.join(hole.names)}: {hole.summary}; fixed in {', '.join(hole.fixed) or 'none'}"
    if package.version is not None:
        version = _version(package.version)
        if version is not None and hole.affected(version):
            rule = LOADER_HOLE if loader else KNOWN_HOLE
            yield Doubt(
                rule,
                f"{package.name} {show(package.version, 40)}",
                told,
                package.line,
                package.file,
            )
        return
    try:
        wanted = SpecifierSet(package.specifier)
    except InvalidSpecifier:
        return
    edges = [_version(s.version.removesuffix(".*")) for s in wanted]
    if any(v is not None and v in wanted and hole.affected(v) for v in edges):
        yield Doubt(MAY_BE, package.name, told, package.line, package.file)


def online(path: Path | None = None, timeout: float = 300) -> list[Doubt]:
    """Ask pip-audit, which asks the network, about a requirements file or this environment.

    Raises:
        MissingExtra: pip-audit is not installed.
        InputError: it failed, or said nothing that can be read.
    """
    program = shutil.which("pip-audit", path=str(Path(sys.executable).parent)) or shutil.which(
        "pip-audit"
    )
    if program is None:
        raise MissingExtra("pip-audit", "audit")
    command = [program, "--format", "json", "--progress-spinner", "off"]
    command += ["--no-deps", "--disable-pip", "-r", str(path)] if path else []
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program and a path
            command, capture_output=True, text=True, timeout=timeout, check=False
        )
        return list(reported(json.loads(done.stdout)))
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        fix = "try again with a network, or give a dump with --advisories"
        raise InputError("an answer of pip-audit", got=show(str(error), 100), fix=fix) from error


def reported(answer: Any) -> Iterator[Doubt]:
    """What pip-audit found, from its JSON."""
    loaders = {name for hole in built_in() for name in hole.names}
    for each in answer.get("dependencies", ()) if isinstance(answer, dict) else ():
        for hole in each.get("vulns") or ():
            names = sorted({str(hole.get("id")), *map(str, hole.get("aliases") or ())})
            fixed = ", ".join(map(str, hole.get("fix_versions") or ())) or "none"
            told = f"{show(', '.join(names), 120)}; fixed in {show(fixed, 80)}"
            subject = show(f"{each.get('name')} {each.get('version')}", 80)
            yield Doubt(LOADER_HOLE if loaders & set(names) else KNOWN_HOLE, subject, told)
