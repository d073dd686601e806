"""Hash loaded weights again and again, and tell which tensor changed, within a period.

What was loaded is trusted as it is when the monitor starts: check the file before. Code that is
swapped at run time, such as another `forward` or a hook, leaves the weights as they are.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from holdfast.core.errors import InputError
from holdfast.supply.merkle import CHUNK, leaf

Weights = nn.Module | Mapping[str, Tensor]


@dataclass(frozen=True)
class Print:
    """What a tensor was: type, shape, and the hash of each chunk of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """All of it in one SHA-256."""
        head = json.dumps([self.dtype, self.shape]).encode()
        return hashlib.sha256(head + b"".join(self.chunks)).hexdigest()


@dataclass(frozen=True)
class Changed:
    """A tensor that is not as it was.

    Attributes:
        name: the tensor.
        kind: changed, restored, added, removed or unreadable.
        detail: what was seen, as part of a sentence.
        at: seconds since the epoch.
    """

    name: str
    kind: str
    detail: str
    at: float


@dataclass(frozen=True)
class Cost:
    """What watching costs.

    Attributes:
        rounds: how often all weights were hashed.
        size: bytes of all weights.
        seconds: spent on hashing so far.
        longest: seconds of the longest round.
        share: of the time since the start that one core was busy with it.
        late: rounds that took longer than the period, so that a change was told late.
    """

    rounds: int
    size: int
    seconds: float
    longest: float
    share: float
    late: int


def tensors(weights: Weights) -> dict[str, Tensor]:
    """Parameters and buffers of a module by name, those that have two names under both."""
    if not isinstance(weights, nn.Module):
        return dict(weights)
    found = dict(weights.named_parameters(remove_duplicate=False))
    return {**found, **dict(weights.named_buffers(remove_duplicate=False))}


def fingerprint(tensor: Tensor, chunk: int = CHUNK) -> Print:
    """Hash a tensor, of any device, chunk by chunk.

    Raises:
        InputError: a sparse, quantised or meta tensor.
    """
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        got = f"{tensor.layout}, {tensor.dtype} on {tensor.device}"
        raise InputError("a dense tensor that holds numbers", got=got, fix="skip it by its name")
    flat = tensor.detach().reshape(-1)
    step = max(1, chunk // max(1, tensor.element_size()))
    parts = (flat[at : at + step].cpu().contiguous() for at in range(0, len(flat), step))
    chunks = tuple(leaf(each.view(torch.uint8).numpy().data) for each in parts)
    return Print(str(tensor.dtype), tuple(tensor.shape), chunks)


class Monitor:
    """Watches weights from a thread; `with Monitor(module, told): serve()`.

    A change is told within `period` seconds of its making, as long as a round takes less than half
    of that. Hashing frees the interpreter, so answers go on meanwhile.
    """

    def __init__(
        self, weights: Weights, told: Callable[[Changed], None], *, period: float = 30.0,
        skip: tuple[str, ...] = (), chunk: int = CHUNK,
    ) -> None:  # fmt: skip
        """Take the weights as they are now for right.

        Args:
            weights: a module, or tensors by name; looked at anew in every round.
            told: called in the monitor's thread with each change, once.
            period: seconds within which a change is told.
            skip: patterns of names that may change, such as `*.num_batches_tracked`.
            chunk: bytes that are hashed at once.

        Raises:
            InputError: no weights, no time, or a tensor that cannot be hashed.
        """
        if not period > 0:
            raise InputError("a period", got=period, fix="give seconds above zero")
        self._weights, self._told, self._period = weights, told, period
        self._skip, self._chunk = skip, chunk
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._rounds = self._late = 0
        self._spent = self._longest = 0.0
        self._began = time.monotonic()
        self._first = {name: fingerprint(t, chunk) for name, t in self._watched()}
        self._last: dict[str, Print | None] = dict(self._first)
        if not self._first:
            raise InputError("weights to watch", got="none", fix="give a module with parameters")

    @property
    def baseline(self) -> Mapping[str, str]:
        """SHA-256 of each tensor as it was at the start."""
        return {name: each.digest for name, each in self._first.items()}

    @property
    def cost(self) -> Cost:
        """What it has cost so far."""
        size = sum(t.numel() * t.element_size() for _, t in self._watched())
        passed = max(time.monotonic() - self._began, 1e-9)
        share = self._spent / passed
        return Cost(self._rounds, size, self._spent, self._longest, share, self._late)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; it ends when `told` raises."""
        return self._thread is not None and self._thread.is_alive()

    def check(self) -> tuple[Changed, ...]:
        """Hash everything once, now; tell and return what changed since the last time."""
        with self._lock:
            began, found = time.monotonic(), []
            for change in self._compared():
                found.append(change)
                self._told(change)
            spent = time.monotonic() - began
            self._rounds += 1
            self._spent += spent
            self._longest = max(self._longest, spent)
            self._late += spent > self._period
            return tuple(found)

    def start(self) -> Self:
        """Watch from now on."""
        if not self.alive:
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="weights", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def _watch(self) -> None:
        """Begin rounds so often that two looks at one tensor are a period apart at most."""
        wait = 0.0
        while not self._stop.wait(wait):
            began = time.monotonic()
            self.check()
            wait = max(0.0, 0.9 * self._period - self._longest - (time.monotonic() - began))

    def _watched(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in tensors(self._weights).items():
            if not any(fnmatchcase(name, pattern) for pattern in self._skip):
                yield name, tensor

    def _compared(self) -> Iterator[Changed]:
        names = set()
        for name, tensor in self._watched():
            names.add(name)
            before = self._last.get(name)
            try:
                now = fingerprint(tensor, self._chunk)
            except (InputError, RuntimeError) as error:
                if before is not None:
                    self._last[name] = None
                    yield Changed(name, "unreadable", str(error), time.time())
                continue
            if now != before:
                self._last[name] = now
                yield Changed(name, *self._said(name, before, now), time.time())
        for name in [name for name in self._last if name not in names]:
            del self._last[name]
            yield Changed(name, "removed", "the model has it no longer", time.time())

    def _said(self, name: str, before: Print | None, now: Print) -> tuple[str, str]:
        first = self._first.get(name)
        if first == now:
            return "restored", "it is again as it was at the start"
        if first is None and before is None:
            return "added", f"the model did not have this {now.dtype} {list(now.shape)}"
        if before is None or (before.dtype, before.shape) != (now.dtype, now.shape):
            was = f"{before.dtype} {list(before.shape)}" if before else "not readable"
            return "changed", f"it was {was} and is {now.dtype} {list(now.shape)}"
        pairs = zip(before.chunks, now.chunks, strict=True)
        differs = [number for number, (a, b) in enumerate(pairs) if a != b]
        many = f"{len(differs)} of {len(now.chunks)} chunks of {self._chunk:,} bytes differ"
        return "changed", f"{many}, the first is {differs[0]}"
