"""Pages that are drawn from the catalogue, so that no count or table can go stale."""

import re
from pathlib import Path
from typing import Any

from holdfast import catalogue
from holdfast.assess.plan import PROFILES
from holdfast.cli.listing import kind_words, paper
from holdfast.core import yamlfile

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the tables and the contributing guide."""
    if page.file.src_uri == "how-to/add-a-method.md":
        return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    markdown = re.sub(r"<!-- family: (\S+) -->", lambda found: family(found[1]), markdown)
    return markdown.replace("<!-- methods -->", methods()).replace("<!-- table -->", table())


def table() -> str:
    """Methods by domain and kind, as the README shows it."""
    listed = catalogue.listings().values()
    lines = ["| domain | methods |", "|---|---|"]
    for domain in catalogue.DOMAINS:
        names = ", ".join(f"{each.title}" for each in listed if each.id.startswith(f"{domain}/"))
        lines.append(f"| {domain} | {names} |")
    return "\n".join(lines)


def family(profile: str) -> str:
    """The methods of a profile: id, title and paper."""
    body = yamlfile.read(PROFILES / f"{profile}.yaml")
    ids = dict.fromkeys(check["method"] for check in body["checks"])
    lines = ["| id | attack | paper |", "|---|---|---|"]
    for each in (catalogue.listing(id_) for id_ in ids):
        link = f"[`{each.id}`](../methods.md#{slug(each.title)})"
        lines.append(f"| {link} | {each.title} | {paper(each.cites)} |")
    return "\n".join(lines)


def slug(title: str) -> str:
    """The anchor that a heading gets."""
    kept = re.sub(r"[^\w\s-]", "", title.lower())
    return re.sub(r"[-\s]+", "-", kept).strip("-")


def methods() -> str:
    """One section per method."""
    parts = []
    for each in catalogue.listings().values():
        rows = [f"| `{h.name}` | `{h.default}` | {h.source} |" for h in each.hypers]
        settings = ["", "| setting | default | source |", "|---|---|---|", *rows] if rows else []
        head = f"{kind_words(each.kind)}; needs {each.needs}; {each.where} of {paper(each.cites)}"
        parts.append(
            "\n".join(
                [
                    f"## {each.title}",
                    f"`{each.id}`: {head}",
                    "",
                    "```text",
                    each.text,
                    "```",
                    *settings,
                ]
            )
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition("by tests/test_docs.py -->\n")
    tail = rest[rest.index("<!-- end of table -->") :]
    readme.write_text(f"{head}by tests/test_docs.py -->\n{table()}\n{tail}", encoding="utf-8")
