"""One file while it is read: its parts, what was read of each, and what was found."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from holdfast.core.record import Severity
from holdfast.supply import rules
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed
from holdfast.supply.rules import Issue, Rule, Verdict

MANY = 200
"""Issues of one rule that are kept: a file can be made to have millions, before the one that counts."""


@dataclass
class Allowance:
    """What may still be spent on one file.

    Attributes:
        opcodes: of pickles.
        depth: archives within archives.
        inflated: bytes of decompressed data.
        parts: members of all archives together.
    """

    opcodes: int = 3_000_000
    depth: int = 8
    inflated: int = 256 * 2**20
    parts: int = 65_536


@dataclass(frozen=True)
class Part:
    """A run of bytes that is read by itself: the file, or a member of an archive in it.

    Attributes:
        data: the bytes it lies in. Never sliced whole: it can be a mapped file of many gigabytes.
        start: first of its own bytes in `data`.
        end: first byte that is not its own.
        name: path of the part in the file, "" for the file itself.
        file: name of the file.
        depth: how many more archives may be opened within it.
        raw: holds the numbers of a tensor by the word of its archive.
        script: lies in an archive of TorchScript, whose pickles name compiled classes.
        travels: lies in an archive whose loader imports the Python files in it.
    """

    data: Buffer
    start: int
    end: int
    name: str = ""
    file: str = ""
    depth: int = 8
    raw: bool = False
    script: bool = False
    travels: bool = False

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def called(self) -> str:
        """What it is called: the last piece of its path, or the name of the file."""
        return PurePosixPath(self.name.rpartition("!")[2] if self.name else self.file).name

    @property
    def suffix(self) -> str:
        """The ending of its name, in small letters. A hint for text, never a reason to trust."""
        return PurePosixPath(self.called).suffix.lower()

    def head(self, count: int, at: int = 0) -> bytes:
        """Up to `count` bytes, from `at` bytes after the beginning."""
        begin = self.start + at
        return bytes(self.data[begin : max(begin, min(begin + count, self.end))])

    def whole(self, most: int) -> bytes:
        """All bytes.

        Raises:
            Exhausted: there are more than `most`.
        """
        if len(self) > most:
            raise Exhausted(f"{len(self):,} bytes, where at most {most:,} are read of this kind")
        return bytes(self.data[self.start : self.end])

    def within(self, start: int, end: int, name: str, data: Buffer | None = None) -> "Part":
        """A part of this part, `start` and `end` being places in its `data` or in the new one."""
        label = f"{self.name}!{name}" if self.name else name
        data = self.data if data is None else data
        return Part(data, start, end, label, self.file, self.depth - 1, script=self.script)

    def slice(self, start: int, end: int) -> "Part":
        """The same part cut to fewer bytes."""
        return replace(self, start=start, end=end)


@dataclass(frozen=True)
class Piece:
    """What was read: which part, as what, and how many of its bytes."""

    member: str
    format: str
    size: int


@dataclass
class Reading:
    """What was read of one file, and what was found.

    Attributes:
        dispatch: reads a part by its content; false where it is of no known kind.
        pieces: what was read. A file of which nothing was read is never clean.
        others: members of archives that are of no known kind.
        opcodes: how many opcodes of pickles were followed.
    """

    file: str
    dispatch: Callable[["Reading", Part], bool]
    allowance: Allowance = field(default_factory=Allowance)
    issues: list[Issue] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    others: int = 0
    opcodes: int = 0
    _told: Counter[str] = field(default_factory=Counter)

    def report(
        self, part: Part, rule: Rule, reason: str, at: int | None = None, subject: str = ""
    ) -> None:
        """Write down what is wrong; `at` is a place in the part's data, by default its beginning."""
        self._told[rule.id] += 1
        if self._told[rule.id] <= MANY:
            offset = 0 if at is None else at - part.start
            self.issues.append(Issue(rule, self.file, part.name, offset, reason, subject))

    def took(self, part: Part, format_: str, size: int | None = None) -> None:
        """Write down that a part was read as this format, to the last byte unless `size` is given."""
        self.pieces.append(Piece(part.name, format_, len(part) if size is None else size))

    def read(self, part: Part) -> bool:
        """Read a part by its content; an error of its reader is an issue, never an end.

        Returns:
            Whether it is of a known kind.
        """
        if part.depth <= 0 or self.allowance.parts <= 0:
            self.report(part, rules.BUDGET, "too many parts, or parts too deep within parts")
            return True
        self.allowance.parts -= 1
        try:
            return self.dispatch(self, part)
        except Malformed as error:
            self.report(part, rules.MALFORMED, str(error))
        except Exhausted as error:
            self.report(part, rules.BUDGET, str(error))
        return True

    @property
    def verdict(self) -> Verdict:
        """The worst that an issue makes of the file; clean only where something was read."""
        found = {i.rule.verdict for i in self.issues if i.rule.severity >= Severity.MEDIUM}
        if not self.pieces:
            found.add(Verdict.UNREAD)
        return next(verdict for verdict in Verdict if verdict in found or verdict is Verdict.CLEAN)
