"""Pages that are drawn from the catalogue, so that no count or table can go stale."""

from pathlib import Path
from typing import Any

from holdfast import catalogue
from holdfast.cli.listing import kind_words, paper

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the tables and the contributing guide."""
    if page.file.src_uri == "how-to/add-a-method.md":
        return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return markdown.replace("<!-- methods -->", methods()).replace("<!-- table -->", table())


def table() -> str:
    """Methods by domain and kind, as the README shows it."""
    listed = catalogue.listings().values()
    lines = ["| domain | methods |", "|---|---|"]
    for domain in catalogue.DOMAINS:
        names = ", ".join(f"{each.title}" for each in listed if each.id.startswith(f"{domain}/"))
        lines.append(f"| {domain} | {names} |")
    return "\n".join(lines)


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
