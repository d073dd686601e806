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


def begun(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, once its first check is stored."""
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *arguments],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell that runs the suite in the background has its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not records(tmp_path / ".holdfast" / "holdfast.db") and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def test_ctrl_c_stops_with_one_line(digits_weights: Path, long_plan: Path, tmp_path: Path) -> None:
    arguments = ["assess", "--model", FACTORY, "--weights", str(digits_weights), "--data", "digits"]
    process = begun(tmp_path, *arguments, "--profile", str(long_plan), "--out", "out")
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.rstrip().endswith("stopped; the same command goes on from here")


def test_a_killed_assessment_resumes_and_repeats_nothing(
    holdfast: Command, digits_weights: Path, long_plan: Path, tmp_path: Path
) -> None:
    arguments = ["assess", "--model", FACTORY, "--weights", str(digits_weights), "--data", "digits"]
    arguments += ["--profile", str(long_plan), "--out"]
    store = tmp_path / ".holdfast" / "holdfast.db"

    with begun(tmp_path, *arguments, "killed") as process:
        os.kill(process.pid, signal.SIGKILL)
    before = records(store)
    assert 0 < len(before) < 7, "killed in the middle"
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
