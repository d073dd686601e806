"""What a model's files are: SHA-256 in Merkle trees, so that a change is named to the chunk.

A file is cut into chunks of one size; their hashes are the leaves of the tree of RFC 6962, section
2.1. The roots of all files, with names and sizes, are the leaves of one more tree, whose root stands
for the whole folder: who has that one number over another way needs no signature.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from holdfast.core.errors import InputError
from holdfast.supply.merkle import CHUNK, Told, hashed, leaf, listed, tree
from holdfast.supply.pickle_values import show

FORMAT = "holdfast-manifest/1"
ENDING = ".manifest.json"
_LARGEST = 2**28
"""Bytes of a manifest that are read: enough for 16 terabytes of weights."""


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes:
        path: its name within the folder, with slashes.
        size: its bytes.
        chunks: hash of each chunk.
    """

    path: str
    size: int
    chunks: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """Stands for the content."""
        return tree(self.chunks)


@dataclass(frozen=True)
class Manifest:
    """What the files of a model were.

    Attributes:
        kind: "file" or "folder".
        chunk: bytes per chunk.
        files: in the order of their names.
    """

    kind: str
    chunk: int
    files: tuple[Entry, ...]

    @property
    def root(self) -> bytes:
        """Stands for everything: kind, size of chunks, names, sizes and contents."""
        head = {"chunk": self.chunk, "format": FORMAT, "kind": self.kind}
        rows = ({"path": f.path, "root": f.root.hex(), "size": f.size} for f in self.files)
        return tree([leaf(_plain(each)) for each in chain([head], rows)])

    def text(self) -> str:
        """As JSON; the same files always give the same text."""
        files = [
            {"path": f.path, "size": f.size, "root": f.root.hex(), "chunks": [c.hex() for c in f.chunks]}
            for f in self.files
        ]  # fmt: skip
        told = {
            "format": FORMAT, "hash": "sha256", "kind": self.kind, "chunk": self.chunk,
            "root": self.root.hex(), "files": files,
        }  # fmt: skip
        return json.dumps(told, indent=1, ensure_ascii=True) + "\n"


@dataclass(frozen=True)
class Change:
    """One difference between files and their manifest.

    Attributes:
        kind: added, removed, renamed or changed.
        path: the file, by its new name.
        was: the former name of a renamed file.
        chunks: numbers of the chunks that differ.
        chunk: bytes per chunk.
        reason: what was seen, as part of a sentence.
    """

    kind: str
    path: str
    reason: str
    was: str = ""
    chunks: tuple[int, ...] = ()
    chunk: int = CHUNK

    @property
    def offset(self) -> int:
        """First byte that may differ."""
        return self.chunks[0] * self.chunk if self.chunks else 0

    def __str__(self) -> str:
        return f"{self.kind} {show(self.path, 200)}: {self.reason}"


@dataclass(frozen=True)
class Check:
    """What was compared, and what differs.

    Attributes:
        files: how many files were hashed.
        size: their bytes.
        changes: in the order of the names.
    """

    files: int
    size: int
    changes: tuple[Change, ...] = field(default=())


def beside(path: Path) -> Path:
    """Where the manifest of a file or folder lies unless another place is given."""
    whole = path.resolve() if path.name in ("", "..") else path
    return whole.with_name(whole.name + ENDING)


def build(
    path: Path, *, chunk: int = CHUNK, skip: Sequence[Path] = (), told: Told | None = None
) -> Manifest:
    """Hash a file, or every file of a folder; empty folders leave no trace.

    Links to files count as the file, as a loader reads that. `skip` names files to leave out, such
    as a manifest that lies in the folder.

    Raises:
        InputError: no such path, a file that cannot be read, a link to a folder, a device.
    """
    if not 1024 <= chunk <= 2**30:
        raise InputError("bytes per chunk", got=chunk, fix="give 1 KiB to 1 GiB")
    kind, found, others = _listed(path, skip)
    if others:
        name, what = next(iter(others.items()))
        fix = "take it away, or give the folder that it points to"
        raise InputError("only files and folders", got=f"{show(name, 200)}, {what}", fix=fix)
    return Manifest(kind, chunk, tuple(_entries(found, chunk, told)))


def check(
    path: Path, manifest: Manifest, *, skip: Sequence[Path] = (), told: Told | None = None
) -> Check:
    """Hash the files again and name what is not as it was.

    Raises:
        InputError: no such path, another kind than the manifest's, a file that cannot be read.
    """
    kind, found, others = _listed(path, skip)
    if kind != manifest.kind:
        fix = "give the path that the manifest was made of"
        raise InputError(f"a {manifest.kind}, as in the manifest", got=f"a {kind}", fix=fix)
    now = {entry.path: entry for entry in _entries(found, manifest.chunk, told)}
    was = {entry.path: entry for entry in manifest.files}
    if kind == "file" and now.keys() != was.keys():  # one file: another name is no other file
        (new,), (old,) = now.values(), was.values()
        odd = Change("renamed", new.path, f"was {show(old.path, 200)}", old.path)
        changes = [odd, *_compared(new.path, old, new, manifest.chunk)]
    else:
        both = (name for name in was if name in now)
        changes = [
            c for name in both for c in _compared(name, was[name], now[name], manifest.chunk)
        ]
        changes += _moved(was, now, others)
    changes.sort(key=lambda change: (change.path, change.kind))
    return Check(len(now), sum(entry.size for entry in now.values()), tuple(changes))


def load(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InputError: it is none, or does not agree with itself.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise _broken(path, f"more than {_LARGEST:,} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path, str(error)) from error
    return parse(text, path)


def parse(text: str, path: Path = Path("manifest")) -> Manifest:
    """The same from text; `path` is what it is called in errors."""
    try:
        node = json.loads(text, object_pairs_hook=_unique)
        manifest = _read(node)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        raise _broken(path, reason) from error
    return manifest


def _read(node: Any) -> Manifest:
    """A checked manifest; whatever is odd is a ValueError, TypeError or KeyError."""
    if node["format"] != FORMAT or node["hash"] != "sha256":
        raise ValueError(f"format {node['format']!r}, hash {node['hash']!r}")
    kind, chunk = node["kind"], _number(node["chunk"])
    if kind not in ("file", "folder") or not 1024 <= chunk <= 2**30:
        raise ValueError(f"kind {kind!r}, chunk {chunk}")
    files = []
    for row in node["files"]:
        name, size = row["path"], _number(row["size"])
        entry = Entry(name, size, tuple(map(_digest, row["chunks"])))
        parts = PurePosixPath(name).parts
        if not parts or name != "/".join(parts) or ".." in parts or "\0" in name:
            raise ValueError(f"a path {name!r}")
        if len(entry.chunks) != -(-size // chunk) or entry.root != _digest(row["root"]):
            raise ValueError(f"size, chunks and root of {name!r} do not agree")
        files.append(entry)
    names = [entry.path for entry in files]
    if names != sorted(set(names)) or (kind == "file" and len(files) != 1):
        raise ValueError("files that are not in order, or listed twice")
    manifest = Manifest(kind, chunk, tuple(files))
    if manifest.root != _digest(node["root"]):
        raise ValueError("its root is not the root of its files: it was edited")
    return manifest


def _listed(path: Path, skip: Sequence[Path]) -> tuple[str, dict[str, Path], dict[str, str]]:
    """Kind, files by name, and by name what is no file."""
    if path.is_file():
        return "file", {path.name: path}, {}
    if not path.is_dir():
        raise InputError("a file or folder", got=f"{path}, which is neither", fix="check the path")
    return "folder", *listed(path, skip)


def _entries(found: Mapping[str, Path], chunk: int, told: Told | None) -> Iterator[Entry]:
    return (Entry(*each) for each in hashed(found, chunk, told))


def _compared(name: str, was: Entry, now: Entry, chunk: int) -> Iterator[Change]:
    """At most one change: which chunks of a file differ."""
    if was.chunks == now.chunks:
        return
    count = max(len(was.chunks), len(now.chunks))
    differs = tuple(i for i in range(count) if was.chunks[i : i + 1] != now.chunks[i : i + 1])
    size = "" if was.size == now.size else f", {was.size:,} bytes became {now.size:,}"
    first, last = differs[0] * chunk, min((differs[-1] + 1) * chunk, max(was.size, now.size))
    which = f"{_numbers(differs)}, counted from 0, of {count}"
    reason = f"{which}, within bytes {first:,} to {last - 1:,}{size}"
    yield Change("changed", name, reason, chunks=differs, chunk=chunk)


def _moved(
    was: Mapping[str, Entry], now: Mapping[str, Entry], others: Mapping[str, str]
) -> Iterator[Change]:
    """Files that are gone, came, or have another name; what is no file counts as added."""
    gone = {name: entry for name, entry in was.items() if name not in now}
    for name, entry in now.items():
        if name in was:
            continue
        same = (n for n, e in gone.items() if (e.size, e.chunks) == (entry.size, entry.chunks))
        old = next(same, None)
        if old is None:
            yield Change("added", name, f"{entry.size:,} bytes that the manifest does not list")
        else:
            del gone[old]
            yield Change("renamed", name, f"was {show(old, 200)}, with the same content", old)
    for name, entry in gone.items():
        yield Change("removed", name, f"{entry.size:,} bytes are no longer there")
    for name, what in others.items():
        yield Change("added", name, f"it is {what}, which no manifest lists")


def _numbers(chunks: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, chunks[:8]))
    more = f" and {len(chunks) - 8} more" if len(chunks) > 8 else ""
    return f"another chunk {shown}" if len(chunks) == 1 else f"other chunks {shown}{more}"


def _plain(node: Mapping[str, Any]) -> bytes:
    return json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key that is given twice")
    return dict(pairs)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"a size {value!r}")
    return value


def _digest(value: Any) -> bytes:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"a hash {value!r}")
    return bytes.fromhex(value)


def _broken(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path.name} is no manifest that can be trusted", got=show(reason, 200),
        fix="get it again from where it was made",
    )  # fmt: skip
