"""Every method that Holdfast has: listed by reading files, imported only when one is used."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from holdfast.core.errors import InputError, MissingExtra

ROOT = Path(__file__).parent
DOMAINS = ("evasion", "poisoning", "backdoor", "privacy", "extraction", "trust", "supply")
GROUP = "holdfast.methods"
"""Entry-point group of third-party methods: each entry names a module that registers some."""


@dataclass(frozen=True)
class Hyper:
    """A hyperparameter as written in the method's file: name, type, default and its source."""

    name: str
    type: str
    default: str
    source: str


@dataclass(frozen=True)
class Listing:
    """What a method's file says of it, read without importing it (and so without PyTorch).

    Attributes:
        id: domain and file name.
        kind: name of its base class.
        needs: the access it declares.
        title: first line of the class docstring, without the full stop.
        text: the rest of the docstring.
        cites: key in `papers.bib`.
        where: place in that paper.
        extra: optional dependency group, if any.
        hypers: its hyperparameters.
        module: dotted name of its file.
    """

    id: str
    kind: str
    needs: str
    title: str
    text: str
    cites: str
    where: str
    extra: str
    hypers: tuple[Hyper, ...]
    module: str


@cache
def listings() -> dict[str, Listing]:
    """All built-in methods by id, in alphabetical order."""
    found = [listing for domain in DOMAINS for listing in _read(domain)]
    return {listing.id: listing for listing in sorted(found, key=lambda each: each.id)}


def listing(id_: str) -> Listing:
    """One method, or an error that names the nearest ids."""
    if id_ not in listings():
        near = get_close_matches(id_, listings(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `holdfast list`"
        raise InputError("no method has this id", got=id_, fix=hint)
    return listings()[id_]


def load(id_: str) -> type:
    """Import one built-in or third-party method and return its class."""
    from holdfast.core.method import REGISTRY

    if id_ not in REGISTRY and id_ not in listings():
        load_plugins()
    if id_ not in REGISTRY:
        found = listing(id_)
        try:
            importlib.import_module(found.module)
        except ModuleNotFoundError as error:
            if found.extra:
                raise MissingExtra(str(error.name), found.extra) from error
            raise
    return REGISTRY[id_].cls


def load_all() -> None:
    """Import every built-in method whose dependencies are installed, and all plug-ins."""
    for id_ in listings():
        try:
            load(id_)
        except MissingExtra:
            continue
    load_plugins()


def load_plugins() -> None:
    """Import the modules that installed packages name under `holdfast.methods`."""
    for entry in entry_points(group=GROUP):
        entry.load()


def _read(domain: str) -> Iterator[Listing]:
    for path in sorted((ROOT / domain).glob("*/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (call := _decorator(node)):
                yield _listing(domain, path, node, call)


def _decorator(node: ast.ClassDef) -> ast.Call | None:
    calls = [d for d in node.decorator_list if isinstance(d, ast.Call)]
    return next((c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "method"), None)


def _listing(domain: str, path: Path, node: ast.ClassDef, call: ast.Call) -> Listing:
    base = node.bases[0]
    access = base.slice if isinstance(base, ast.Subscript) else None
    access = access.elts[0] if isinstance(access, ast.Tuple) else access
    access = access.value if isinstance(access, ast.Subscript) else access
    said = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    title, _, text = (ast.get_docstring(node) or "").partition("\n")
    module = ".".join(["holdfast", domain, path.parent.name, path.stem])
    return Listing(
        id=f"{domain}/{path.stem}",
        kind=ast.unparse(base.value if isinstance(base, ast.Subscript) else base),
        needs=ast.unparse(access) if access else "Nothing",
        title=title.rstrip("."),
        text=text.strip(),
        cites=said["cites"],
        where=said["where"],
        extra=said.get("extra", ""),
        hypers=tuple(_hypers(node)),
        module=module,
    )


def _hypers(node: ast.ClassDef) -> Iterator[Hyper]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.value, ast.Call):
            name, (default, source) = ast.unparse(item.target), item.value.args[:2]
            yield Hyper(
                name, ast.unparse(item.annotation), ast.unparse(default), ast.literal_eval(source)
            )
