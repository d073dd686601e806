"""A process that loads one damaged file after another with a user's own function.

Run by its path, so that nothing of this package is imported beside the loader. It is told one path
per line and answers with one line per path; what it cannot answer, its parent sees.
"""

import importlib.util
import math
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def limit(memory: int, size: int) -> None:
    """Address space in bytes, size of written files in bytes, and no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def bucket(error: BaseException) -> str:
    """Type of the error and the last three places it came through: what makes it this error."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return f"{type(error).__name__} at {places}"


def loaded(file: str, function: str) -> Any:
    """The function of the user's file."""
    spec = importlib.util.spec_from_file_location("holdfast_loader", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["holdfast_loader"] = module
    sys.path.insert(0, str(Path(file).parent))
    spec.loader.exec_module(module)
    return getattr(module, function)


def main() -> None:
    """Load what is named on the standard input until it ends."""
    file, function, memory, size, seconds = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # a loader that prints must not answer for itself
    try:
        load = loaded(file, function)
    except BaseException as error:
        answers.write(f"unusable\t{type(error).__name__}: {error}".replace("\n", " ") + "\n")
        return
    limit(int(memory), int(size))
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]  # could never be raised again
    answers.write("ready\t\n")
    for line in sys.stdin:
        used = math.ceil(time.process_time() + float(seconds)) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (used, most))
        try:
            load(line.rstrip("\n"))
            told = "fine\t"
        except MemoryError as error:
            told = f"memory\t{bucket(error)}"
        except BaseException as error:
            told = f"exception\t{bucket(error)}"
        answers.write(told.replace("\n", " ") + "\n")


if __name__ == "__main__":
    main()
