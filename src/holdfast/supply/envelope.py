"""Envelope encryption of files: AES-256-GCM in a STREAM of chunks, under a key of its own each.

STREAM of Hoang, Reyhanitabar, Rogaway and Vizar (2015): chunk i of a file is encrypted under the
nonce prefix || i || d, d = 1 for the last chunk alone. So no chunk can be taken away, repeated,
put elsewhere, or come from another file, and the end cannot be cut, without a tag failing. The
header is associated data of every chunk. What a chunk says is used only after its tag held; the
file appears under its name only after the last one did.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hmac import compare_digest
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.core.errors import InputError
from holdfast.supply import sealed
from holdfast.supply.keys import Keeper
from holdfast.supply.pickle_values import Malformed

Told = Callable[[int, int], None]


def seal(
    source: Path, target: Path, keeper: Keeper, *, chunk: int = sealed.CHUNK,
    replace: bool = False, told: Told | None = None,
) -> sealed.Header:  # fmt: skip
    """Encrypt a file under a fresh data key, in memory for two chunks.

    Raises:
        InputError: a file that is not there, a target that is, a keeper that fails.
    """
    if not 64 <= chunk <= 2**26:
        raise InputError("bytes per chunk", got=chunk, fix="give 64 bytes to 64 MiB")
    with _open(source) as file, _new(target, source, replace) as out:
        key = os.urandom(32)
        box, commitment = _derived(key)
        header = sealed.Header(chunk, os.urandom(7), commitment, keeper.wrap(key))
        head = header.written()
        sealed.parse(head)  # what cannot be read again must not be written
        out.write(head)
        context = hashlib.sha256(head).digest()
        for number, last, data in _chunks(file, chunk, told):
            out.write(box.encrypt(_nonce(header.prefix, number, last), data, context))
        shutil.copymode(source, out.name)
    return header


def unseal(
    source: Path, target: Path, keeper: Keeper, *, replace: bool = False, told: Told | None = None
) -> sealed.Header:
    """Decrypt a file; it appears, readable by its owner alone, only when all of it proved true.

    Raises:
        InputError: it was changed, cut or put together, or the key is another one.
    """
    with _open(source) as file, _new(target, source, replace) as out:
        header, head = read_header(file, source)
        for data in _opened(file, source, header, head, keeper, told):
            out.write(data)
    return header


def read(source: Path, keeper: Keeper) -> bytes:
    """The content of a sealed file, which is never on the disk; nothing of it before all is true.

    Raises:
        InputError: it was changed, cut or put together, or the key is another one.
    """
    with _open(source) as file:
        header, head = read_header(file, source)
        return b"".join(_opened(file, source, header, head, keeper, None))


def read_header(file: IO[bytes], source: Path) -> tuple[sealed.Header, bytes]:
    """The header and its bytes; the file is left at its first chunk.

    Raises:
        InputError: it is no sealed file.
    """
    try:
        head = file.read(12)
        head += file.read(sealed.length(head) - 12)
        return sealed.parse(head), head
    except Malformed as error:
        raise InputError(
            "a sealed file", got=f"{source.name}: {error}", fix="give one that `encrypt` made"
        ) from error


def _opened(
    file: IO[bytes], source: Path, header: sealed.Header, head: bytes, keeper: Keeper,
    told: Told | None,
) -> Iterator[bytes]:  # fmt: skip
    """Chunks of content, each after its tag held; nothing is proved of those that follow."""
    box, commitment = _derived(keeper.unwrap(header.key))
    if not compare_digest(commitment, header.commitment):
        raise _tampered(source, "the key is not the one that its header commits to")
    context = hashlib.sha256(head).digest()
    for number, last, data in _chunks(file, header.chunk + sealed.TAG, told):
        try:
            yield box.decrypt(_nonce(header.prefix, number, last), data, context)
        except InvalidTag as error:
            at = f"chunk {number}" if number else "header or chunk 0"
            reason = f"{at} is not what was written there, or the end is missing"
            raise _tampered(source, reason) from error


def _derived(key: bytes) -> tuple[AESGCM, bytes]:
    """Cipher and commitment.

    By the commitment a header has one data key: GCM alone allows for files that two keys open.
    """
    made = HKDF(SHA256(), 64, None, sealed.FORMAT.encode()).derive(key)
    return AESGCM(made[:32]), made[32:]


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    if number >= 2**32:
        raise InputError("at most 2^32 chunks", got="more", fix="seal with larger chunks")
    return prefix + number.to_bytes(4, "big") + bytes([last])


def _chunks(file: IO[bytes], size: int, told: Told | None) -> Iterator[tuple[int, bool, bytes]]:
    """Number, whether it is the last, and bytes; an empty file is one empty chunk."""
    total = os.fstat(file.fileno()).st_size
    data, number, last = file.read(size), 0, False
    while not last:
        after = file.read(size)
        last = not after
        yield number, last, data
        if told:
            told(min(total, file.tell()), total)
        data, number = after, number + 1


@contextmanager
def _open(source: Path) -> Iterator[IO[bytes]]:
    try:
        with source.open("rb") as file:
            yield file
    except OSError as error:
        got = f"{error.filename or source}: {error.strerror}"
        raise InputError(
            "a file to read and one to write", got=got, fix="check paths, rights and space"
        ) from error


@contextmanager
def _new(target: Path, source: Path, replace: bool) -> Iterator[IO[bytes]]:
    """A file beside the target that takes its name when all went well, and else is gone."""
    if target.exists() and (not replace or target.samefile(source)):
        raise InputError("a new file to write", got=f"{target}, which exists", fix="name another")
    with tempfile.NamedTemporaryFile(
        prefix=f".{target.name}.", suffix=".part", dir=target.parent, delete=False
    ) as out:
        try:
            yield out
            out.flush()
            os.fsync(out.fileno())
            Path(out.name).replace(target)
        except BaseException:
            Path(out.name).unlink(missing_ok=True)
            raise


def _tampered(source: Path, reason: str) -> InputError:
    return InputError(
        f"{source.name} was changed after it was sealed", got=reason,
        fix="do not use it; get it again from where it was sealed",
    )  # fmt: skip
