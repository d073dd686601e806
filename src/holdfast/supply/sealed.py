r"""The header of a sealed file, read with the standard library alone.

    "\x89HFSEAL\n", 4 bytes length of the header, header, chunks

The header is canonical JSON: how the file's data key is wrapped and how the chunks are cut. Each
chunk is AES-256-GCM over up to `chunk` bytes, with its 16-byte tag, as in STREAM (Hoang et al.
2015): the nonce is the file's prefix, the number of the chunk, and whether it is the
last. The hash of everything before the first chunk is associated data of every chunk.
"""

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.supply.pickle_values import Malformed, show

MAGIC = b"\x89HFSEAL\n"
FORMAT = "holdfast-sealed/1"
AEAD = "AES-256-GCM"
ENDING = ".sealed"
CHUNK = 2**20
TAG = 16
_MOST = 2**14
"""Bytes of a header: a wrapped key of an asymmetric scheme takes less than half."""
_FIELDS = {"format": str, "aead": str, "chunk": int, "prefix": str, "commitment": str, "key": dict}
_WAYS: Mapping[str, Mapping[str, int | None]] = {
    "file": {"id": 8, "nonce": 12, "wrapped": 48},
    "passphrase": {"salt": 16, "nonce": 12, "wrapped": 48},
    "kms": {"wrapped": None},
}
"""Hexadecimal fields of each way to wrap the key, with their bytes; None for any number."""
_SCRYPT = {"n": 2**20, "r": 32, "p": 16}
_MEMORY = 2**30
"""Bytes that scrypt may ask for; a header is read before anything proves where it is from."""


@dataclass(frozen=True)
class Header:
    """What the header says; nothing is proved yet.

    Attributes:
        chunk: bytes of content per chunk.
        prefix: first seven bytes of every nonce.
        commitment: derived from the data key, so that one file has one key.
        key: how the data key is wrapped: `way` and its fields.
    """

    chunk: int
    prefix: bytes
    commitment: bytes
    key: Mapping[str, Any]

    @property
    def way(self) -> str:
        """How the data key is wrapped: file, passphrase or kms."""
        return str(self.key["way"])

    @property
    def size(self) -> int:
        """Bytes up to the first chunk."""
        return len(self.written())

    def written(self) -> bytes:
        """As it stands at the beginning of a file."""
        told = {
            "format": FORMAT, "aead": AEAD, "chunk": self.chunk, "prefix": self.prefix.hex(),
            "commitment": self.commitment.hex(), "key": dict(self.key),
        }  # fmt: skip
        text = _plain(told)
        return MAGIC + struct.pack(">I", len(text)) + text

    def content(self, size: int) -> int | None:
        """Bytes of content in a file of `size` bytes, None where no file has that size."""
        full, rest = divmod(size - self.size, self.chunk + TAG)
        if rest == 0 and full > 0:
            return full * self.chunk
        return full * self.chunk + rest - TAG if rest >= TAG and (rest > TAG or not full) else None

    def weaknesses(self) -> tuple[str, ...]:
        """What is weaker than today's advice, each as part of a sentence."""
        if self.way != "passphrase":
            return ()
        n, r, p = self.key["n"], self.key["r"], self.key["p"]
        # OWASP Password Storage Cheat Sheet: N = 2^17, 2^16, 2^15, 2^14, 2^13 with p = 1, 2, 3, 5,
        # 10 and r = 8
        if n >= 2**13 and n * p >= 5 * 2**14 and r >= 8:
            return ()
        return (f"scrypt with n = {n}, r = {r}, p = {p} lets passphrases be guessed fast",)


def length(head: bytes) -> int:
    """Bytes up to the first chunk, from the first twelve bytes of a file.

    Raises:
        Malformed: it is no sealed file, or its header is too long.
    """
    if len(head) < 12 or not head.startswith(MAGIC):
        raise Malformed("it does not begin as a sealed file does")
    (size,) = struct.unpack(">I", head[8:12])
    if size > _MOST:
        raise Malformed(f"a header of {size:,} bytes")
    return 12 + int(size)


def parse(data: bytes) -> Header:
    """The header, from all bytes up to the first chunk.

    Raises:
        Malformed: it is not as this version writes it.
    """
    if length(data[:12]) != len(data):
        raise Malformed("the header ends too early")
    try:
        told = json.loads(data[12:].decode("ascii"))
        if not isinstance(told, dict) or _plain(told) != data[12:]:
            raise ValueError("it is not in its canonical form")
        if {k: type(v) for k, v in told.items()} != _FIELDS:
            raise ValueError("it has other fields")
        if (told["format"], told["aead"]) != (FORMAT, AEAD):
            raise ValueError(f"it is {told['format']} with {told['aead']}")
        if not 64 <= told["chunk"] <= 2**26:
            raise ValueError(f"chunks of {told['chunk']} bytes")
        key = _key(told["key"])
        prefix, commitment = _hex(told["prefix"], 7), _hex(told["commitment"], 32)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the header cannot be read: {show(str(error), 120)}") from error
    return Header(told["chunk"], prefix, commitment, key)


def _key(told: Mapping[str, Any]) -> Mapping[str, Any]:
    way = told.get("way")
    fields = _WAYS.get(way, {}) if isinstance(way, str) else {}
    numbers = _SCRYPT if way == "passphrase" else {}
    if not fields or told.keys() != {"way", *fields, *numbers}:
        raise ValueError(f"a key wrapped in an unknown way, {way!r}")
    for name, size in fields.items():
        _hex(told[name], size)
    for name, most in numbers.items():
        if type(told[name]) is not int or not 1 <= told[name] <= most:
            raise ValueError(f"scrypt with {name} = {told[name]!r}")
    if numbers:
        n = told["n"]
        if n < 2 or n & (n - 1) or 128 * n * told["r"] > _MEMORY:
            raise ValueError(f"scrypt with n = {n}, r = {told['r']}")
    return told


def _hex(value: Any, size: int | None) -> bytes:
    if not isinstance(value, str) or not re.fullmatch("(?:[0-9a-f]{2})+", value):
        raise ValueError("a field that is not hexadecimal")
    if size is not None and len(value) != 2 * size:
        raise ValueError(f"a field of {len(value) // 2} bytes instead of {size}")
    return bytes.fromhex(value)


def _plain(node: Mapping[str, Any]) -> bytes:
    return json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
