"""Weights in the memory of another process, found by the safetensors file that it loaded.

/proc/PID/mem of Linux shows a process's memory to its own user (as far as ptrace is allowed) and to
root. A tensor is looked for by eight of its bytes, at every even address, and taken where all of
its bytes are those of the file. From then on the same place is hashed again. What is not found so:
tensors of few or equal bytes, such as zeros; weights that were converted, quantised or moved to an
accelerator. Loading can leave copies in memory that nothing uses: while one of them is whole, a
change of another copy is a note and no alarm. Start to watch when the model has served a while.
"""

import json
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import InputError
from holdfast.supply import procfs
from holdfast.supply.merkle import CHUNK, leaf
from holdfast.supply.monitor import Changed
from holdfast.supply.pickle_values import show
from holdfast.supply.procfs import PROC

Words = NDArray[np.uint64]
SMALLEST = 64
"""Bytes of a tensor below which equal bytes elsewhere are too likely."""
_WINDOW = 2**24


@dataclass(frozen=True)
class Weight:
    """A tensor of the file.

    Attributes:
        name: the tensor.
        begin: its first byte in the file.
        size: its bytes.
        chunks: hashes of its chunks.
        at: where within it the eight bytes are that it is looked for by.
        word: these bytes as a number, 0 where no eight of its bytes are good for that.
    """

    name: str
    begin: int
    size: int
    chunks: tuple[bytes, ...]
    at: int
    word: int


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in memory."""

    weight: Weight
    address: int


@dataclass
class Memory:
    """Watches the weights of a file in a process.

    Attributes:
        pid: the process.
        file: safetensors file that it loaded.
        proc: where the kernel's files are.
        places: where tensors were found; a tensor can be there more than once.
        missing: tensors that were not found.
    """

    pid: int
    file: Path
    proc: Path = PROC
    places: tuple[Place, ...] = ()
    missing: tuple[str, ...] = ()
    _last: dict[Place, tuple[bytes, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weights = tuple(read(self.file))
        with self._open() as memory:
            self.places = tuple(self._find(memory, weights))
        found = {place.weight.name for place in self.places}
        self.missing = tuple(w.name for w in weights if w.name not in found)
        self._last = {place: place.weight.chunks for place in self.places}
        if not self.places:
            fix = "give the safetensors file that it loaded; weights on a GPU are not seen"
            raise InputError(f"weights in the memory of process {self.pid}", got="none", fix=fix)

    def check(self) -> Iterator[Changed]:
        """Hash every place again; what is not as it was at the last look.

        A copy beside which another one is still as in the file is told as a "copy" and left: most
        likely it was a leftover of loading, and its memory is used again.
        """
        if procfs.process(self.pid, self.proc) is None:
            return
        try:
            memory = self._open()
        except InputError as error:
            yield Changed(show(self.file.name, 100), "unreadable", str(error), time.time())
            return
        with memory:
            for place, before in list(self._last.items()):
                now = _hashes(memory, place.address, place.weight.size)
                if now == before:
                    continue
                if not now and procfs.process(self.pid, self.proc) is None:
                    return  # it ended, and its memory with it
                yield self._judged(place, now)

    def _judged(self, place: Place, now: tuple[bytes, ...]) -> Changed:
        """What a change of one place means."""
        weight = place.weight
        others = [c for p, c in self._last.items() if p.weight == weight and p != place]
        whole = sum(chunks == weight.chunks for chunks in others)
        kind = "changed" if now else "removed"
        if now == weight.chunks:
            kind = "restored"
        elif whole:
            kind = "copy"
        self._last[place] = now
        if kind in ("copy", "removed"):
            del self._last[place]
        detail = f"at {place.address:#x}; {whole} other copies are as in the file"
        return Changed(show(weight.name, 100), kind, detail, time.time())

    def _open(self) -> IO[bytes]:
        try:
            return (self.proc / str(self.pid) / "mem").open("rb", buffering=0)
        except OSError as error:
            fix = "watch as its user, or as root, where ptrace is allowed"
            got = f"process {self.pid}: {error.strerror}"
            raise InputError("a process whose memory may be read", got=got, fix=fix) from error

    def _regions(self) -> Iterator[tuple[int, int]]:
        """Memory that is written to or holds data of a file, without programs and libraries."""
        for line in (self.proc / str(self.pid) / "maps").read_text().splitlines():
            words = line.split(maxsplit=5)
            name = words[5] if len(words) > 5 else ""
            data = words[1].startswith("rw") or name == str(self.file.resolve())
            if data and "x" not in words[1] and not name.startswith(("[vv", "[vsys")):
                begin, end = (int(each, 16) for each in words[0].split("-"))
                yield begin, end

    def _find(self, memory: IO[bytes], weights: tuple[Weight, ...]) -> Iterator[Place]:
        wanted: dict[int, list[Weight]] = {}
        for each in weights:
            if each.word:
                wanted.setdefault(each.word, []).append(each)
        words = np.array(sorted(wanted), dtype=np.uint64)
        marks = np.zeros(2**16, dtype=bool)
        marks[_mixed(words)] = True
        for begin, end in self._regions():
            for start in range(begin, end, _WINDOW):
                data = _read(memory, start, min(_WINDOW + 8, end - start))
                for shift in range(0, min(8, len(data) - 7), 2):
                    count = min(_WINDOW, len(data) - shift) // 8
                    view = np.frombuffer(data, np.uint64, count, shift)
                    near = np.flatnonzero(marks[_mixed(view)])
                    for hit in near[np.isin(view[near], words)].tolist():
                        for weight in wanted[int(view[hit])]:
                            address = start + shift + 8 * hit - weight.at
                            if _hashes(memory, address, weight.size) == weight.chunks:
                                yield Place(weight, address)


def read(file: Path) -> Iterator[Weight]:
    """Tensors of a safetensors file that are large enough to be looked for.

    Raises:
        InputError: it is none.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as data:
            (length,) = struct.unpack("<Q", data.read(8))
            if length > min(size, 10**8):
                raise ValueError("a header longer than the file")
            told: Mapping[str, Mapping[str, list[int]]] = json.loads(data.read(length))
            for name, each in told.items():
                if name == "__metadata__":
                    continue
                begin, end = each["data_offsets"]
                if not 0 <= begin <= end <= size - 8 - length:
                    raise ValueError(f"the offsets of {name!r}")
                if end - begin >= SMALLEST:
                    yield _weight(data, name, 8 + length + begin, end - begin)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        got = show(f"{file.name}: {error}", 200)
        raise InputError(
            "a safetensors file", got=got, fix="give the one that was loaded"
        ) from error


def _mixed(words: Words) -> NDArray[np.uint64]:
    """Sixteen bits of each word that depend on all of it: few wrong ones are looked at closer."""
    return (words * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(48)


def _weight(data: IO[bytes], name: str, begin: int, size: int) -> Weight:
    data.seek(begin)
    head = np.frombuffer(data.read(min(size, 2**16) // 8 * 8), np.uint64)
    # the rarest word, so that memory has few places to look at closer; never zeros
    values, first, counts = np.unique(head, return_index=True, return_counts=True)
    counts[values == 0] = len(head) + 1
    best = int(counts.argmin())
    good = len(values) > 2 or len(head) < 3
    word = int(values[best]) if good and counts[best] <= len(head) else 0
    return Weight(name, begin, size, _hashes(data, begin, size), 8 * int(first[best]), word)


def _hashes(file: IO[bytes], begin: int, size: int) -> tuple[bytes, ...]:
    """Hashes of the chunks of a range, none where it is not there to its end."""
    hashes = []
    for at in range(begin, begin + size, CHUNK):
        data = _read(file, at, min(CHUNK, begin + size - at))
        if len(data) < min(CHUNK, begin + size - at):
            return ()
        hashes.append(leaf(data))
    return tuple(hashes)


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    try:
        file.seek(at)
        return file.read(size)
    except (OSError, ValueError):
        return b""
