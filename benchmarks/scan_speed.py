"""What `scan` costs, and whether damaged files break it.

    PYTHONPATH=. python benchmarks/scan_speed.py [--gigabytes 1.0] [--mutants 100000] [--seconds 300]

The command as a user runs it, on a state_dict of 20 KB (wall clock, median of ten); megabytes per
second and the most memory on a safetensors file and a torch archive of the given size, both written to
a temporary folder; and damaged copies of small files of our corpus, one after the other in this
process, with five seconds each. Exit code 1 where a bar is missed: 0.5 s, 300 MB/s, 256 MB, no
exception and nothing over five seconds.
"""

# ruff: noqa: E501  # tables

import argparse
import json
import os
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

COLD, SPEED, MEMORY, HANG = 0.5, 300.0, 256.0, 5
COMMAND = [sys.executable, "-m", "holdfast", "scan"]


class TooLong(BaseException):
    """A copy took more than its five seconds."""


def ran(path: Path) -> tuple[float, float]:
    """Seconds of the clock and megabytes at most, of one command in a process of its own."""
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=-3, stderr=-3); " \
             "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *COMMAND, str(path)], capture_output=True, text=True, check=True
    )  # fmt: skip
    return time.perf_counter() - start, int(done.stdout) / 1024


def cold(folder: Path) -> float:
    """Median of ten commands on a file of 20 KB; names the slowest imports when it is too slow."""
    import torch

    path = folder / "small.pt"
    torch.save({"w": torch.zeros(70, 70)}, path)
    times = []
    for _ in range(11):
        start = time.perf_counter()
        subprocess.run([*COMMAND, str(path)], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    middle = statistics.median(times[1:])
    print(
        f"cold command on {path.stat().st_size:,} bytes: {middle:.2f} s ({min(times):.2f} to {max(times):.2f})"
    )
    if middle > COLD:
        told = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "holdfast", "scan", str(path)],
            capture_output=True, text=True, check=False,
        ).stderr  # fmt: skip
        lines = [
            line.removeprefix("import time:").split("|")
            for line in told.splitlines()
            if line.count("|") == 2
        ]
        spent = sorted(
            ((int(whole), name.strip()) for _, whole, name in lines[1:] if whole.strip().isdigit()),
            reverse=True,
        )
        for whole, name in spent[:12]:
            print(f"  {whole / 1000:8.0f} ms  {name}")
    return middle


def large(folder: Path, size: int) -> bool:
    """Speed and memory on a safetensors file with holes and on a torch archive; whether bars hold."""
    import torch

    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size // 4 * 4]}}
    ).encode()
    one = folder / "large.safetensors"
    with one.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size // 4 * 4)
    two = folder / "large.pt"
    draws = torch.Generator().manual_seed(0)
    block = torch.randint(0, 256, (2**26,), dtype=torch.uint8, generator=draws)
    torch.save({f"w{i}": block.clone() for i in range(max(1, size // 2**26))}, two)
    held = True
    for path in (one, two):
        bytes_ = path.stat().st_size
        runs = [ran(path) for _ in range(3)]
        seconds, memory = statistics.median(s for s, _ in runs), max(m for _, m in runs)
        speed = bytes_ / 2**20 / seconds
        print(
            f"{path.name}: {bytes_:,} bytes in {seconds:.2f} s, {speed:,.0f} MB/s, {memory:.0f} MB at most"
        )
        held &= speed >= SPEED and memory <= MEMORY
        path.unlink()
    return held


def stop(number: int, frame: FrameType | None) -> None:
    raise TooLong


def mutants(count: int, seconds: float, start: int) -> bool:
    """Damaged copies in this process; whether every one of them got a verdict in time."""
    from benchmarks.corpus import bad, good
    from holdfast.supply.files import scan_bytes
    from holdfast.supply.mutation import mutate

    seeds = [s for s in (*bad(), *good()) if 0 < len(s.data) <= 20_000]
    kept = Path(".cache/mutants")
    signal.signal(signal.SIGALRM, stop)
    verdicts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    slowest, began, done = (0.0, ""), time.monotonic(), 0
    for number in range(start, start + count):
        if time.monotonic() - began > seconds:
            break
        seed = seeds[number % len(seeds)]
        data = mutate(seed.data, 0, number)
        signal.setitimer(signal.ITIMER_REAL, HANG)
        before = time.process_time()
        try:
            verdicts[scan_bytes(data, seed.file).verdict.value] += 1
        except TooLong:
            faults[f"over {HANG} s: {seed.name}"] += 1
        except Exception as error:  # what may never leave
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = (
                f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
            )
            faults[f"{type(error).__name__} at {where}: {seed.name}"] += 1
            kept.mkdir(parents=True, exist_ok=True)
            (kept / f"{number}-{seed.file}").write_bytes(data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, (time.process_time() - before, f"{seed.name}, copy {number}"))
        done += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    passed = time.monotonic() - began
    print(f"{done:,} damaged copies of {len(seeds)} files in {passed:.0f} s: {dict(verdicts)}, {sum(faults.values())} faults; "
          f"slowest {slowest[0]:.2f} s ({slowest[1]}); {peak:.0f} MB at most")  # fmt: skip
    for told, seen in faults.most_common():
        print(f"  {seen} x {told}")
    return not faults


def main() -> int:
    """Print what was measured; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--start", type=int, default=0, help="number of the first copy")
    parser.add_argument("--seconds", type=float, default=3600.0, help="for damaged copies at most")
    parser.add_argument("--nice", type=int, default=0)
    given = parser.parse_args()
    os.nice(given.nice)
    held = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held &= cold(folder) <= COLD
        if given.gigabytes:
            held &= large(folder, int(given.gigabytes * 2**30))
    if given.mutants:
        held &= mutants(given.mutants, given.seconds, given.start)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
