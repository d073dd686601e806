"""Seconds that integrity costs for one large file: hash, sign, seal, watch. A Markdown table.

Run: python benchmarks/integrity.py --size 1000  (megabytes; needs three times that on the disk)
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from holdfast.supply import envelope, manifest, signing
from holdfast.supply.keys import KeyFile
from holdfast.supply.monitor import Monitor


def steps(folder: Path, size: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and work, each on the same file of random bytes."""
    path, shut, out = folder / "model.bin", folder / "shut", folder / "out"
    block = os.urandom(2**20)
    with path.open("wb") as file:
        for _ in range(size * 10**6 // 2**20):
            file.write(block)
    made = manifest.build(path)
    yield "manifest, check", lambda: manifest.check(path, made)
    key, public, bundle = folder / "key", folder / "key.pub", signing.beside(path)
    signing.new_key(key, public)
    yield "sign", lambda: signing.sign(path, bundle, key)
    yield "verify", lambda: signing.verify(path, bundle, public)
    keeper = KeyFile(os.urandom(32))
    yield "encrypt", lambda: envelope.seal(path, shut, keeper, replace=True)
    yield "decrypt", lambda: envelope.unseal(shut, out, keeper, replace=True)
    weights = {"weights": torch.zeros(size * 10**6 // 4)}
    monitor = Monitor(weights, lambda _: None)
    yield "monitor, one round", monitor.check


def main() -> None:
    given = argparse.ArgumentParser()
    given.add_argument("--size", type=int, default=1000, help="megabytes")
    size = given.parse_args().size
    print(f"| {size} MB | wall s | cpu s | MB/s |\n|--|--|--|--|")
    with tempfile.TemporaryDirectory() as folder:
        for name, work in steps(Path(folder), size):
            began, busy = time.perf_counter(), time.process_time()
            work()
            wall, cpu = time.perf_counter() - began, time.process_time() - busy
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {size / wall:.0f} |", flush=True)


if __name__ == "__main__":
    main()
