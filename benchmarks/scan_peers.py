"""Other scanners of model files beside ours, on our own corpus.

    make peers-scan
    PYTHONPATH=. python benchmarks/scan_peers.py --peers .venv-peers-scan [--only NAME ...]
        [--seconds 600] [--table FILE]

Each runs as a user runs it: its own command, once for each file, with nothing of the network within
reach of its settings and telemetry off. Files come in a fixed random order, and a scanner that has
used up its seconds stops there, so its row tells of a random sample of so many files. *Detected* is
an exit code that says unsafe, *silent* one that says safe, *no answer* an error, a file that was skipped
or a time-out. Of good files, *false alarm* is the same exit code. CPU seconds are a file's, start
of the command included.
"""

# ruff: noqa: E501  # tables

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from benchmarks.corpus import CODE, GOOD, Sample, bad, good
from benchmarks.scan_corpus import write

QUIET = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "POSTHOG_DISABLED": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1",
}  # fmt: skip
"""Whoever asks the network all the same finds a closed port of this machine."""
UNSAFE, SAFE, NONE = "unsafe", "safe", "no answer"


@dataclass(frozen=True)
class Peer:
    """How a scanner is called and what its exit codes mean; all others are no answer."""

    name: str
    command: tuple[str, ...]
    safe: int = 0
    unsafe: int = 1


def peers(folder: Path) -> list[Peer]:
    tool = {
        name: str(folder.absolute() / "bin" / name)
        for name in ("fickling", "modelscan", "picklescan", "modelaudit")
    }
    return [
        Peer("fickling", (tool["fickling"], "--check-safety", "--json-output", "/dev/null")),
        Peer("modelscan", (tool["modelscan"], "-p")), Peer("picklescan", (tool["picklescan"], "-p")),
        Peer("picklescan --strict", (tool["picklescan"], "--strict", "-p")),
        Peer("modelaudit", (tool["modelaudit"], "scan", "--quiet", "--no-cache", "--format", "json")),
        Peer("holdfast", (sys.executable, "-m", "holdfast", "scan")),
    ]  # fmt: skip


def answer(peer: Peer, path: Path, home: Path) -> tuple[str, float]:
    """What it says of a file, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            [*peer.command, str(path)], capture_output=True, timeout=60, cwd=home, check=False,
            env={**os.environ, **QUIET, "HOME": str(home), "XDG_CACHE_HOME": str(home)}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        broke = b"Traceback (most recent call last)" in done.stderr
        said = {peer.safe: SAFE, peer.unsafe: NONE if broke else UNSAFE}.get(done.returncode, NONE)
    except subprocess.TimeoutExpired:
        said = NONE
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return said, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def row(name: str, told: Sequence[tuple[Sample, str]], cpu: float) -> str:
    """One line of the table."""

    def shares(wanted: Sequence[tuple[Sample, str]]) -> list[str]:
        counts = Counter(said for _, said in wanted)
        return [
            f"{counts[said]} ({counts[said] / max(1, len(wanted)):.0%})"
            for said in (UNSAFE, SAFE, NONE)
        ]

    code = shares([each for each in told if each[0].tier == CODE])
    other = shares([each for each in told if each[0].tier not in (CODE, GOOD)])
    fine = shares([each for each in told if each[0].tier == GOOD])
    counts = Counter(
        "code" if s.tier == CODE else "good" if s.tier == GOOD else "other" for s, _ in told
    )
    cells = (
        name,
        counts["code"],
        *code,
        counts["other"],
        *other[:2],
        counts["good"],
        fine[0],
        fine[2],
        f"{cpu / max(1, len(told)):.2f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers-scan"))
    parser.add_argument(
        "--only", nargs="*", default=[], help="scanners whose name contains one of these"
    )
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="of the clock, for each scanner"
    )
    given = parser.parse_args()
    print("| scanner | files that would run code | detected | silent | no answer | other harmful files | detected | silent "
          "| good files | false alarms | no answer | CPU s a file |\n" + "|--" * 12 + "|")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder, home = Path(name, "corpus"), Path(name, "home")
        home.mkdir()
        laid = write([*bad(), *good()], folder)
        order = sorted(laid, key=lambda path: sha256(laid[path].name.encode()).digest())
        for peer in peers(given.peers):
            if given.only and not any(text in peer.name for text in given.only):
                continue
            if not Path(peer.command[0]).is_file():
                print(f"{peer.name} is not in {given.peers}", file=sys.stderr)
                continue
            told, cpu, start = [], 0.0, time.monotonic()
            for path in order:
                if time.monotonic() - start > given.seconds:
                    break
                said, spent = answer(peer, folder / path, home)
                told.append((laid[path], said))
                cpu += spent
            print(row(peer.name, told, cpu), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
