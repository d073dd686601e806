"""Ways to wrap the data key of a sealed file: a key file, a passphrase, or an external program."""

import base64
import hashlib
import json
import os
import subprocess
import unicodedata
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from holdfast.core.errors import InputError
from holdfast.supply.pickle_values import show

_PURPOSE = b"holdfast-sealed/1 data key"
_SHORTEST = 12
_LONGEST = 4096
"""Bytes that a program may give for one wrapped key."""


class Keeper(Protocol):
    """Wraps data keys, and unwraps its own."""

    def wrap(self, key: bytes) -> Mapping[str, Any]:
        """What the header keeps of a 32-byte data key."""

    def unwrap(self, told: Mapping[str, Any]) -> bytes:
        """The data key again.

        Raises:
            InputError: it was wrapped otherwise, by another key, or the header was changed.
        """


@dataclass(frozen=True, repr=False)
class KeyFile:
    """A key of 32 bytes that wraps by AES-256-GCM, good for 2^32 files."""

    key: bytes

    @classmethod
    def read(cls, path: Path) -> "KeyFile":
        """From a file of 32 bytes, or of 64 hexadecimal digits.

        Raises:
            InputError: it is neither.
        """
        try:
            with path.open("rb") as file:
                data = file.read(100)
        except OSError as error:
            got = f"{path}: {error.strerror}"
            raise InputError("a key file", got=got, fix="make one with --new-key") from error
        try:
            key = data if len(data) == 32 else bytes.fromhex(data.decode("ascii").strip())
        except ValueError:
            key = b""
        if len(key) != 32:
            fix = "give 32 random bytes or 64 hexadecimal digits, as --new-key writes"
            raise InputError("a key file", got=f"{path} of {len(data)} bytes", fix=fix)
        return cls(key)

    @staticmethod
    def make(path: Path) -> "KeyFile":
        """A new random key in a new file that only its owner can read.

        Raises:
            InputError: there is such a file already.
        """
        key = os.urandom(32)
        new_file(path, key.hex().encode() + b"\n")
        return KeyFile(key)

    @property
    def id(self) -> str:
        """Tells keys apart without telling them."""
        return hashlib.sha256(b"holdfast key id\0" + self.key).hexdigest()[:16]

    def wrap(self, key: bytes) -> Mapping[str, Any]:
        return {"way": "file", "id": self.id, **_wrap(self.key, key)}

    def unwrap(self, told: Mapping[str, Any]) -> bytes:
        _same("file", told)
        if told["id"] != self.id:
            fix = "give the key file that it was sealed with"
            raise InputError(f"the key {told['id']}", got=f"the key {self.id}", fix=fix)
        return _unwrap(self.key, told, "the key file")


@dataclass(frozen=True, repr=False)
class Passphrase:
    """A key from a passphrase by scrypt (RFC 7914), which makes each guess cost 128 * n * r bytes.

    Attributes:
        text: the passphrase.
        n: cost in memory and time, a power of two (default: OWASP Password Storage Cheat Sheet).
        r: block size.
        p: parallel runs.
        salt: for wrapping, 16 bytes in hexadecimal digits.
    """

    text: str
    n: int = 2**17
    r: int = 8
    p: int = 1
    salt: str = field(default_factory=lambda: os.urandom(16).hex())
    _known: dict[tuple[object, ...], bytes] = field(default_factory=dict, compare=False)
    """Derived keys by salt and cost: files of one run share these, not their data keys."""

    def wrap(self, key: bytes) -> Mapping[str, Any]:
        if len(self.text) < _SHORTEST:
            fix = "take longer ones, such as six random words; scrypt cannot mend a short one"
            raise InputError(
                f"a passphrase of at least {_SHORTEST} characters", got=len(self.text), fix=fix
            )
        cost = {"salt": self.salt, "n": self.n, "r": self.r, "p": self.p}
        return {"way": "passphrase", **cost, **_wrap(self._derived(cost), key)}

    def unwrap(self, told: Mapping[str, Any]) -> bytes:
        _same("passphrase", told)
        return _unwrap(self._derived(told), told, "the passphrase")

    def _derived(self, cost: Mapping[str, Any]) -> bytes:
        which = tuple(cost[name] for name in ("salt", "n", "r", "p"))
        if which not in self._known:
            text = unicodedata.normalize("NFC", self.text).encode()
            salt = bytes.fromhex(cost["salt"])
            scrypt = Scrypt(salt=salt, length=32, n=cost["n"], r=cost["r"], p=cost["p"])
            self._known[which] = scrypt.derive(text)
        return self._known[which]


@dataclass(frozen=True)
class Program:
    """A key management service or a hardware module behind a program.

    The program gets the data key, or what it once made of it, on its standard input, and answers
    on its standard output. It is started directly, from a list of words, never through a shell,
    and never from what a sealed file says.

    Attributes:
        wrapping: program and arguments that encrypt.
        unwrapping: program and arguments that decrypt.
        encoding: how both answer: "raw" bytes or "base64".
        seconds: time that one answer may take.
    """

    wrapping: tuple[str, ...]
    unwrapping: tuple[str, ...]
    encoding: str = "raw"
    seconds: float = 60.0

    @classmethod
    def read(cls, path: Path) -> "Program":
        """From JSON: {"wrap": ["gpg", ...], "unwrap": [...], "encoding": "raw"}.

        Raises:
            InputError: it is not of that form.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            words = {name: told[name] for name in ("wrap", "unwrap")}
            encoding = told.get("encoding", "raw")
            good = all(
                isinstance(w, list) and w and all(isinstance(each, str) for each in w)
                for w in words.values()
            )
            if not good or encoding not in ("raw", "base64"):
                raise ValueError("other than lists of words")
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                "a description of a KMS program", got=f"{path}: {error}",
                fix='write {"wrap": ["program", "word"], "unwrap": ["program", "word"]}',
            ) from error  # fmt: skip
        return cls(tuple(words["wrap"]), tuple(words["unwrap"]), encoding)

    def wrap(self, key: bytes) -> Mapping[str, Any]:
        wrapped = self._answer(self.wrapping, key)
        if not 16 <= len(wrapped) <= _LONGEST or key in wrapped:
            got = f"{len(wrapped)} bytes" + (" with the key in them" if key in wrapped else "")
            raise InputError("a wrapped key from the KMS program", got=got, fix="check the program")
        return {"way": "kms", "wrapped": wrapped.hex()}

    def unwrap(self, told: Mapping[str, Any]) -> bytes:
        _same("kms", told)
        key = self._answer(self.unwrapping, bytes.fromhex(told["wrapped"]))
        if len(key) != 32:
            fix = "check the program, its encoding, and whether it has the key"
            raise InputError("a data key of 32 bytes", got=f"{len(key)} bytes", fix=fix)
        return key

    def _answer(self, words: tuple[str, ...], data: bytes) -> bytes:
        name = show(words[0], 100)
        try:
            done = subprocess.run(  # noqa: S603 (the caller's own words, and no shell)
                words, input=data, capture_output=True, timeout=self.seconds, check=False
            )
            if done.returncode:
                said = show(done.stderr.decode(errors="replace").strip(), 200)
                raise InputError(
                    f"the KMS program {name} failed", got=f"exit code {done.returncode}: {said}",
                    fix="run it by hand",
                )  # fmt: skip
            return base64.b64decode(done.stdout) if self.encoding == "base64" else done.stdout
        except (OSError, subprocess.TimeoutExpired, NotBase64) as error:
            what = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise InputError(
                f"the KMS program {name} gave no answer", got=what, fix="run it by hand"
            ) from error


def new_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that must not be there yet.

    Raises:
        InputError: it is there, or cannot be written.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        got = f"{path}: {error.strerror}"
        raise InputError("a place for a new key", got=got, fix="give another path") from error
    with os.fdopen(number, "wb") as file:
        file.write(data)


def _wrap(by: bytes, key: bytes) -> dict[str, str]:
    nonce = os.urandom(12)
    return {"nonce": nonce.hex(), "wrapped": AESGCM(by).encrypt(nonce, key, _PURPOSE).hex()}


def _unwrap(by: bytes, told: Mapping[str, Any], what: str) -> bytes:
    try:
        nonce, wrapped = bytes.fromhex(told["nonce"]), bytes.fromhex(told["wrapped"])
        return AESGCM(by).decrypt(nonce, wrapped, _PURPOSE)
    except InvalidTag as error:
        raise InputError(
            f"{what} of the sealed file", got="another one, or a header that was changed",
            fix=f"check {what}, or get the file again",
        ) from error  # fmt: skip


def _same(way: str, told: Mapping[str, Any]) -> None:
    if told["way"] != way:
        given = {"file": "a key file", "passphrase": "a passphrase", "kms": "a KMS program"}
        raise InputError(
            f"{given[told['way']]}, by which the file was sealed", got=given[way],
            fix="give the other one",
        )  # fmt: skip
