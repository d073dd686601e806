"""Killed at any moment, the same command goes on and ends with the same report."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.conftest import FACTORY, Command, environment

VOLATILE = {"started", "seconds", "command", "made", "decided", "model", "where", "versions"}


def stripped(value: object) -> object:
    """The report without times and without the folder it was made in."""
    if isinstance(value, dict):
        return {k: stripped(v) for k, v in value.items() if k not in VOLATILE}
    return [stripped(v) for v in value] if isinstance(value, list) else value


def records(store: Path) -> dict[str, str]:
    """Key and start time of every stored record."""
    if not store.exists():
        return {}
    connection = sqlite3.connect(store)
    try:
        return dict(connection.execute("SELECT key, started FROM record").fetchall())
    except sqlite3.OperationalError:  # the schema is not there yet
        return {}
    finally:
        connection.close()


def test_a_killed_assessment_resumes_and_repeats_nothing(
    holdfast: Command, digits_weights: Path, small_plan: Path, tmp_path: Path
) -> None:
    arguments = ["assess", "--model", FACTORY, "--weights", str(digits_weights), "--data", "digits"]
    arguments += ["--profile", str(small_plan), "--out"]
    store = tmp_path / ".holdfast" / "holdfast.db"

    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *arguments, "killed"],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not records(store) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = records(store)
    assert 0 < len(before) < 6, "killed in the middle"
    assert not (tmp_path / "killed" / "report.html").exists()

    resumed = holdfast(*arguments, "killed")
    assert resumed.returncode == 0, resumed.stderr
    after = records(store)
    assert {k: after[k] for k in before} == before, "no finished check was run again"

    (tmp_path / ".holdfast").rename(tmp_path / "first")
    fresh = holdfast(*arguments, "fresh")
    assert fresh.returncode == 0, fresh.stderr
    texts = [(tmp_path / run / "report.json").read_text() for run in ("killed", "fresh")]
    assert stripped(json.loads(texts[0])) == stripped(json.loads(texts[1]))
