"""`bom`: the bill of materials of a model, its data and its environment, as CycloneDX 1.6."""

import sys
from pathlib import Path

from holdfast.cli.console import log
from holdfast.core.errors import InputError, MissingExtra
from holdfast.supply import bom, requirements
from holdfast.supply.bom import Card, Contents, Made


def run_bom(
    contents: Contents, card: Card, made: Made, to: Path | None = None, listed: Path | None = None,
    time: str = "", serial: bool = False,
) -> int:  # fmt: skip
    """Write a bill of materials; 0, or an error where it cannot be.

    Args:
        contents: the model's files and data; packages are added here.
        card: what the maker says.
        made: scripts and seed.
        to: where to, `-` for the standard output; beside the first file if left out.
        listed: requirements file to take packages from; this environment if left out.
        time: written if given.
        serial: whether to number it.
    """
    if not contents.files:
        raise InputError("files of a model", got="none", fix="give at least one")
    listing = requirements.read(listed) if listed else requirements.environment()
    full = Contents(
        contents.name or contents.files[0].name, contents.version, contents.files, contents.data,
        listing.packages, contents.assessment,
    )  # fmt: skip
    text = bom.text_of(bom.build(full, card, made, time, serial))
    try:
        if wrong := bom.invalid(text):
            raise InputError("a document that keeps to the schema", got=wrong, fix="report this")
    except MissingExtra as missing:
        log.print(f"note: not checked against the schema: {missing}", markup=False)
    if to == Path("-"):
        sys.stdout.write(text)
        return 0
    target = to or bom.beside(contents.files[0])
    target.write_text(text, encoding="utf-8")
    log.print(f"wrote {target}: {len(listing.packages)} packages")
    return 0
