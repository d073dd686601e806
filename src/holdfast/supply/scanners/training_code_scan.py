"""Training code that poisons what it trains (Bagdasaryan and Shmatikov, USENIX Security 2021)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.training_code import review_file


@method(cites="bagdasaryan2021", where="sec. 3, what a blind attack needs; the rules are ours")
@dataclass(frozen=True)
class TrainingCodeScan(Scanner):
    """Training-code review.

    A blind backdoor minimises a1 loss(model(x), y) + a2 loss(model(mu(x)), nu(y)) instead of
    loss(model(x), y), with a1 and a2 from the gradients of both. The syntax tree of a script is
    followed for that, and for what else poisons by code: inputs and labels that are written to,
    conditions on the step or the data around such writes, an order of batches that follows losses,
    hooks and patches of losses and optimisers, code from strings, files and network at import.
    Only `.py` files are read, those of the model or beside it; nothing is imported or run.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        if path.suffix != ".py":
            raise NotApplicable("needs the training script, a file that ends in .py")
        yield from review_file(path).findings
