"""`show` and `diff` on model files: what they are made of, and what distinguishes two of them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from holdfast.cli.console import out, write
from holdfast.supply.difference import SHORT, Difference, difference
from holdfast.supply.pickle_values import show as safe
from holdfast.supply.structures import open_structure
from holdfast.supply.structures.parts import Structure, statistics

ROWS = 60
"""Rows of one table on the terminal; the page has them all."""


def show_file(path: Path, page: Path | None) -> None:
    """Format, operators, tensors with their statistics, metadata."""
    model = open_structure(path)
    out.print(_head(model))
    if model.nodes:
        counts = Counter(node.op for node in model.nodes)
        told = ", ".join(f"{safe(op)} {n}" for op, n in counts.most_common())
        out.print(Text(f"operators: {told}"))
    for title, values in (("in", model.inputs), ("out", model.outputs)):
        for name, shape in values.items():
            out.print(Text(f"{title}: {safe(name)}  {safe(shape)}"))
    out.print(_tensors(model))
    if len(model.tensors) > ROWS:
        out.print(f"and {len(model.tensors) - ROWS} more; --page FILE has them all", style="dim")
    for key, value in model.metadata.items():
        out.print(Text(f"{safe(key)}: {safe(value, 200)}", "dim"))
    if page is not None:
        from holdfast.supply.pages import structure_page

        write(page, structure_page(model))


def diff_files(first: Path, second: Path, page: Path | None) -> int:
    """0 when nothing differs, else 1."""
    before, after = open_structure(first), open_structure(second)
    found = difference(before, after)
    out.print(_head(before))
    out.print(_head(after))
    for line in _differences(found):
        out.print(line)
    if page is not None:
        from holdfast.supply.pages import difference_page

        write(page, difference_page(before, after, found))
    return int(not found.same)


def _head(model: Structure) -> Text:
    told = f"  {model.format}, {len(model.tensors)} tensors, {model.parameters:,} numbers"
    if model.nodes:
        told += f", {len(model.nodes)} operators"
    return Text.assemble((model.file, "bold"), told)


def _tensors(model: Structure) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("tensor", "type", "shape", "mean", "std", "least", "largest", "zeros", "NaN"):
        table.add_column(heading, justify="left" if heading in ("tensor", "type", "shape") else "right",
                         overflow="fold")  # fmt: skip
    for tensor in list(model.tensors.values())[:ROWS]:
        told, shape = statistics(tensor), " x ".join(map(str, tensor.shape)) or "scalar"
        cells = ["not read"] if told is None else [
            f"{told.mean:.3g}", f"{told.std:.3g}", f"{told.least:.3g}", f"{told.largest:.3g}",
            f"{told.zeros:.0%}", str(told.odd or ""),
        ]  # fmt: skip
        table.add_row(Text(safe(tensor.name, 80)), safe(tensor.dtype), shape, *cells)
    return table


def _differences(found: Difference) -> Iterator[Text]:
    """One line each; an edge that skips many layers and a single bit are marked."""
    if found.same:
        yield Text("nothing differs, to the bit", "green")
    for changed in found.tensors:
        loud = "bold red" if changed.bits == 1 else "yellow"
        yield Text.assemble(("tensor    ", loud), f"{safe(changed.name, 80)}: {changed.told}")
    for name in found.added:
        yield Text.assemble(("tensor    ", "yellow"), f"{safe(name, 80)}: added")
    for name in found.removed:
        yield Text.assemble(("tensor    ", "yellow"), f"{safe(name, 80)}: removed")
    yield from _of_graph(found)
    for key, (old, new) in found.metadata.items():
        told = f"{safe(key)}: {safe(old) or 'none'} became {safe(new) or 'none'}"
        yield Text.assemble(("metadata  ", "dim"), told)


def _of_graph(found: Difference) -> Iterator[Text]:
    for word, nodes in (("added", found.nodes_added), ("removed", found.nodes_removed)):
        for node in nodes:
            yield Text.assemble(("operator  ", "red"), f"{safe(node.op)} {safe(node.name)}: {word}")
    for before, after in found.nodes_changed:
        yield Text.assemble(
            ("operator  ", "red"),
            f"{safe(before.name)}: {safe(before.told, 200)} became {safe(after.told, 200)}",
        )
    for word, edges in (("added", found.edges_added), ("removed", found.edges_removed)):
        for edge in edges:
            skips = f", past {edge.skips} layers" if edge.skips > SHORT else ""
            told = f"{safe(edge.source)} -> {safe(edge.target)}: {word}{skips}"
            yield Text.assemble(("edge      ", "bold red" if skips else "red"), told)
