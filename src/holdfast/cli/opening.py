"""From the words of a command line to an opened model and its data."""

import dataclasses
import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from holdfast.assess.execute import Opened


@dataclass(frozen=True)
class Source:
    """Where a model and its data come from, as given on the command line.

    `immutable`, `rise` and `fall` name columns of a table; if any is given, only rows that could
    exist count as inputs.
    """

    model: str
    data: str
    weights: str | None = None
    label: str | None = None
    sensitive: tuple[str, ...] = ()
    trust: bool = False
    immutable: tuple[str, ...] = ()
    rise: tuple[str, ...] = ()
    fall: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `as_dict` gave."""
        told: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()
        }
        return cls(**told)

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
    from holdfast.data.tables import constrain
    from holdfast.supply.scanners.pickle_scan import scan_file
    from holdfast.targets.opening import open_model

    split = open_data(source.data, label=source.label, sensitive=source.sensitive)
    rules = {"immutable": source.immutable, "rise": source.rise, "fall": source.fall}
    if any(rules.values()):
        split = constrain(split, immutable=source.immutable, rise=source.rise, fall=source.fall)
    model = open_model(
        source.model, weights=source.weights, data=split.test, trust=source.trust, scan=scan_file
    )
    told = repr(rules) if any(rules.values()) else ""
    both = hashlib.sha256((split.train.digest + split.test.digest + told).encode()).hexdigest()
    subject = Subject(model.name, model.digest, model.format, split.test.name, both)
    facts = dict(model.facts)
    if model.format == "PyTorch" and source.weights is None:
        facts["note"] = "no weights were given: the factory's own are used, often untrained ones"
    files = tuple(Path(p) for p in (source.model, source.weights) if p and Path(p).is_file())
    return Opened(model.target, subject, split.train, split.test, model.recipe, files, facts)
