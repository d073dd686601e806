"""Hashes of files in Merkle trees: the tree of RFC 6962, section 2.1, over chunks of one size."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from holdfast.core.errors import InputError

CHUNK = 2**22
"""Bytes of one chunk: small enough to point at a layer, large enough for a short manifest."""
_LEAF, _NODE = b"\0", b"\1"
Told = Callable[[int, int], None]
"""Hears (done, total) in bytes."""


def leaf(data: bytes | memoryview) -> bytes:
    """Hash of one leaf: SHA-256(0x00 || data)."""
    digest = hashlib.sha256(_LEAF)
    digest.update(data)
    return digest.digest()


def tree(leaves: Sequence[bytes]) -> bytes:
    """Root over hashes of leaves: SHA-256(0x01 || left || right), the left part a power of two.

    Joining neighbours level by level and passing an odd one on gives the same tree as the
    recursion of the RFC.
    """
    level = list(leaves)
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        odd = [level[-1]] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hashlib.sha256(_NODE + a + b).digest() for a, b in pairs] + odd
    return level[0]


def listed(folder: Path, skip: Sequence[Path] = ()) -> tuple[dict[str, Path], dict[str, str]]:
    """Files of a folder by name, with slashes and in order; and by name what is no file.

    A link to a file counts as the file, as a loader reads that; a link to a folder is no file.

    Raises:
        InputError: a folder that cannot be read.
    """
    left = {each.resolve() for each in skip}
    found: dict[str, Path] = {}
    others: dict[str, str] = {}
    try:
        for root, folders, files in os.walk(folder, onerror=_raise):
            for each in (Path(root, name) for name in (*folders, *files)):
                name = each.relative_to(folder).as_posix()
                if each.is_file():
                    if each.is_symlink() or each.resolve() not in left:
                        found[name] = each
                elif each.is_symlink():
                    others[name] = "a link to a folder" if each.is_dir() else "a link to no file"
                elif not each.is_dir():
                    others[name] = "a pipe, socket or device"
    except OSError as error:
        raise unreadable(error) from error
    return dict(sorted(found.items())), dict(sorted(others.items()))


def hashed(
    found: Mapping[str, Path], chunk: int = CHUNK, told: Told | None = None
) -> Iterator[tuple[str, int, tuple[bytes, ...]]]:
    """Name, bytes and hashes of the chunks of each file.

    As many threads as there are processors read and hash: SHA-256 frees the interpreter.

    Raises:
        InputError: a file that cannot be read, or that changed meanwhile.
    """
    try:
        before = {name: path.stat() for name, path in found.items()}
        total, done = sum(stat.st_size for stat in before.values()), 0
        jobs = [(found[n], at) for n, s in before.items() for at in range(0, s.st_size, chunk)]
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(min(8, os.cpu_count() or 1)))
            stack.callback(pool.shutdown, cancel_futures=True)  # whoever stops us need not wait
            hashes = pool.map(partial(_chunk, size=chunk), jobs)
            for name, stat in before.items():
                chunks = []
                for at in range(0, stat.st_size, chunk):
                    chunks.append(next(hashes))
                    done += min(chunk, stat.st_size - at)
                    if told:
                        told(done, total)
                after = found[name].stat()
                if (after.st_size, after.st_mtime_ns) != (stat.st_size, stat.st_mtime_ns):
                    got, fix = f"{found[name]}, which changed", "wait until nothing writes to it"
                    raise InputError("a file that rests while it is hashed", got=got, fix=fix)
                yield name, stat.st_size, tuple(chunks)
    except OSError as error:
        raise unreadable(error) from error


def unreadable(error: OSError) -> InputError:
    """The same as a line for the user."""
    got = f"{error.filename}: {error.strerror}"
    return InputError("files that can be read", got=got, fix="check the path and its rights")


def _chunk(job: tuple[Path, int], size: int) -> bytes:
    path, at = job
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        return leaf(file.read(size))


def _raise(error: OSError) -> None:
    raise error
