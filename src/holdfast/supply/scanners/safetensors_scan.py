"""Safetensors files and their indices (the format's text; Hugging Face, 2022)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.scanners.views import of_rules


@method(cites="huggingface2022", where="section Format; what it forbids is what is looked for")
@dataclass(frozen=True)
class SafetensorsScan(Scanner):
    """Lies in the headers of safetensors.

    The format holds no code; what is left is a header that lies to a reader which believes it. The
    scanner reads the header as the strictest reader does and compares it with the file: length,
    padding, doubled names, types, shape times element size against place, tensors that overlap or
    leave gaps, bytes behind the last one, and what such bytes are. Metadata is searched for code
    that a program around the model might run, and for models packed into it. In the index of a
    model of several files every file must lie beside the index. The numbers are not read.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from of_rules(path, "safetensors_scan", ("safetensors", "safetensors index"))
