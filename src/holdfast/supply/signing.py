"""Sign and verify model files with OpenSSF model-signing, by an elliptic-curve key and offline.

The bundle is what the `model_signing` program writes and reads: a Sigstore bundle around a DSSE
envelope, in it an in-toto statement with the hash of every file. Keyless signing binds it to an
identity instead of a key; it talks to an identity provider, a certificate authority and a public
log, so it needs a network, and it is never done unless asked for.
"""

import base64
import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from holdfast.core.errors import InputError, MissingExtra
from holdfast.supply.merkle import listed
from holdfast.supply.pickle_values import show

ENDING = ".sig"
PREDICATE = "https://model_signing/signature/v1.0"
_GIT = (".git", ".github", ".gitattributes", ".gitignore")
"""What other programs leave out by default, and no loader of models reads."""
_LARGEST = 2**26
_MISMATCH = tuple(
    (word, re.compile(pattern).findall)
    for word, pattern in (
        ("changed", r"Hash mismatch for '(.+?)': Expected"),
        ("added", r"Extra files found in model '.*?': (.+?)[\"'][,\]]"),
        ("missing", r"Missing files in model '.*?': (.+?)[\"'][,\]]"),
    )
)
"""What the library says of files that are not as signed."""


@dataclass(frozen=True)
class Proof:
    """Whether a signature holds for the files.

    Attributes:
        holds: signed by that key or identity, every file as it was, no file more or less.
        reason: what is wrong, or what was proved, as part of a sentence.
        name: what the model was called when it was signed.
        files: what the signature covers.
        uncovered: files of the folder that it does not cover: git's, unless it does not hold.
    """

    holds: bool
    reason: str
    name: str = ""
    files: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()


def beside(path: Path) -> Path:
    """Where the bundle of a file or folder lies unless another place is given."""
    whole = path.resolve() if path.name in ("", "..") else path
    return whole.with_name(whole.name + ENDING)


def new_key(private: Path, public: Path, password: str = "") -> None:
    """A key pair on the curve P-256, the private one readable by its owner alone.

    Raises:
        InputError: one of the files is there already.
    """
    _library("signing")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    from holdfast.supply.keys import new_file

    if public.exists():
        raise InputError("a place for a new key", got=f"{public}, which exists", fix="name another")
    key = ec.generate_private_key(ec.SECP256R1())
    lock = form.BestAvailableEncryption(password.encode()) if password else form.NoEncryption()
    new_file(private, key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock))
    told = form.PublicFormat.SubjectPublicKeyInfo
    new_file(public, key.public_key().public_bytes(form.Encoding.PEM, told), 0o644)


def sign(path: Path, bundle: Path, private: Path, password: str = "") -> None:
    """Sign a file, or every file of a folder but git's, with a private key in PEM.

    Raises:
        InputError: a path that is not there, a key that cannot be used, a link in the folder.
    """
    library = _library("signing")

    def signer() -> Any:
        words = {"private_key": private, "password": password.encode() or None}
        return library.Config().use_elliptic_key_signer(**words)

    _sign(path, bundle, _made(signer, "a private key on P-256, P-384 or P-521 in PEM", private))


def sign_keyless(
    path: Path, bundle: Path, *, token: str = "", ambient: bool = False, trust: Path | None = None
) -> None:
    """Sign with an identity instead of a key. Needs a network, and writes to a public log.

    Args:
        path: file or folder.
        bundle: where the signature goes.
        token: an OpenID Connect token; without one a browser is opened.
        ambient: take the identity of the machine, as in continuous integration.
        trust: trust configuration of a private Sigstore instance.

    Raises:
        InputError: a path that is not there, or no network, identity or log.
    """
    library = _library("signing")

    def signer() -> Any:
        words = {"identity_token": token or None, "use_ambient_credentials": ambient}
        return library.Config().use_sigstore_signer(**words, trust_config=trust)

    _sign(path, bundle, _made(signer, "the Sigstore services, which need a network", "none"))


def verify(path: Path, bundle: Path, public: Path, ignore: Sequence[str] = ()) -> Proof:
    """Whether a bundle, by the owner of a public key in PEM, holds for a file or folder.

    `ignore` names files of the folder that need not be signed.

    Raises:
        InputError: a path that is not there, or a key that cannot be used.
    """
    library = _library("verifying")

    def verifier() -> Any:
        return library.Config().use_elliptic_key_verifier(public_key=public)

    what = "a public key on P-256, P-384 or P-521 in PEM"
    return _verify(path, bundle, _made(verifier, what, public), f"the key {public.name}", ignore)


def verify_keyless(
    path: Path, bundle: Path, identity: str, issuer: str, *, trust: Path | None = None,
    ignore: Sequence[str] = (),
) -> Proof:  # fmt: skip
    """Whether a bundle by an identity, vouched for by an issuer, holds for a file or folder.

    Needs a network for the roots of trust, unless `trust` brings them.

    Raises:
        InputError: a path that is not there, or no roots of trust.
    """
    library = _library("verifying")

    def verifier() -> Any:
        words = {"identity": identity, "oidc_issuer": issuer, "trust_config": trust}
        return library.Config().use_sigstore_verifier(**words)

    what = "the Sigstore roots of trust, which need a network or a trust configuration"
    return _verify(path, bundle, _made(verifier, what, trust or "none"), identity, ignore)


def _sign(path: Path, bundle: Path, config: Any) -> None:
    _present(path)
    inside = _inside(path, bundle)
    hashing = _library("hashing").Config().use_file_serialization()
    hashing.set_ignored_paths(paths=[inside] if inside else [])
    try:
        with tempfile.TemporaryDirectory() as folder:  # a new bundle must not be hashed itself
            made = Path(folder) / "bundle"
            config.set_hashing_config(hashing).sign(path, made)
            bundle.write_bytes(made.read_bytes())
    except Exception as error:
        fix = "see the reason; of a folder with links, sign a copy without them"
        raise InputError(f"{path} could not be signed", got=_said(error), fix=fix) from error


def _verify(path: Path, bundle: Path, config: Any, by: str, ignore: Sequence[str]) -> Proof:
    """Anything but success, whatever the library raises, means that the signature does not hold."""
    _present(path)
    try:
        if bundle.stat().st_size > _LARGEST:
            raise InputError("a bundle", got=f"more than {_LARGEST:,} bytes", fix="check the path")
        data = bundle.read_bytes()
    except OSError as error:
        got = f"{bundle}: {error.strerror}"
        raise InputError("a bundle", got=got, fix="give the signature's path") from error
    try:
        name, serialization, files = _statement(data)
        left_out = [*filter(None, [_inside(path, bundle)]), *ignore]
        config.set_hashing_config(_hashing(serialization, left_out))
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            same = Path(folder) / "bundle"  # the bytes that were read above, whatever comes later
            same.write_bytes(data)
            config.verify(path, same)
    except Exception as error:
        return Proof(False, _said(error))
    left = set(listed(path, [bundle])[0]) - set(files) if path.is_dir() else set[str]()
    odd = sorted(each for each in left - set(ignore) if PurePosixPath(each).parts[0] not in _GIT)
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        reason = f"its signer left out {show(odd[0], 100)}{more}"
        return Proof(False, reason, name, files, tuple(sorted(left)))
    count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
    return Proof(True, f"{count} as signed by {by}", name, files, tuple(sorted(left)))


def _statement(data: bytes) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Name, way of hashing and files that a bundle tells of; only `verify` proves them."""
    envelope = json.loads(data)["dsseEnvelope"]
    told = json.loads(base64.b64decode(envelope["payload"], validate=True))
    if told["predicateType"] != PREDICATE:
        raise ValueError(f"a statement of the kind {told['predicateType']!r}")
    predicate = told["predicate"]
    way = predicate["serialization"]
    names = [str(each["name"]) for each in predicate["resources"]]
    if way["method"] == "shards":
        names = [name.rsplit(":", 2)[0] for name in names]
    return str(told["subject"][0]["name"]), way, tuple(dict.fromkeys(names))


def _hashing(way: dict[str, Any], left_out: Sequence[str]) -> Any:
    """Hash as the signer did, but leave out only what is said."""
    config = _library("hashing").Config()
    words = {"hashing_algorithm": way["hash_type"], "allow_symlinks": way["allow_symlinks"] is True}
    if way["method"] == "shards":
        config.use_shard_serialization(**words, shard_size=int(way["shard_size"]))
    else:
        config.use_file_serialization(**words)
    config.set_allow_symlinks(words["allow_symlinks"])
    return config.set_ignored_paths(paths=left_out, ignore_git_paths=False)


def _inside(path: Path, bundle: Path) -> str:
    """The bundle's name within the folder, "" where it lies elsewhere."""
    folder, whole = path.resolve(), bundle.resolve()
    return whole.relative_to(folder).as_posix() if folder in whole.parents else ""


def _present(path: Path) -> None:
    if not path.exists():
        raise InputError("a file or folder", got=f"{path}, which is neither", fix="check the path")


def _made(make: Callable[[], Any], what: str, got: object) -> Any:
    try:
        return make()
    except Exception as error:
        fix = "check the file and its password" if isinstance(got, Path) else "check the network"
        raise InputError(what, got=f"{got}: {_said(error)}", fix=fix) from error


def _said(error: Exception) -> str:
    if type(error).__name__ == "InvalidSignature":
        return "it was made with another key, or what was signed is not what the bundle holds"
    text = str(error)
    if text.startswith("Signature mismatch: "):
        plain = text.replace("\\'", "'")  # it is the text of a list, which may quote its texts
        found = [f"{word} {show(name, 100)}" for word, told in _MISMATCH for name in told(plain)]
        return "; ".join(found[:8]) or show(text, 400)
    return show(f"{type(error).__name__}: {text}", 400)


def _library(name: str) -> Any:
    try:
        return import_module(f"model_signing.{name}")
    except ImportError as error:
        raise MissingExtra("model-signing", "signing") from error
