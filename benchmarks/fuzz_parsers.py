"""Coverage-guided fuzzing of every parser of `scan`, for nightly runs.

    pip install atheris==3.0.0          # Python 3.11 to 3.13 on Linux
    PYTHONPATH=. python benchmarks/fuzz_parsers.py [--corpus DIR] [libFuzzer options]
    PYTHONPATH=. python benchmarks/fuzz_parsers.py -max_total_time=3600 -timeout=5 -rss_limit_mb=2048

Any exception that leaves `scan_bytes` is a crash; `-timeout` and `-rss_limit_mb` bound the rest. The
first byte chooses the name of the file, the others are its content. `--corpus` begins with our own
corpus, written into the folder; libFuzzer adds what reached new code.
"""

# tables

import sys
from pathlib import Path

import atheris

NAMES = (
    "model.bin",
    "model.pt",
    "config.json",
    "config.yaml",
    "saved_model.pb",
    "model.xml",
    "model.tflite",
    "notes.txt",
)

with atheris.instrument_imports(include=["holdfast.supply"]):
    from holdfast.supply.files import scan_bytes


def one(data: bytes) -> None:
    """Scan one input."""
    if data:
        scan_bytes(data[1:], NAMES[data[0] % len(NAMES)])


def seeded(folder: Path, most: int = 20_000) -> None:
    """Write the small files of the corpus, each with the byte that chooses its name."""
    from benchmarks.corpus import bad, good

    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate([*bad(), *good()]):
        if len(sample.data) <= most:
            which = next(
                (i for i, n in enumerate(NAMES) if n.endswith(Path(sample.file).suffix or "?")), 0
            )
            (folder / f"{number:04}").write_bytes(bytes([which]) + sample.data)


def main() -> None:
    """Hand over to libFuzzer."""
    given = list(sys.argv)
    if "--corpus" in given:
        at = given.index("--corpus")
        folder = Path(given[at + 1])
        seeded(folder)
        given[at : at + 2] = [str(folder)]
    atheris.Setup(given, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
