"""How well `scan` tells files that would harm from ordinary ones, on our own corpus.

    PYTHONPATH=. python benchmarks/scan_corpus.py [--folder DIR] [--names] [--limit-seconds 1.0]

The corpus (`corpus/`) is built anew: the same bytes each time, but for addresses and hashes that
libraries write into the good files. A file that would harm is *detected* when it
is flagged, *stopped* when it is anything but clean, and *silent* when it is called clean. An ordinary
file is a false alarm when it is flagged or malformed. Exit code 1 where a bar is missed: 99 % of files
that would run code flagged and none of them clean, at most 2 % of good files flagged and none of
torch state_dicts and scikit-learn's models.
"""

# ruff: noqa: E501  # tables

import argparse
import hashlib
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import CODE, GOOD, TIERS, Sample, bad, good
from holdfast.supply.files import scan_bytes
from holdfast.supply.rules import Verdict

STRICT = ("torch state_dict", "scikit-learn")
"""Groups of good files in which no alarm is allowed."""


@dataclass(frozen=True)
class Score:
    """One file, what was said of it, and what that cost."""

    sample: Sample
    verdict: str
    seconds: float
    reason: str = ""


def scored(samples: Sequence[Sample]) -> list[Score]:
    """Scan each in this process; an exception is a verdict of its own."""
    scores = []
    for sample in samples:
        start = time.process_time()
        try:
            scan = scan_bytes(sample.data, sample.file)
            verdict = scan.verdict.value
            reason = (
                f"{scan.issues[0].rule.id}: {scan.issues[0].reason[:80]}" if scan.issues else ""
            )
        except Exception as error:  # what the bars forbid
            verdict, reason = "crash", repr(error)
        scores.append(Score(sample, verdict, time.process_time() - start, reason))
    return scores


def write(samples: Sequence[Sample], folder: Path) -> dict[str, Sample]:
    """Lay the files into folders of their own, as names matter; by their path in `folder`."""
    laid = {}
    for number, sample in enumerate(samples):
        kind = "good" if sample.tier == GOOD else "bad"
        path = Path(kind, f"{number:04}", sample.file)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(sample.data)
        laid[path.as_posix()] = sample
    return laid


def digest(samples: Sequence[Sample]) -> str:
    """Of names and bytes of the files that are put together by hand; libraries write addresses into theirs."""
    whole = hashlib.sha256()
    for sample in samples:
        if sample.tier != GOOD and not sample.name.startswith("HDF5"):
            whole.update(f"{sample.name}\0{sample.file}\0".encode())
            whole.update(hashlib.sha256(sample.data).digest())
    return whole.hexdigest()[:16]


def table(scores: Sequence[Score]) -> int:
    """Print what was found by tier and by group; how many bars are missed."""
    missed = 0
    print(
        "| files that | n | flagged | malformed | not analysed | called clean |\n|--|--|--|--|--|--|"
    )
    for tier, title in TIERS.items():
        own = [each for each in scores if each.sample.tier == tier]
        counts = Counter(each.verdict for each in own)
        shares = " | ".join(str(counts[verdict.value]) for verdict in Verdict)
        print(f"| {title} | {len(own)} | {shares} |")
        if tier == CODE:
            missed += (counts["flagged"] < 0.99 * len(own)) + (counts["clean"] > 0)
    fine = [each for each in scores if each.sample.tier == GOOD]
    print("\n| ordinary files of | n | clean | not analysed | false alarms |\n|--|--|--|--|--|")
    groups: dict[str, list[Score]] = defaultdict(list)
    for each in fine:
        groups[each.sample.group].append(each)
    for group, own in [*groups.items(), ("all", fine)]:
        counts = Counter(each.verdict for each in own)
        alarms = counts["flagged"] + counts["malformed"] + counts["crash"]
        print(f"| {group} | {len(own)} | {counts['clean']} | {counts['not analysed']} | {alarms} |")
        missed += alarms > (
            0.02 * len(own) if group == "all" else 0 if group in STRICT else len(own)
        )
    return missed


def main() -> int:
    """Print the tables, and by name what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="write the corpus here as well")
    parser.add_argument(
        "--names", action="store_true", help="name all that is not flagged or not clean"
    )
    parser.add_argument("--limit-seconds", type=float, default=1.0, help="of the 99th percentile")
    given = parser.parse_args()
    samples = [*bad(), *good()]
    print(
        f"{len(samples)} files, {sum(len(s.data) for s in samples):,} bytes, digest of those made by hand {digest(samples)}\n"
    )
    if given.folder:
        write(samples, given.folder)
    scores = scored(samples)
    missed = table(scores)
    times = [each.seconds for each in scores]
    late = statistics.quantiles(times, n=100)[98]
    print(f"\n{sum(times):.1f} CPU seconds; a file takes {statistics.median(times) * 1000:.1f} ms in the "
          f"median, {late * 1000:.0f} ms at the 99th percentile, {max(times):.2f} s at most")  # fmt: skip
    for each in scores:
        wrong = (
            each.verdict != "clean"
            if each.sample.tier == GOOD
            else each.verdict in ("clean", "crash")
        )
        unsaid = each.sample.tier == CODE and each.verdict != "flagged"
        if (
            wrong
            or unsaid
            or (given.names and each.sample.tier != GOOD and each.verdict != "flagged")
        ):
            print(
                f"{each.sample.tier}: {each.sample.name} ({each.sample.file}): {each.verdict} {each.reason}"
            )
    return int(missed > 0 or late > given.limit_seconds)


if __name__ == "__main__":
    sys.exit(main())
