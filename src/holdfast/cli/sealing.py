"""`sign`, `verify`, `manifest`, `encrypt`, `decrypt`: what was shipped is what is loaded."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rich.text import Text

from holdfast.cli.console import log, out, progress
from holdfast.core.errors import InputError, MissingExtra
from holdfast.supply import manifest, sealed, signing
from holdfast.supply.pickle_values import show

if TYPE_CHECKING:
    from holdfast.supply.keys import Keeper

SHOWN = 20
"""Changes that the terminal shows."""
NETWORK = "keyless: asks an identity provider, a certificate authority and a public log for it"
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Identity:
    """Who signs without a key of its own.

    Attributes:
        name: such as an address; when verifying.
        issuer: who vouches for it; when verifying.
        token: file with an OpenID Connect token; when signing.
        trust: trust configuration of a private Sigstore instance.
    """

    name: str = ""
    issuer: str = ""
    token: Path | None = None
    trust: Path | None = None


@dataclass(frozen=True)
class Secret:
    """What wraps the keys of sealed files; exactly one is given.

    Attributes:
        key: file of 32 bytes or 64 hexadecimal digits.
        passphrase: file whose first line it is.
        ask: ask for a passphrase on the terminal.
        kms: JSON that names the programs of a key management service.
    """

    key: Path | None = None
    passphrase: Path | None = None
    ask: bool = False
    kms: Path | None = None


def run_sign(
    path: Path, key: Path | None, bundle: Path | None, new_key: bool, keyless: bool,
    identity: Identity,
) -> int:  # fmt: skip
    """Sign a file or folder; with `new_key` make the pair first. Returns 0."""
    if keyless == (key is not None):
        fix = "give --key FILE, or --keyless, which needs a network"
        raise InputError("a key or --keyless", got="both" if keyless else "neither", fix=fix)
    target = bundle or signing.beside(path)
    if key is None:
        log.print(NETWORK)
        token = _first_line(identity.token) if identity.token else ""
        ambient = not token and bool(os.environ.get("CI"))
        signing.sign_keyless(path, target, token=token, ambient=ambient, trust=identity.trust)
    else:
        if new_key:
            public = key.with_name(key.name + ".pub")
            signing.new_key(key, public, _password())
            log.print(f"wrote {key}, which nobody else may have, and {public}, which everybody may")
        signing.sign(path, target, key, _password())
    log.print(f"wrote {target}")
    return 0


def run_verify(
    path: Path, key: Path | None, bundle: Path | None, keyless: bool, identity: Identity,
    ignore: Sequence[str] = (),
) -> int:  # fmt: skip
    """0 when the signature holds for exactly these files, else 1."""
    source = bundle or signing.beside(path)
    if keyless == (key is not None):
        fix = "give --key FILE with the public key, or --keyless, which needs a network"
        raise InputError("a key or --keyless", got="both" if keyless else "neither", fix=fix)
    if key is None:
        if not (identity.name and identity.issuer):
            fix = "give --identity and --issuer: any other signer would do as well without"
            raise InputError("who signed, and who vouches for it", got="neither", fix=fix)
        log.print(NETWORK)
        proof = signing.verify_keyless(
            path, source, identity.name, identity.issuer, trust=identity.trust, ignore=ignore
        )
    else:
        proof = signing.verify(path, source, key, ignore)
    _verdict(proof.holds, f"{path.name}  {proof.reason}")
    if proof.holds and proof.name != path.resolve().name:
        out.print(Text(f"it was called {show(proof.name, 100)} when it was signed", "dim"))
    if proof.uncovered:
        named = ", ".join(show(each, 60) for each in proof.uncovered[:5])
        out.print(Text(f"not covered, {len(proof.uncovered)} files: {named}", "dim"))
    return int(not proof.holds)


def run_manifest(path: Path, check: bool, file: Path | None, root: str, chunk: int) -> int:
    """Write the manifest of a file or folder; or check one: 0 when nothing changed, else 1."""
    target = file or manifest.beside(path)
    if not check:
        with _bar("hashing") as told:
            made = manifest.build(path, chunk=chunk, skip=[target], told=told)
        target.write_text(made.text(), encoding="utf-8")
        log.print(f"wrote {target}: {len(made.files)} files")
        out.print(f"root {made.root.hex()}")
        return 0
    known = manifest.load(target)
    if root and root.lower() != known.root.hex():
        _verdict(False, f"{target.name}  its root is {known.root.hex()}, not the one given")
        return 1
    with _bar("hashing") as told:
        found = manifest.check(path, known, skip=[target], told=told)
    good = not found.changes
    many = f"{found.files} files, {found.size:,} bytes"
    _verdict(good, f"{path.name}  {many}, {len(found.changes)} changes")
    for change in found.changes[:SHOWN]:
        out.print(Text(f"             {change}"))
    if len(found.changes) > SHOWN:
        out.print(Text(f"             and {len(found.changes) - SHOWN} more", "dim"))
    if good and not root:
        out.print(Text("whoever could change the files could make a new manifest: sign it", "dim"))
    return int(not good)


def run_encrypt(
    paths: Sequence[Path], to: Path | None, secret: Secret, new_key: bool, replace: bool
) -> int:
    """Seal files, or all files of folders. Returns 0; on an error nothing half-written stays."""
    envelope = _envelope()
    keeper = _keeper(secret, new_key)
    for source, target in list(_targets(paths, to, lambda name: name + sealed.ENDING)):
        with _bar(f"sealing {source.name}") as told:
            header = envelope.seal(source, target, keeper, replace=replace, told=told)
        for weakness in header.weaknesses():
            log.print(f"note: {weakness}")
        log.print(f"wrote {target}")
    log.print("the open files are still there; take them away when the sealed ones are safe")
    return 0


def run_decrypt(paths: Sequence[Path], to: Path | None, secret: Secret, replace: bool) -> int:
    """Open sealed files: 0 when every one proved true, else an error and no file."""
    envelope = _envelope()
    keeper = _keeper(secret, False)
    for source, target in list(_targets(paths, to, _opened)):
        with _bar(f"opening {source.name}") as told:
            envelope.unseal(source, target, keeper, replace=replace, told=told)
        log.print(f"wrote {target}")
    return 0


def _targets(
    paths: Sequence[Path], to: Path | None, name: Callable[[str], str]
) -> Iterator[tuple[Path, Path]]:
    """Each file and where its other form goes: beside it, or under the folder `to`."""
    for path in paths:
        if not path.is_dir():
            folder = to or path.parent
            folder.mkdir(parents=True, exist_ok=True)
            yield path, folder / name(path.name)
            continue
        from holdfast.supply.merkle import listed

        found, others = listed(path)
        if others:
            fix = "give files, or a folder without it"
            raise InputError("only files and folders", got=show(next(iter(others)), 100), fix=fix)
        for inner, file in found.items():
            target = (to or path) / name(inner)
            target.parent.mkdir(parents=True, exist_ok=True)
            yield file, target


def _opened(name: str) -> str:
    if not name.endswith(sealed.ENDING) or name == sealed.ENDING:
        raise InputError(f"a name that ends in {sealed.ENDING}", got=name, fix="give sealed files")
    return name.removesuffix(sealed.ENDING)


def _keeper(secret: Secret, new_key: bool) -> "Keeper":
    from holdfast.supply.keys import KeyFile, Passphrase, Program

    given = [secret.key, secret.passphrase, secret.ask or None, secret.kms]
    if sum(each is not None for each in given) != 1:
        fix = "give one of --key, --passphrase-file, --ask and --kms"
        raise InputError("one way to keep the key", got=len(given) - given.count(None), fix=fix)
    if new_key and secret.key is None:
        raise InputError("a place for the new key", got="none", fix="give --key FILE too")
    if secret.key is not None:
        if new_key:
            KeyFile.make(secret.key)
            log.print(f"wrote {secret.key}; without it nobody opens the files again: keep a copy")
        _private(secret.key)
        return KeyFile.read(secret.key)
    if secret.kms is not None:
        return Program.read(secret.kms)
    if secret.passphrase is not None:
        _private(secret.passphrase)
        return Passphrase(_first_line(secret.passphrase))
    import getpass

    return Passphrase(getpass.getpass("passphrase: "))


def _private(path: Path) -> None:
    if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.print(f"note: others may read {path}; chmod 600 it")


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].strip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("a file to read", got=f"{path}: {error}", fix="check the path") from error


def _password() -> str:
    """Of a private key, never on the command line, where everybody sees it."""
    return os.environ.get("HOLDFAST_KEY_PASSWORD", "")


def _envelope() -> ModuleType:
    try:
        from holdfast.supply import envelope
    except ImportError as error:
        raise MissingExtra("cryptography", "signing") from error
    return envelope


def _verdict(good: bool, told: str) -> None:
    out.print(
        Text.assemble(("holds        ", "green") if good else ("broken       ", "bold red"), told)
    )


@contextmanager
def _bar(told: str) -> Iterator[Told]:
    """A bar on the error stream that hears (done, total) in bytes."""
    with progress() as bar:
        task = bar.add_task(told, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
