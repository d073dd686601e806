"""`watch`: where a process connects to, and whether its files and weights stay as they are."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from rich.text import Text

from holdfast.cli.console import log, out
from holdfast.core.errors import InputError
from holdfast.supply import manifest, procfs
from holdfast.supply.egress import Connection, Loopback, Policy, Sensor, allow
from holdfast.supply.manifest import Check, Manifest
from holdfast.supply.memory import Memory
from holdfast.supply.pickle_values import show
from holdfast.supply.watchlog import Event, Log


@dataclass(frozen=True)
class Places:
    """Where the process may connect to.

    Attributes:
        allowed: entries of the allow list.
        loopback: allow or judge what stays within the machine.
        orphans: count what no process holds any more, too.
    """

    allowed: Sequence[str] = ()
    loopback: str = "allow"
    orphans: bool = False


@dataclass(frozen=True)
class Pace:
    """How often, and how long.

    Attributes:
        period: seconds between two looks at the connections.
        rehash: seconds between two looks at the files.
        seconds: how long to watch, None until the process ends.
    """

    period: float = 1.0
    rehash: float = 30.0
    seconds: float | None = None


@dataclass
class Files:
    """Hashes files in a thread of its own, so that no connection is missed meanwhile.

    Attributes:
        known: what the files were, from the manifest beside each or as they are at the start.
        memories: weights in the memory of the process.
    """

    known: dict[Path, Manifest]
    memories: tuple[Memory, ...] = ()
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _job: Future[list[Event]] | None = None
    _told: set[Event] = field(default_factory=set)

    @classmethod
    def of(cls, pid: int, paths: Sequence[Path], weights: Sequence[Path]) -> "Files":
        """Take manifests that lie beside files, make those that do not; find weights in memory."""
        known = {}
        for path in paths:
            beside = manifest.beside(path)
            known[path] = manifest.load(beside) if beside.is_file() else manifest.build(path)
            how = f"by {beside.name}" if beside.is_file() else "as it is now"
            log.print(f"{path.name} is watched {how}, root {known[path].root.hex()[:16]}")
        memories = tuple(Memory(pid, path) for path in weights)
        for each in memories:
            found = len({place.weight.name for place in each.places})
            rest = f", {len(each.missing)} not, such as {each.missing[0]}" if each.missing else ""
            log.print(f"{each.file.name}: {found} tensors found in memory{rest}", markup=False)
        return cls(known, memories)

    def look(self, wait: bool = False) -> Iterator[Event]:
        """Changes that were not told before; starts the next look where none is under way."""
        if (self.known or self.memories) and self._job is None:
            self._job = self.pool.submit(self._changes)
        if self._job is not None and (wait or self._job.done()):
            found = [event for event in self._job.result() if event not in self._told]
            self._job = None
            self._told.update(found)
            yield from found

    @property
    def busy(self) -> bool:
        """Whether a look is under way."""
        return self._job is not None

    def _changes(self) -> list[Event]:
        events = []
        for path, known in self.known.items():
            try:
                found = manifest.check(path, known)
            except InputError as error:  # gone, or written to at this moment
                found = Check(0, 0, (manifest.Change("unreadable", path.name, str(error)),))
            events += [Event(f"{path.name}: {c.path}", c.kind, c.reason) for c in found.changes]
        for memory in self.memories:
            for c in memory.check():
                if c.kind == "copy":
                    log.print(
                        f"note: one copy of {c.name} in memory changed {c.detail}", markup=False
                    )
                else:
                    events.append(Event(f"{c.name} in memory", c.kind, c.detail))
        return events


def run_watch(
    pid: int, places: Places, files: Sequence[Path], weights: Sequence[Path], pace: Pace,
    record: Path | None,
) -> int:  # fmt: skip
    """0 when the process connected to nothing outside of the list and nothing changed, else 1."""
    if not (pace.period > 0 and pace.rehash > 0):
        raise InputError("seconds", got=(pace.period, pace.rehash), fix="give numbers above zero")
    policy = Policy(tuple(map(allow, places.allowed)), cast(Loopback, places.loopback))
    sensor = Sensor(pid, policy, places.orphans)
    program, began, started = procfs.program(pid), time.monotonic(), datetime.now(UTC)
    watched, events = Files.of(pid, files, weights), list[Event]()
    log.print(f"watching {program} ({pid}) and what it starts; Ctrl-C ends it")
    end = began + pace.seconds if pace.seconds is not None else float("inf")
    due = began
    try:
        while (fresh := sensor.poll()) is not None:
            for one in fresh:
                _told(one)
            if watched.busy or time.monotonic() >= due:
                due = due if watched.busy else time.monotonic() + pace.rehash
                events += _changed(watched.look())
            if time.monotonic() + pace.period > end:
                break
            time.sleep(pace.period)
    except KeyboardInterrupt:
        log.print("stopped")
    events += _changed(watched.look(wait=True))
    watched.pool.shutdown(cancel_futures=True)
    passed = round(time.monotonic() - began, 3)
    made = Log(
        pid, program, started.isoformat(timespec="seconds"), passed, pace.period, sensor.rounds,
        sensor.policy, tuple(sensor.seen.values()), tuple(events),
    )  # fmt: skip
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(made.text(), encoding="utf-8")
        log.print(f"wrote {record}")
    out.print(_summary(made))
    return int(bool(made.alarms or made.events))


def _told(one: Connection) -> None:
    mark = ("allowed      ", "green") if one.allowed else ("ALARM        ", "bold red")
    out.print(Text.assemble(mark, str(one)))


def _changed(events: Iterator[Event]) -> list[Event]:
    found = list(events)
    for each in found:
        line = f"{show(each.name, 200)} {each.kind}: {each.detail}"
        out.print(Text.assemble(("ALARM        ", "bold red"), line))
    return found


def _summary(made: Log) -> Text:
    told = f"{len(made.connections)} connections, {len(made.alarms)} of them not allowed"
    changed = f"{len(made.events)} changes of files and weights"
    looks = f"{made.rounds} looks in {made.seconds:.0f} s"
    limit = f"what lasts less than {made.period:g} s may be missed"
    return Text(f"{told}; {changed}; {looks}, {limit}.", "dim")
