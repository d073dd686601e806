"""From the words of a command line to an opened model and its data."""

import dataclasses
import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from holdfast.assess.execute import Opened


@dataclass(frozen=True)
class Source:
    """Where a model and its data come from, as given on the command line."""

    model: str
    data: str
    weights: str | None = None
    label: str | None = None
    sensitive: tuple[str, ...] = ()
    trust: bool = False

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `as_dict` gave."""
        told = json.loads(text)
        return cls(**{**told, "sensitive": tuple(told["sensitive"])})

    def options(self) -> str:
        """The architecture and the data as options of a command."""
        label = f" --label {shlex.quote(self.label)}" if self.label else ""
        return f"--model {shlex.quote(self.model)} --data {shlex.quote(self.data)}{label}"

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def open_source(source: Source) -> "Opened":
    """Open data and model.

    Raises:
        InputError: something that was given cannot be used.
    """
    from holdfast.assess.execute import Opened
    from holdfast.core.record import Subject
    from holdfast.data import open_data
    from holdfast.supply.scanners.pickle_scan import scan_file
    from holdfast.targets.opening import open_model

    split = open_data(source.data, label=source.label, sensitive=source.sensitive)
    model = open_model(
        source.model, weights=source.weights, data=split.test, trust=source.trust, scan=scan_file
    )
    both = hashlib.sha256((split.train.digest + split.test.digest).encode()).hexdigest()
    subject = Subject(model.name, model.digest, model.format, split.test.name, both)
    facts = dict(model.facts)
    if model.format == "PyTorch" and source.weights is None:
        facts["note"] = "no weights were given: the factory's own are used, often untrained ones"
    files = tuple(Path(p) for p in (source.model, source.weights) if p and Path(p).is_file())
    return Opened(model.target, subject, split.train, split.test, model.recipe, files, facts)
