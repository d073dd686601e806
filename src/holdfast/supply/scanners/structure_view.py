"""What a model file is made of, and numbers in it that no training leaves (ONNX's graph as a model)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding, Measurement, Severity
from holdfast.supply.pickle_values import show
from holdfast.supply.rules import REFS
from holdfast.supply.structures import open_structure
from holdfast.supply.structures.parts import statistics


@method(cites="onnx", where="graph, node, tensor; what is odd about numbers is ours")
@dataclass(frozen=True)
class StructureView(Scanner):
    """Model structure browser.

    Operators, tensors, shapes and how many numbers there are, read without loading the model, and
    every tensor in which a number is NaN or infinite: a damaged or overwritten weight. `show` and
    `diff` tell the same on the terminal and as a page, with the graph drawn.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        try:
            model = open_structure(path)
        except InputError as error:
            raise NotApplicable(f"needs a model whose structure can be read: {error}") from error
        for name, tensor in model.tensors.items():
            told = statistics(tensor)
            if told is not None and told.odd:
                yield Finding(
                    "supply/structure_view/odd-numbers", Severity.MEDIUM,
                    f"{show(name, 80)} has {told.odd} of {tensor.count} numbers NaN or infinite",
                    "No training that ended well leaves them. Compare with the model as it was trained: "
                    "`holdfast diff`.", where=f"{path.name}!{show(name, 80)}", refs=REFS,
                )  # fmt: skip
        count, size = len(model.tensors), model.parameters
        ops = ", ".join(
            f"{show(op)} {n}" for op, n in Counter(n.op for n in model.nodes).most_common(12)
        )
        yield Finding(
            "supply/structure_view/read", Severity.INFO,
            f"{model.format}: {count} tensors, {size:,} numbers, {len(model.nodes)} operators",
            f"Operators: {ops}." if ops else "The file holds weights alone.", where=path.name, refs=REFS,
            evidence=(Measurement("parts read", count, max(1, count), count, count),),
        )  # fmt: skip
