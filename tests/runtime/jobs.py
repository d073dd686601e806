"""Jobs for worker processes in the tests."""

import os
import signal
from pathlib import Path


def double(payload: str) -> int:
    """Twice the number."""
    if payload == "boom":
        raise ValueError("no number")
    return 2 * int(payload)


def die(payload: str) -> str:
    """Killed by the system, as when memory runs out; the second time it lives when told to."""
    marker, again = payload.split("|")
    if again == "always" or not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"
