"""Reads training scripts for what code poisoning needs, without running them.

A blind backdoor (Bagdasaryan and Shmatikov 2021) sits in the code: it needs no poisoned data and
leaves none. What it cannot do without is visible in the syntax tree: a second loss on changed
inputs, gradients that are weighed or added, batches or labels that are written to, a condition
that keeps it out of sight. Values are followed through assignments, branches and calls of
functions of the same file, by what is done with them and not by how they are called. What another
file does cannot be seen here: review the whole folder.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import InputError
from holdfast.core.record import Finding, Measurement, Property, Severity, Stage
from holdfast.supply import code_rules
from holdfast.supply.code_flow import Flow
from holdfast.supply.code_names import Names
from holdfast.supply.code_static import Static
from holdfast.supply.code_watch import Found, Watch
from holdfast.supply.pickle_values import Exhausted, show

LARGEST = 2 * 2**20
"""Bytes of a script that is still read: nobody writes a longer one by hand."""
PASSES = 4
"""The first ones learn what is input, label and model; the last one reports."""
REFS = ("AML.T0010.001", "AML.T0020", "OWASP ML10:2023", "NIST AI 100-2 backdoor poisoning")


@dataclass(frozen=True)
class Review:
    """What is known of one script.

    Attributes:
        file: its name.
        lines: how many it has.
        size: its bytes.
        found: what is wrong, the worst first, then by line.
    """

    file: str
    lines: int
    size: int
    found: tuple[Found, ...]

    @property
    def worst(self) -> Severity:
        """The highest severity."""
        return max((each.rule.severity for each in self.found), default=Severity.INFO)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """For records and reports; the last one tells what was read."""
        read = not any(each.rule is code_rules.UNREAD for each in self.found)
        told = f"{self.lines:,} lines of training code {'were read' if read else 'were not read'}"
        last = Finding(
            rule="supply/training_code_scan/read", severity=Severity.INFO, title=told,
            detail="Values were followed through the file; nothing was run.", where=self.file,
            property=Property.INTEGRITY, stage=Stage.TRAINING, refs=REFS,
            evidence=(
                Measurement("parts read", int(read), 1, int(read), int(read)),
                Measurement("bytes read", self.size * read, 1, self.size * read, self.size * read,
                            unit="bytes"),
            ),
        )  # fmt: skip
        return (*(_finding(each, self.file) for each in self.found), last)


def _finding(found: Found, file: str) -> Finding:
    rule = found.rule
    title = rule.title.replace("{subject}", show(found.subject, 100))
    reason = f"{found.reason[:1].upper()}{found.reason[1:]}"
    return Finding(
        rule=f"supply/{rule.id}", severity=rule.severity,
        title=title.replace("{reason}", found.reason), detail=f"{reason}. {rule.remedy}",
        where=f"{file}, line {found.line:,}", property=Property.INTEGRITY, stage=Stage.TRAINING,
        refs=(*REFS, *rule.refs),
    )  # fmt: skip


def review_source(source: bytes | str, file: str) -> Review:
    """Everything that is odd in one script; what cannot be read is a finding as well."""
    raw = source.encode(errors="replace") if isinstance(source, str) else source
    lines = raw.count(b"\n") + bool(raw and not raw.endswith(b"\n"))
    try:
        found = _found(raw)
    except SyntaxError as error:
        found = [_unread(f"not Python: {error.msg}", error.lineno or 0)]
    except (ValueError, RecursionError, MemoryError, Exhausted) as error:
        found = [_unread(str(error)[:100] or type(error).__name__, 0)]
    found.sort(key=lambda each: (-each.rule.severity, each.line, each.rule.id))
    return Review(file, lines, len(raw), tuple(found))


def _found(raw: bytes) -> list[Found]:
    if len(raw) > LARGEST:
        raise Exhausted(f"{len(raw):,} bytes, where at most {LARGEST:,} are read")
    tree = ast.parse(raw)
    names, watch = Names.of(tree), Watch()
    flow = Flow(names, watch)
    for turn in range(PASSES):
        watch.final = turn == PASSES - 1
        watch.minimised = set()
        flow.run(tree)
    return [*watch.found.values(), *Static(tree, names).found()]


def _unread(reason: str, line: int) -> Found:
    return Found(code_rules.UNREAD, line, "", reason)


def review_file(path: Path, named: str = "") -> Review:
    """The same for a file.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    path = Path(path)
    try:
        return review_source(path.read_bytes(), named or path.name)
    except OSError as error:
        raise InputError(
            "a script that can be read", got=f"{path}: {error.strerror}", fix="check the path"
        ) from error


def scripts(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Python files of files and folders, in a fixed order, with the names to report.

    Raises:
        InputError: a path is neither a file nor a folder, or nothing in it is Python.
    """
    found = list[tuple[Path, str]]()
    for path in map(Path, paths):
        if path.is_dir():
            inner = sorted(p for p in path.rglob("*.py") if p.is_file() and not p.is_symlink())
            found += [(p, f"{path.name}/{p.relative_to(path).as_posix()}") for p in inner]
        elif path.is_file():
            found.append((path, path.name))
        else:
            raise InputError("a script or a folder", got=str(path), fix="check the path")
    if not found:
        raise InputError("training scripts", got="no .py file", fix="give the folder of the code")
    return found
