"""Configurations and texts that make a loader import code (transformers' auto_map, Hydra, YAML tags)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.scanners.views import of_rules


@method(cites="kellas2025", where="sec. 2, code outside of the pickle; the keys are ours")
@dataclass(frozen=True)
class RemoteCode(Scanner):
    """Remote code in configurations.

    JSON and YAML are data until a loader takes a word of them for the name of a class:
    `auto_map` and `custom_pipelines` (transformers, diffusers), `auto_mapping` (PEFT),
    `_target_` (Hydra, NeMo), `type` in modules.json (sentence-transformers), `py/object`
    (jsonpickle), tags such as `!!python/object/apply`. What they name is checked against a list
    of framework classes, as the imports of a pickle are.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from of_rules(path, "remote_code", ("json", "text"))
