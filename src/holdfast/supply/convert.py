"""Tensors of a torch checkpoint as safetensors, without loading it: the remedy for a pickle.

Nothing of the file is imported or called, so what it would run is left behind with it. Numbers are
copied bit by bit, in pieces of a few megabytes, so the memory needed does not grow with the file.
"""

import json
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from holdfast.core.errors import InputError, UnsafeModel
from holdfast.core.record import Severity
from holdfast.supply.checkpoints import Checkpoint, Contents, View, contents, open_checkpoint
from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.pickle_values import Buffer, Exhausted, Malformed, show
from holdfast.supply.rules import Verdict

_CHUNK = 2**22
_ENTRIES, _HEADER = 5_000, 2**20
_GROWTH, _SLACK = 8, 2**26
"""A tensor may repeat its numbers by a stride of zero: what is written is at most this much longer."""
_RUNS = ("pickle_scan/executing-callable", "pickle_scan/unknown-callable")


@dataclass(frozen=True)
class Converted:
    """What came of a checkpoint.

    Attributes:
        source: the checkpoint.
        target: the safetensors file.
        tensors: how many were written.
        size: bytes of the new file.
        kept: texts and numbers that went into its metadata, by dotted key.
        dropped: what is not in it, as sentences without a full stop.
        copied: tensors that shared their numbers or were no plain run of them, as sentences.
        left: what the checkpoint would have run, and where; none of it is in the new file.
    """

    source: Path
    target: Path
    tensors: int
    size: int
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """For a terminal, the result first."""
        count = f"{self.tensors:,} {'tensor' if self.tensors == 1 else 'tensors'}"
        first = f"{self.source.name}: {count} written to {self.target} ({self.size:,} bytes)"
        kept = f"kept as metadata: {', '.join(self.kept[:8])}{' ...' if self.kept[8:] else ''}"
        return (
            first,
            *(f"  not carried over, it runs code: {each}" for each in self.left),
            *(f"  dropped: {each}" for each in self.dropped),
            *(f"  copied: {each}" for each in self.copied),
            *((f"  {kept}",) if self.kept else ()),
        )


def convert(path: Path, out: Path) -> Converted:
    """Write the tensors of a torch checkpoint to a safetensors file in the folder `out`.

    State dicts, nested dictionaries and lists, states of optimisers and modules are followed; each
    tensor is named by the dotted path to it. Texts and numbers go into the metadata as JSON.

    Raises:
        InputError: this is no checkpoint of torch, or it cannot be written safely and completely.
        UnsafeModel: the tensors come out of what would run code.
    """
    path, out = Path(path), Path(out)
    if not path.is_file():
        raise InputError("a checkpoint to convert", got=str(path), fix="give the path of a file")
    target = out / f"{path.stem}.safetensors"
    if target.exists():
        raise InputError(
            "a new file to write", got=str(target), fix="remove it or choose another folder"
        )
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise InputError("a checkpoint of torch", got="an empty file", fix="get it again")
            # not closed by hand: an error on the way may still hold arrays that look into it
            return _convert(mmap(file.fileno(), 0, access=ACCESS_READ), path, target)
    except OSError as error:
        raise InputError(
            "a file and a folder that can be used", got=f"{path} and {out}: {error.strerror}",
            fix="check their rights",
        ) from error  # fmt: skip


def _convert(data: Buffer, path: Path, target: Path) -> Converted:
    scan = scan_bytes(data, path.name)
    try:
        checkpoint = open_checkpoint(data)
    except (Malformed, Exhausted) as error:
        raise InputError(
            "a checkpoint of torch", got=f"{path.name}, {error}", fix="get it again"
        ) from error
    if checkpoint is None:
        raise InputError(
            "a checkpoint of torch (zip, or the format before 1.6)", got=path.name,
            fix="only these are converted: save others from the library that wrote them",
        )  # fmt: skip
    left = _allowed(scan)
    walk = contents(checkpoint)
    if walk.lost:
        raise UnsafeModel(
            "tensors that need no code",
            got=f"{show(walk.lost[0])}, which is made by what would run code",
            fix="ask for the weights as safetensors: nothing here can tell what that code does",
        )  # fmt: skip
    if not walk.tensors:
        raise InputError(
            "a checkpoint that holds tensors", got=path.name, fix="there is nothing to convert"
        )
    _reach(walk, checkpoint, len(data))
    copied = _copied(walk.tensors)
    size = _write(target, walk, checkpoint)
    kept, dropped = (tuple(show(each, 200) for each in told) for told in (walk.texts, walk.dropped))
    return Converted(path, target, len(walk.tensors), size, kept, dropped, copied, left)


def _allowed(scan: Scan) -> tuple[str, ...]:
    """What the file would run, none of which is carried over.

    Raises:
        InputError: the file is damaged, or not all of it could be read.
        UnsafeModel: an allowed callable is misused, so that no tensor can be trusted.
    """
    left = []
    for issue in scan.issues:
        if issue.rule.severity < Severity.MEDIUM:
            continue
        if issue.rule.verdict is not Verdict.FLAGGED:
            raise InputError(
                "a checkpoint that can be read whole", got=f"{issue.title} ({issue.where})",
                fix="get it again from its source",
            )  # fmt: skip
        if issue.rule.id not in _RUNS:
            raise UnsafeModel(
                "a checkpoint that only holds what it seems to",
                got=f"{issue.title} ({issue.where})", fix="ask for the weights as safetensors",
            )  # fmt: skip
        left.append(f"{issue.title[:1].lower()}{issue.title[1:]} ({issue.where})")
    return tuple(left)


def _reach(walk: Contents, checkpoint: Checkpoint, room: int) -> None:
    """Check each tensor against the bytes that are there.

    Raises:
        InputError: it lies outside of them, or repeats them out of all proportion.
    """
    for name, view in walk.tensors.items():
        _, start, end = checkpoint.storages.get(view.storage, (b"", 0, -1))
        if end < start or view.needs > end - start:
            raise InputError(
                "tensors whose numbers are in the file", got=f"{show(name)}, which reaches beyond them",
                fix="get the file again from its source",
            )  # fmt: skip
    size = sum(view.bytes for view in walk.tensors.values())
    if size > _GROWTH * room + _SLACK:
        raise InputError(
            "tensors about as large as their file", got=f"{size:,} bytes out of {room:,}",
            fix="save the tensors without repeating strides, by .contiguous()",
        )  # fmt: skip


def _copied(tensors: dict[str, View]) -> tuple[str, ...]:
    """Tensors that are no plain run of numbers of their own."""
    users: dict[str, list[str]] = {}
    for name, view in tensors.items():
        users.setdefault(view.storage, []).append(show(name))
    shared = [names for names in users.values() if len(names) > 1]
    told = [f"{', '.join(names[:4])} share a storage, each has its own now" for names in shared]
    strided = [show(name) for name, view in tensors.items() if not view.plain]
    return (*told, *(f"{name} was read by strides, and is contiguous now" for name in strided))


def _write(target: Path, walk: Contents, checkpoint: Checkpoint) -> int:
    """The safetensors file: eight bytes of length, a header in JSON, and the numbers."""
    order = sorted(walk.tensors.items(), key=lambda pair: (-pair[1].width, pair[0]))
    header: dict[str, object] = {"__metadata__": _metadata(walk)}
    at = 0
    for name, view in order:
        end = at + view.bytes
        header[name] = {"dtype": view.kind, "shape": list(view.size), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as file:
        try:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, view in order:
                for chunk in _chunks(view, *checkpoint.storages[view.storage][:2]):
                    file.write(chunk)
            file.close()
            Path(file.name).chmod(0o644)  # a temporary file is for its owner alone
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return 8 + len(text) + at


def _metadata(walk: Contents) -> dict[str, str]:
    """Texts and numbers as JSON; what is too much for a header is dropped, and said so."""
    kept, room = {"format": "pt"}, _HEADER
    for key in list(walk.texts):
        text = json.dumps(walk.texts[key])
        room -= len(text) + len(key)
        if key in kept or room < 0 or len(kept) > _ENTRIES:
            walk.dropped[f"{show(key)}: more text than belongs into a header"] = None
            del walk.texts[key]
        else:
            kept[key] = text
    return kept


def _chunks(view: View, data: Buffer, start: int) -> Iterator[bytes]:
    """The numbers of a tensor in order, a few megabytes at a time."""
    import numpy as np

    if not view.bytes:
        return
    first = start + view.offset * view.width
    if view.plain:
        for at in range(first, first + view.bytes, _CHUNK):
            yield bytes(data[at : min(at + _CHUNK, first + view.bytes)])
        return
    strides = tuple(step * view.width for step in view.stride)
    whole = np.ndarray(view.size, f"V{view.width}", buffer=data, offset=first, strides=strides)
    split, inner = 0, view.bytes  # leading axes are walked until what is left is small
    while inner > _CHUNK and split < len(view.size):
        inner //= view.size[split]
        split += 1
    for place in np.ndindex(*view.size[:split]):
        yield np.ascontiguousarray(whole[place]).tobytes()
