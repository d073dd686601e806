"""Whatever is wrong: one line that says what, got and fix; exit 2; nothing half-written."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import FACTORY, Command


def assess(holdfast: Command, **options: str):
    given = {"model": FACTORY, "data": "digits", "out": "out", **options}
    arguments = [part for name, value in given.items() for part in (f"--{name}", value)]
    return holdfast("assess", *arguments)


def wrong(done, *says: str) -> None:
    code = done.returncode if hasattr(done, "returncode") else done.exit_code  # in-process
    assert code == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in ("got", *says)), lines[0]


def nothing_written(folder: Path) -> None:
    assert not list(folder.rglob("report.*"))
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "nowhere.py:build"}, "nowhere.py"),
        ({"model": "holdfast.targets.zoo:nothing"}, "nothing"),
        ({"model": "model.onnx"}, "model.onnx"),
        ({"data": "digitz"}, "digits"),
        ({"data": "nowhere.csv"}, "nowhere.csv"),
        ({"profile": "nonsense"}, "image-classifier"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"set": "evasion/pgd.linf.params.steps=0"}, "at least 1"),
        ({"set": "evasion/pgd.linf.method=evasion/pdg"}, "evasion/pdg"),
        ({"data": "breast-cancer"}, "shape"),
        ({"model": "http://127.0.0.1:9/v2/models/x"}, "127.0.0.1:9"),
        ({"model": "ftp://127.0.0.1/x"}, "ftp"),
    ],
)
def test_a_wrong_word_on_the_command_line(
    holdfast: Command, tmp_path: Path, options: dict[str, str], says: str
) -> None:
    wrong(assess(holdfast, **options), says)
    nothing_written(tmp_path)


def test_truncated_weights(holdfast: Command, digits_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(digits_weights.read_bytes()[:-100])
    wrong(assess(holdfast, weights=str(path)), "cut.safetensors")
    nothing_written(tmp_path)


def test_a_malicious_pickle_is_refused_and_never_run(holdfast: Command, tmp_path: Path) -> None:
    flag = tmp_path / "was-run"

    class Payload:
        def __reduce__(self):
            return (Path.touch, (flag,))

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Payload()))
    done = holdfast("assess", "--model", str(path), "--data", "digits", "--trust", "--out", "out")
    wrong(done, "model.pkl")
    assert not flag.exists()
    nothing_written(tmp_path)


def test_values_outside_of_any_image_and_nan(holdfast: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((30, 1, 8, 8), dtype=np.float32)
    x[7] = np.nan
    np.savez(tmp_path / "nan.npz", x=x, y=np.arange(30) % 10)
    wrong(assess(holdfast, data=str(tmp_path / "nan.npz")), "NaN", "7")
    x[7] = 300.0
    np.savez(tmp_path / "wide.npz", x=x, y=np.arange(30) % 10)
    wrong(assess(holdfast, data=str(tmp_path / "wide.npz")), "300")


def test_labels_out_of_range_and_a_wrong_count(holdfast: Command, tmp_path: Path) -> None:
    x = np.zeros((30, 1, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "labels.npz", x=x, y=np.full(30, -1))
    wrong(assess(holdfast, data=str(tmp_path / "labels.npz")))
    np.savez(tmp_path / "count.npz", x=x, y=np.arange(29) % 10)
    wrong(assess(holdfast, data=str(tmp_path / "count.npz")), "30", "29")


def test_a_truncated_idx_file(holdfast: Command, tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(
        struct.pack(">IIII", 2051, 10, 8, 8) + b"\0" * 100
    )
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 10) + b"\0" * 10)
    wrong(assess(holdfast, data=str(tmp_path)))


def test_an_unknown_method_names_the_nearest(holdfast: Command) -> None:
    wrong(holdfast("show", "evasion/pgdd"), "evasion/pgd")


def test_an_unknown_tier_and_an_empty_store(holdfast: Command) -> None:
    wrong(holdfast("review", "--tier", "extreme"), "medium")
    wrong(holdfast("review"), "holdfast assess")
