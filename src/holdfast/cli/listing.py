"""`list` and `show`: the catalogue on the terminal; only `show` imports the method that it shows."""

import re

from rich.table import Table

from holdfast import catalogue
from holdfast.cli.console import out
from holdfast.core.errors import InputError


def list_methods(domain: str, kind: str) -> None:
    """One line per method."""
    chosen = [
        each
        for each in catalogue.listings().values()
        if each.id.startswith(domain) and kind.lower() in each.kind.lower()
    ]
    if not chosen:
        domains = ", ".join(catalogue.DOMAINS)
        raise InputError("no method matches", got=f"{domain} {kind}".strip(), fix=f"try {domains}")
    table = Table(box=None)
    for column in ("id", "kind", "needs", "title"):
        table.add_column(column, no_wrap=column == "id", style="bold" if column == "id" else "")
    for each in chosen:
        table.add_row(each.id, kind_words(each.kind), each.needs, each.title)
    out.print(table)
    out.print(f"{len(chosen)} methods; `holdfast show ID` tells more", style="dim")


def show_method(id_: str) -> None:
    """All that the catalogue knows of one method."""
    found = catalogue.listing(id_)
    out.print(f"[bold]{found.title}[/]  {found.id}")
    out.print(f"{kind_words(found.kind)}; needs {found.needs}")
    out.print(f"{paper(found.cites)}: {found.where}")
    if norms := getattr(catalogue.load(id_), "measures", ()):
        said = "bounded by its own settings" if norms == ("any",) else f"in {', '.join(norms)}"
        out.print(f"change of inputs: {said}")
    if found.extra:
        out.print(f"needs: pip install 'holdfast\\[{found.extra}]'")
    if found.text:
        out.print()
        out.print(found.text, markup=False)
    if found.hypers:
        table = Table(box=None, title="settings", title_justify="left")
        for column in ("name", "type", "default", "source of the default"):
            table.add_column(column)
        for hyper in found.hypers:
            table.add_row(hyper.name, hyper.type, hyper.default, hyper.source)
        out.print()
        out.print(table)


def paper(key: str) -> str:
    """A citation in one line, from `papers.bib`."""
    text = (catalogue.ROOT / "core" / "papers.bib").read_text(encoding="utf-8")
    entry = re.search(rf"@\w+\{{{re.escape(key)},(.*?)\n\}}", text, re.DOTALL)
    if entry is None:
        return key
    fields = dict(re.findall(r"(\w+) = \{(.*)\},?", entry.group(1)))
    first, *others = fields.get("author", key).split(" and ")
    names = first.split(",")[0] + (" et al." if others else "")
    return f"{names}, {fields.get('title', '')} ({fields.get('year', '')})"


def kind_words(kind: str) -> str:
    """EvasionAttack -> evasion attack."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind).lower()
