"""Fuzz a user's own loader: damaged copies of a model file, in a process with limits.

One worker serves many copies and is replaced after each fault. A crash is the end of the worker by a
signal or by itself, a hang is silence for longer than allowed, memory is a `MemoryError` under the
limit of the address space. Exceptions are how a loader should refuse: they are counted, no faults.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from holdfast.core.errors import InputError
from holdfast.supply import fuzz_worker
from holdfast.supply.mutation import mutate

FAULTS = ("crash", "hang", "memory")
_START = 120.0
"""Seconds that a loader's imports may take."""


@dataclass(frozen=True)
class Limits:
    """What one load may cost.

    Attributes:
        seconds: of the clock, and nearly as many of the processor.
        memory: bytes of address space; what the loader's libraries map at the start counts.
        written: bytes of any file that the loader writes.
    """

    seconds: float = 5.0
    memory: int = 4 * 2**30
    written: int = 64 * 2**20


@dataclass
class Bucket:
    """Faults that have the same cause: the smallest file that shows it, and how often it was seen."""

    kind: str
    told: str
    number: int
    size: int
    count: int = 1

    @property
    def id(self) -> str:
        """Name of the reproducer."""
        return f"{self.kind}-{sha256(f'{self.kind}/{self.told}'.encode()).hexdigest()[:12]}"


@dataclass
class Found:
    """What a run has seen so far.

    Attributes:
        seed: of the copies.
        source: SHA-256 of the file, so that another one does not go on from here.
        done: copies that were loaded, always the first ones.
        counts: of "fine", "exception" and the faults.
        exceptions: how often each was raised.
        buckets: faults by their cause.
    """

    seed: int
    source: str
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    exceptions: Counter[str] = field(default_factory=Counter)
    buckets: dict[str, Bucket] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """Copies that crashed the loader, hung it, or took more memory than allowed."""
        return sum(self.counts[kind] for kind in FAULTS)

    def text(self) -> str:
        """As JSON."""
        told = {**vars(self), "buckets": [vars(each) for each in self.buckets.values()]}
        return json.dumps(told, indent=1, sort_keys=True) + "\n"

    @classmethod
    def read(cls, text: str) -> "Found":
        """What `text` gave.

        Raises:
            InputError: it is not that.
        """
        try:
            told = json.loads(text)
            buckets = [Bucket(**each) for each in told.pop("buckets")]
            counts, exceptions = Counter(told.pop("counts")), Counter(told.pop("exceptions"))
            return cls(
                **told, counts=counts, exceptions=exceptions, buckets={b.id: b for b in buckets}
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                "the state of an earlier run", got=str(error), fix="give another folder"
            ) from error


class Worker:
    """The process that loads; a session of its own, so that all it started ends with it."""

    def __init__(self, file: Path, function: str, limits: Limits) -> None:
        given = (str(file), function, str(limits.memory), str(limits.written), str(limits.seconds))
        self.limits = limits
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self.process = subprocess.Popen(  # noqa: S603  # a fixed command
            [sys.executable, "-X", "faulthandler", fuzz_worker.__file__, *given],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True,
        )  # fmt: skip
        state, told = self._answer(_START)
        if state != "ready":
            self.close()
            raise InputError("a loader that can be imported", got=told or state, fix="mend it")

    def load(self, path: Path) -> tuple[str, str]:
        """How loading this path ended, and by which cause."""
        if self.process.stdin is None:
            raise RuntimeError("the worker has no input")
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{path}\n".encode())
            self.process.stdin.flush()
        return self._answer(self.limits.seconds + 1)

    def _answer(self, seconds: float) -> tuple[str, str]:
        out = self.process.stdout
        if out is None:
            raise RuntimeError("the worker has no output")
        line, end = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(out, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not ready.select(max(0.0, end - time.monotonic())):
                    return "hang", "no answer in time"
                more = os.read(out.fileno(), 65_536)
                if not more:
                    return self._ended()
                line += more
        state, _, told = line.decode(errors="replace").rstrip("\n").partition("\t")
        return state, told

    def _ended(self) -> tuple[str, str]:
        """Why the worker is gone."""
        code = self.process.wait()
        if code == -signal.SIGXCPU:
            return "hang", "processor time"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return "crash", f"{name} at {self._trace()}".removesuffix(" at ")

    def _trace(self) -> str:
        """The innermost places of Python that faulthandler named, of the loader rather than of us."""
        self.errors.seek(0)
        lines = self.errors.read()[-65_536:].decode(errors="replace").splitlines()
        frames = [line.strip() for line in lines if line.strip().startswith('File "')]
        return " < ".join(
            f"{Path(f.split(chr(34))[1]).name}:{f.rpartition('line ')[2].partition(' ')[0]}"
            for f in frames[:3]
            if fuzz_worker.__file__ not in f
        )

    def close(self) -> None:
        """End it and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def loader(text: str) -> tuple[Path, str]:
    """File and function of `file.py:function`.

    Raises:
        InputError: there is no such file, or no function is named.
    """
    file, _, function = text.rpartition(":")
    if not file or not function.isidentifier() or not Path(file).is_file():
        raise InputError(
            "file.py:function that loads a path", got=text, fix="name an existing file"
        )
    return Path(file).resolve(), function


def fuzz(
    model: Path,
    load: tuple[Path, str],
    cases: int,
    folder: Path,
    limits: Limits | None = None,
    seed: int = 0,
    progress: Callable[[Found, int], None] = lambda found, cases: None,
) -> Found:
    """Load `cases` damaged copies; keeps the smallest of each fault in `folder` and goes on from there.

    Raises:
        InputError: no such model, an unusable loader, one that cannot load the whole file, or a
            folder with the state of another file or seed.
    """
    if not model.is_file() or not model.stat().st_size:
        raise InputError("a model file with bytes in it", got=str(model), fix="give its path")
    whole, limits = model.read_bytes(), limits or Limits()
    found, state = _state(folder, whole, seed), folder / "state.json"
    worker = Worker(*load, limits)
    try:
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, model.name)
            path.write_bytes(whole)
            how, told = worker.load(path)
            if how != "fine":
                fix = "mend the loader, or raise the limits"
                raise InputError(
                    "a loader that loads the whole file", got=f"{how}: {told}", fix=fix
                )
            for number in range(found.done, cases):
                data = mutate(whole, seed, number)
                path.write_bytes(data)
                how, told = worker.load(path)
                if how in FAULTS:
                    _keep(found, Bucket(how, told, number, len(data)), data, folder, model.suffix)
                if how in ("crash", "hang"):
                    worker.close()
                    worker = Worker(*load, limits)
                found.done = number + 1
                found.counts[how] += 1
                if how == "exception":
                    found.exceptions[told] += 1
                if how in FAULTS or found.done % 200 == 0:
                    _write(state, found.text())
                progress(found, cases)
    finally:
        worker.close()
        _write(state, found.text())
    return found


def _state(folder: Path, whole: bytes, seed: int) -> Found:
    """That of an earlier run of the same file and seed, or a new one."""
    folder.mkdir(parents=True, exist_ok=True)
    source, state = sha256(whole).hexdigest(), folder / "state.json"
    if not state.is_file():
        return Found(seed, source)
    found = Found.read(state.read_text("utf-8"))
    if (found.seed, found.source) != (seed, source):
        got = f"{folder} of another file or seed"
        raise InputError(
            "a folder of this file and seed, or an empty one", got=got, fix="give another"
        )
    return found


def _keep(found: Found, fault: Bucket, data: bytes, folder: Path, suffix: str) -> None:
    """Count the fault; keep its bytes where they are the smallest."""
    known = found.buckets.get(fault.id)
    if known is not None:
        fault.count = known.count + 1
        if known.size <= fault.size:
            known.count = fault.count
            return
    found.buckets[fault.id] = fault
    (folder / f"{fault.id}{suffix}").write_bytes(data)


def _write(state: Path, text: str) -> None:
    """At once: a run that is stopped between leaves the old state."""
    fresh = state.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(state)


def reproducers(found: Found) -> Iterator[Bucket]:
    """Buckets, crashes first, the most frequent first."""
    yield from sorted(found.buckets.values(), key=lambda b: (FAULTS.index(b.kind), -b.count, b.id))
