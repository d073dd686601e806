"""GGUF files: header arithmetic and chat templates (the specification in ggml's repository)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.kinds import Scanner
from holdfast.core.method import method
from holdfast.core.record import Finding
from holdfast.supply.scanners.views import of_rules


@method(cites="gguf", where="sections File Structure and Standardized key-value pairs")
@dataclass(frozen=True)
class GgufScan(Scanner):
    """Headers and chat templates of GGUF files.

    Readers of GGUF are written in C and believe what the header says. The scanner walks versions 1
    to 3 in both orders of bytes and compares every count, length, number of dimensions, product of
    sizes, alignment and place with the bytes that are there. The chat template is a Jinja program
    that runs with every request: its tokens are read, never rendered, and what walks to Python,
    calls an unknown helper, runs for very long, or adds words when a message holds others, is
    reported. Other texts of the metadata are searched for code. The numbers are not read.
    """

    def scan(self, path: Path) -> Iterator[Finding]:
        yield from of_rules(path, "gguf_scan", ("gguf",))
