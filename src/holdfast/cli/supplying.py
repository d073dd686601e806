"""The verbs around model files: sign, seal, list, compare, watch. Heavy imports wait for their verb."""

from pathlib import Path
from typing import Annotated

import typer

Unlock = Annotated[Path | None, typer.Option("--key", help="key file: 32 bytes or 64 hex digits")]
Passphrase = Annotated[
    Path | None, typer.Option("--passphrase-file", help="file whose first line is the passphrase")
]
Ask = Annotated[bool, typer.Option("--ask", help="ask for the passphrase on the terminal")]
Kms = Annotated[
    Path | None,
    typer.Option(help='JSON: {"wrap": ["program", ...], "unwrap": [...]}; no shell is used'),
]
To = Annotated[Path | None, typer.Option("--out", help="folder for the files; else beside them")]
Replace = Annotated[bool, typer.Option("--replace", help="write over files that are there")]
Bundle = Annotated[Path | None, typer.Option(help="the signature; PATH.sig if left out")]
Keyless = Annotated[
    bool, typer.Option("--keyless", help="by an identity instead of a key; needs a network")
]
Trust_ = Annotated[
    Path | None, typer.Option("--trust-config", help="roots of a private Sigstore instance")
]


def sign(
    path: Annotated[Path, typer.Argument(help="model file or folder")],
    key: Annotated[
        Path | None,
        typer.Option(help="private key in PEM; its password is in HOLDFAST_KEY_PASSWORD"),
    ] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="make the key first, and KEY.pub beside it")
    ] = False,
    bundle: Bundle = None,
    keyless: Keyless = False,
    token: Annotated[
        Path | None, typer.Option(help="file with an OpenID Connect token, for --keyless")
    ] = None,
    trust_config: Trust_ = None,
) -> None:
    """Sign a model file or folder (OpenSSF model-signing); by a key, offline, unless --keyless."""
    from holdfast.cli.sealing import Identity, run_sign

    identity = Identity(token=token, trust=trust_config)
    raise typer.Exit(run_sign(path, key, bundle, new_key, keyless, identity))


def verify(  # noqa: PLR0913
    path: Annotated[Path, typer.Argument(help="model file or folder")],
    key: Annotated[Path | None, typer.Option(help="public key in PEM")] = None,
    bundle: Bundle = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="file that need not be signed; may be repeated")
    ] = None,
    keyless: Keyless = False,
    identity: Annotated[str, typer.Option(help="who signed, for --keyless")] = "",
    issuer: Annotated[str, typer.Option(help="who vouches for the identity")] = "",
    trust_config: Trust_ = None,
) -> None:
    """Is this exactly what was signed? Exits 1 when it is not."""
    from holdfast.cli.sealing import Identity, run_verify

    who = Identity(identity, issuer, None, trust_config)
    raise typer.Exit(run_verify(path, key, bundle, keyless, who, tuple(ignore or ())))


def manifest(
    path: Annotated[Path, typer.Argument(help="model file or folder")],
    check: Annotated[bool, typer.Option("--check", help="compare with the manifest")] = False,
    file: Annotated[
        Path | None, typer.Option(help="the manifest; PATH.manifest.json if left out")
    ] = None,
    root: Annotated[str, typer.Option(help="root that the manifest must have, with --check")] = "",
    chunk: Annotated[int, typer.Option(help="bytes per chunk", min=1024)] = 2**22,
) -> None:
    """Write the hashes of model files, or name what changed since; then it exits 1."""
    from holdfast.cli.sealing import run_manifest

    raise typer.Exit(run_manifest(path, check, file, root, chunk))


def encrypt(  # noqa: PLR0913
    paths: Annotated[list[Path], typer.Argument(help="model files or folders")],
    key: Unlock = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="make the key file first")] = False,
    passphrase_file: Passphrase = None,
    ask: Ask = False,
    kms: Kms = None,
    out: To = None,
    replace: Replace = False,
) -> None:
    """Seal model files: AES-256-GCM, a fresh key per file, wrapped by a key, passphrase or KMS."""
    from holdfast.cli.sealing import Secret, run_encrypt

    secret = Secret(key, passphrase_file, ask, kms)
    raise typer.Exit(run_encrypt(paths, out, secret, new_key, replace))


def decrypt(
    paths: Annotated[list[Path], typer.Argument(help="sealed files, or folders of them")],
    key: Unlock = None,
    passphrase_file: Passphrase = None,
    ask: Ask = False,
    kms: Kms = None,
    out: To = None,
    replace: Replace = False,
) -> None:
    """Open sealed files; a file that was changed, cut or put together is never written."""
    from holdfast.cli.sealing import Secret, run_decrypt

    secret = Secret(key, passphrase_file, ask, kms)
    raise typer.Exit(run_decrypt(paths, out, secret, replace))


def watch(  # noqa: PLR0913
    pid: Annotated[int, typer.Option(help="number of the serving process", min=1)],
    allow: Annotated[
        list[str] | None,
        typer.Option(help="host, network or address, with :port if wanted; may be repeated"),
    ] = None,
    loopback: Annotated[
        str, typer.Option(help="connections within the machine: allow, or judge like others")
    ] = "allow",
    orphans: Annotated[
        bool, typer.Option("--orphans", help="also what no process holds; for containers")
    ] = False,
    file: Annotated[
        list[Path] | None, typer.Option(help="model file or folder to hash again; repeatable")
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(help="safetensors file whose tensors are hashed in the process's memory"),
    ] = None,
    period: Annotated[float, typer.Option(help="seconds between looks at connections")] = 1.0,
    rehash: Annotated[
        float, typer.Option(help="seconds between looks at files and weights")
    ] = 30.0,
    seconds: Annotated[
        float | None, typer.Option("--for", help="seconds to watch; else until it ends")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="write what was seen here, as JSON")] = None,
) -> None:
    """Where does a running process connect to, and do files and weights stay as they are? Linux."""
    from holdfast.cli.watching import Pace, Places, run_watch

    places, pace = Places(tuple(allow or ()), loopback, orphans), Pace(period, rehash, seconds)
    raise typer.Exit(run_watch(pid, places, tuple(file or ()), tuple(weights or ()), pace, log))


Json = Annotated[Path | None, typer.Option(help="write everything here; - for stdout")]


def review_code(
    paths: Annotated[list[Path], typer.Argument(help="training scripts, folders")],
    json: Json = None,
    every: Annotated[bool, typer.Option("--all", help="show what is low as well")] = False,
) -> None:
    """Say what poisons in training scripts, without running them; exits 1 from medium on."""
    from holdfast.cli.reviewing_code import run_review_code

    raise typer.Exit(run_review_code(paths, json, every))


def audit(
    source: Annotated[
        Path | None,
        typer.Argument(help="requirements.txt or site-packages; this environment if left out"),
    ] = None,
    advisories: Annotated[Path | None, typer.Option(help="folder or zip of OSV advisories")] = None,
    online: Annotated[
        bool, typer.Option("--online", help="ask pip-audit, which asks the network")
    ] = False,
    json: Json = None,
) -> None:
    """Known vulnerabilities, odd names and loose ends of packages; exits 1 from medium on."""
    from holdfast.cli.auditing import run_audit

    raise typer.Exit(run_audit(source, advisories, online, json))


def bom(  # noqa: PLR0913
    files: Annotated[list[Path], typer.Argument(help="files of the model")],
    name: Annotated[str, typer.Option(help="of the model; the first file's if left out")] = "",
    version: Annotated[str, typer.Option(help="of the model")] = "",
    data: Annotated[list[Path] | None, typer.Option(help="data set; may be repeated")] = None,
    script: Annotated[
        list[Path] | None, typer.Option(help="training code; may be repeated")
    ] = None,
    requirements: Annotated[
        Path | None, typer.Option(help="packages; this environment if left out")
    ] = None,
    assessment: Annotated[
        Path | None, typer.Option(help="report.json of an assessment, for the metrics")
    ] = None,
    task: Annotated[str, typer.Option(help="what the model is for")] = "",
    approach: Annotated[str, typer.Option(help="how it learned, such as supervised")] = "",
    architecture: Annotated[str, typer.Option(help="of the network")] = "",
    seed: Annotated[int | None, typer.Option(help="of the training")] = None,
    time: Annotated[str, typer.Option(help="ISO 8601; none if left out")] = "",
    serial: Annotated[bool, typer.Option("--serial", help="with a random serial number")] = False,
    out: Annotated[
        Path | None, typer.Option(help="- for stdout; beside the file if left out")
    ] = None,
) -> None:
    """Write the bill of materials of a model, CycloneDX 1.6."""
    from holdfast.cli.billing import run_bom
    from holdfast.supply.bom import Card, Contents, Made

    contents = Contents(name, version, tuple(files), tuple(data or ()), (), assessment)
    card, made = (
        Card(task=task, approach=approach, architecture=architecture),
        Made(tuple(script or ()), seed),
    )
    raise typer.Exit(run_bom(contents, card, made, out, requirements, time, serial))


def fuzz_loader(
    model: Annotated[Path, typer.Argument(help="model file that the loader takes")],
    loader: Annotated[str, typer.Option(help="file.py:function, called with a path")],
    cases: Annotated[int, typer.Option(help="damaged copies", min=1)] = 1000,
    seconds: Annotated[float, typer.Option(help="longest load of one copy", min=0.1)] = 5.0,
    megabytes: Annotated[int, typer.Option(help="address space of a load", min=64)] = 4096,
    out: Annotated[Path, typer.Option(help="folder for reproducers")] = Path("runs/fuzz"),
    seed: Annotated[int, typer.Option(help="root of all random streams")] = 0,
) -> None:
    """Does your own loading code survive damaged model files? Exits 1 on crashes and hangs."""
    from holdfast.cli.fuzzing import run
    from holdfast.supply.fuzz import Limits

    limits = Limits(seconds, megabytes * 2**20)
    raise typer.Exit(run(model, loader, cases, out, limits, seed))


VERBS = (sign, verify, manifest, encrypt, decrypt, watch, bom, audit, review_code, fuzz_loader)
