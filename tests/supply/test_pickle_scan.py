"""The pickle scanner against known bypasses, real files, mutated files, and Python's own machine."""

import contextlib
import io
import pickle
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_selector
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity, ThreatModel
from holdfast.core.run import Run
from holdfast.engine.case import Case
from holdfast.engine.scan import assess, scan
from holdfast.supply import pickle_names
from holdfast.supply.pickle_machine import Stream
from holdfast.supply.pickle_opcodes import run
from holdfast.supply.reading import Allowance
from holdfast.supply.scanners.pickle_scan import PickleScan, scan_file
from tests.supply.bypasses import CASES, EVIL, MISUSES, P2, SYSTEM, call, name, pickled, u, zipped


def scanned(folder: Path, file: str, content: bytes):
    path = folder / file
    path.write_bytes(content)
    return scan_file(path)


def worst(findings) -> Severity:
    return max(f.severity for f in findings)


@pytest.mark.parametrize(
    ("file", "content", "told"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_known_bypass_is_flagged_and_named(tmp_path, file, content, told) -> None:
    found = scanned(tmp_path, file, content)
    assert worst(found) >= Severity.HIGH
    assert any(told in f"{f.title} {f.detail}" for f in found if f.severity >= Severity.MEDIUM)
    assert "No unsafe callable" not in found[-1].title


@pytest.mark.parametrize(
    ("file", "content", "told"), [c[1:] for c in MISUSES], ids=[c[0] for c in MISUSES]
)
def test_what_cannot_be_trusted_is_never_clean(tmp_path, file, content, told) -> None:
    found = scanned(tmp_path, file, content)
    assert worst(found) >= Severity.MEDIUM
    assert any(told in f"{f.title} {f.detail}" for f in found if f.severity >= Severity.MEDIUM)


def test_a_finding_tells_callable_offset_member_and_remedy(tmp_path) -> None:
    content = zipped({"a/data.pkl": pickled(b"N0", SYSTEM)})
    first, *_ = scanned(tmp_path, "model.pt", content)
    assert first.severity == Severity.CRITICAL
    assert first.title == "Loading the file calls os.system"
    assert first.where == "model.pt!a/data.pkl, byte 4"
    assert "safetensors" in first.detail
    assert {"AML.T0011.000", "AML.T0010.003"} <= set(first.refs)


def test_severity_tells_known_danger_from_the_unknown(tmp_path) -> None:
    assert scanned(tmp_path, "a.pkl", EVIL)[0].severity == Severity.CRITICAL
    assert scanned(tmp_path, "b.pkl", pickled(call("lovely", "f")))[0].severity == Severity.HIGH
    assert scanned(tmp_path, "c.pkl", P2 + b"K\x01")[0].severity == Severity.HIGH


def benign() -> dict[str, bytes]:
    """Real files by name, from the libraries' own writers."""
    made: dict[str, bytes] = {}
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()
    )
    for zipped_ in (True, False):
        for what, thing in (("state", module.state_dict()), ("module", module)):
            out = io.BytesIO()
            torch.save(thing, out, _use_new_zipfile_serialization=zipped_)
            made[f"{what}-{'zip' if zipped_ else 'legacy'}.pt"] = out.getvalue()
    x, y = load_iris(return_X_y=True)
    arrays = {
        "plain": np.arange(6.0), "objects": np.array([1, "a", None], object), "empty": np.zeros((0, 3)),
        "structure": np.zeros(3, dtype=[("a", "f4"), ("b", "O")]), "text": np.array(["abc", "d"]),
        "dates": np.array(["2020-01-01"], "M8[D]"),
    }  # fmt: skip
    things = {
        "forest": RandomForestClassifier(4, random_state=0).fit(x, y),
        "columns": make_column_selector(dtype_include=np.number),
        "attention": torch.nn.TransformerEncoderLayer(4, 2, activation="gelu"),
        "record": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "generator": np.random.default_rng(0),
        "regression": LogisticRegression(max_iter=500).fit(x, y),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x, y),
        "tensors": module.state_dict(),
        **arrays,
    }
    for what, thing in things.items():
        for protocol in range(6):
            made[f"{what}-{protocol}.pkl"] = pickle.dumps(thing, protocol)
        for packing in (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)):
            out = io.BytesIO()
            joblib.dump([thing, thing], out, compress=packing)
            made[f"{what}-{packing[0] if packing else 'plain'}.joblib"] = out.getvalue()
    for what, array in arrays.items():
        for suffix, save in (
            ("npy", np.save),
            ("npz", lambda f, a: np.savez_compressed(f, a=a, b=a)),
        ):
            out = io.BytesIO()
            save(out, array)
            made[f"{what}.{suffix}"] = out.getvalue()
    return made


def test_real_files_of_torch_sklearn_joblib_and_numpy_are_clean(tmp_path) -> None:
    files = benign()
    assert len(files) > 100
    found = {file: scanned(tmp_path, file, content) for file, content in files.items()}
    assert {file: f[0].title for file, f in found.items() if worst(f) > Severity.INFO} == {}
    assert all("No unsafe callable: read" in f[-1].title for f in found.values())


def test_compiled_code_is_read_and_not_taken_for_an_attack(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own deprecation
        torch.jit.script(torch.nn.Conv2d(1, 2, 3)).save(tmp_path / "script.pt")
    found = scan_file(tmp_path / "script.pt")
    assert worst(found) == Severity.INFO
    assert "script/data.pkl (pickle" in found[-1].detail


def test_every_estimator_of_scikit_learn_is_on_the_list() -> None:
    missing = [
        cls for _, cls in all_estimators()
        if pickle_names.role(cls.__module__, cls.__name__) != "class"
    ]  # fmt: skip
    assert missing == []


def test_every_name_that_runs_code_is_off_the_list() -> None:
    # what `getattr` gives is looked up on the list like any import, and so are its arguments
    allowed = set(pickle_names.ALLOWED) - {("builtins", "getattr")}
    assert pickle_names.role("builtins", "getattr") == "getattr"
    assert [pair for pair in allowed if pickle_names.executes(*pair)] == []
    functions = [
        (m, n) for (m, n), role in pickle_names.ALLOWED.items() if role == "call" and m == "torch._utils"
    ]  # fmt: skip
    assert functions
    assert all(n.startswith("_rebuild_") for _, n in functions)


class Seen(pickle._Unpickler):  # Python's own machine, on benign bytes only
    def __init__(self, file) -> None:
        super().__init__(file)
        self.names = set()

    def find_class(self, module, name):
        found = super().find_class(module, name)
        self.names.add((module, name) if self.proto >= 3 else pickle_names.renamed(module, name))
        return found


@pytest.mark.parametrize("protocol", range(6))
def test_it_sees_the_same_imports_as_pythons_own_machine(monkeypatch, protocol) -> None:
    x, y = load_iris(return_X_y=True)
    content = pickle.dumps(
        make_pipeline(StandardScaler(), RandomForestClassifier(2)).fit(x, y), protocol
    )
    real = Seen(io.BytesIO(content))
    real.load()
    ours = set()

    def role(module, name, inner=pickle_names.role):
        ours.add((module, name))
        return inner(module, name)

    monkeypatch.setattr(pickle_names, "role", role)
    assert run(Stream(content, 0, len(content), Allowance())).done
    assert ours == real.names
    assert len(ours) > 6


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: (
        st.tuples(inner) | st.tuples(inner, inner) | st.tuples(inner, inner, inner, inner)
    ),
    max_leaves=12,
)


@given(PLAIN, st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_constants_and_tuples_come_out_as_they_went_in(thing, protocol) -> None:
    content = pickle.dumps(thing, protocol)
    stream = run(Stream(content, 0, len(content), Allowance()))
    assert stream.done
    assert stream.notes == {}
    assert stream.value == thing


def canary(flag: Path) -> list[bytes]:
    """Pickles that would create the file `flag` if they were loaded, in several containers."""
    plain = pickled(call("builtins", "open", u(str(flag)), u("w")), header=b"\x80\x04")
    late = pickled(b"]", name("collections", "OrderedDict"), b")R0", plain[2:-1])
    array = pickle.dumps({"a": np.arange(4), "b": [1, "x", None]}, 4)
    out = io.BytesIO()
    joblib.dump([np.arange(3.0), {"k": np.array([1, "a"], object)}], out)
    small = zipped({"a/data.pkl": plain, "a/data/0": bytes(16)}, zipfile.ZIP_DEFLATED)
    return [plain, late, array + plain, out.getvalue(), small]


def test_the_canary_sings_when_it_is_loaded(tmp_path) -> None:
    pickle.loads(canary(tmp_path / "flag")[0]).close()
    assert (tmp_path / "flag").exists()


@given(
    which=st.integers(0, 4),
    edits=st.lists(
        st.tuples(st.integers(0, 4000), st.integers(0, 255), st.sampled_from("sid")), max_size=12
    ),
    cut=st.integers(0, 4000),
)
@example(which=0, edits=[], cut=4000)
@settings(max_examples=300, deadline=2000)
def test_mutated_files_neither_crash_nor_hang_nor_run(tmp_path_factory, which, edits, cut) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    flag = folder / "flag"
    content = bytearray(canary(flag)[which])
    for place, byte, how in edits:
        at = place % max(1, len(content))
        if how == "s":
            content[at] = byte
        elif how == "i":
            content.insert(at, byte)
        else:
            del content[at : at + 1]
    found = scanned(folder, "model.pkl", bytes(content[: max(1, cut)]))
    assert found[-1].rule.endswith("/read")
    assert not flag.exists()


class Inert:
    """Stands for everything that a pickle imports; nothing happens whatever is done to it."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs) -> None:
        pass

    def __setstate__(self, state) -> None:
        pass

    def __setitem__(self, key, value) -> None:
        pass

    def append(self, item) -> None:
        pass


class Recorder(pickle._Unpickler):
    """Python's own machine, which imports nothing here and only writes down what it would."""

    def __init__(self, file) -> None:
        super().__init__(file)
        self.names = []

    def find_class(self, module, attribute):
        self.names.append((module, attribute))
        return type("Imported", (Inert,), {})

    def persistent_load(self, key):
        return Inert()


STREAMS = [
    c[2] for c in CASES + MISUSES
    if c[1] == "m.pkl" and c[2][:1] in (b"\x80", b"c", b"(") and len(c[2]) < 5000
    and not c[0].startswith("33")  # what grows without bound would do so in Python's machine
]  # fmt: skip


@given(
    which=st.integers(0, len(STREAMS) - 1),
    edits=st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 255), st.sampled_from("sid")), max_size=4
    ),
)
@settings(max_examples=200, deadline=2000)
def test_whatever_pythons_machine_would_import_is_allowed_or_flagged(
    tmp_path_factory, which, edits
) -> None:
    content = bytearray(STREAMS[which])
    for place, byte, how in edits:
        at = place % max(1, len(content))
        content[at : at + (how != "i")] = b"" if how == "d" else bytes([byte])
    if b"\x96" in content:
        return  # a byte array makes Python's machine allocate what the file announces
    real = Recorder(io.BytesIO(bytes(content)))
    with contextlib.suppress(Exception):  # mutated pickles fail in every possible way
        real.load()
    refused = [
        pair for pair in real.names
        if not pickle_names.role(*pair) and not pickle_names.role(*pickle_names.renamed(*pair))
    ]  # fmt: skip
    found = scanned(tmp_path_factory.mktemp("mutated"), "model.pkl", bytes(content))
    assert not refused or worst(found) >= Severity.HIGH


def test_a_payload_behind_a_million_opcodes_is_found_or_the_rest_is_not_called_clean(
    tmp_path,
) -> None:
    start = time.perf_counter()
    found = scanned(tmp_path, "a.pkl", pickled(b"N0" * 100_000, SYSTEM))
    assert found[0].severity == Severity.CRITICAL
    big = pickled(b"B" + (24 * 2**20).to_bytes(4, "little"), bytes(24 * 2**20), b"0", SYSTEM)
    assert scanned(tmp_path, "b.pkl", big)[0].severity == Severity.CRITICAL
    short = Allowance(opcodes=1000)
    content = pickled(b"N0" * 1000, SYSTEM)
    notes = run(Stream(content, 0, len(content), short)).notes.values()
    assert {n.kind for n in notes} == {"budget"}
    assert time.perf_counter() - start < 20


def test_bombs_and_nests_end_as_not_analysed(tmp_path) -> None:
    import zlib

    bomb = zlib.compress(zlib.compress(bytes(300 * 2**20), 1), 1)
    deep = EVIL
    for _ in range(12):
        deep = zipped({"model.pkl": deep})
    huge = pickled(b"\x8e" + (2**62).to_bytes(8, "little"), b"abc", header=b"\x80\x04")
    for file, content in (("bomb.z", bomb), ("deep.zip", deep), ("huge.pkl", huge)):
        found = scanned(tmp_path, file, content)
        assert worst(found) >= Severity.HIGH, file


def marked(content: bytes, offset: int, value: bytes, signature: bytes) -> bytes:
    """The archive with bytes changed at `offset` behind the first `signature`."""
    at = content.index(signature) + offset
    return content[:at] + value + content[at + len(value) :]


def test_damaged_archives_are_read_all_the_same(tmp_path) -> None:
    whole = zipped({"a/data.pkl": EVIL, "a/more.pkl": pickle.dumps(1)})
    changed = {
        "encrypted": marked(whole, 8, b"\x01", b"PK\x01\x02"),
        "another name": marked(whole, 30, b"b", b"PK\x03\x04"),
        "bad checksum": marked(whole, 16, b"\0\0\0\0", b"PK\x01\x02"),
        "prefix": pickle.dumps(1) + whole,
    }
    for what, content in changed.items():
        titles = " ".join(f.title for f in scanned(tmp_path, "model.pt", content))
        assert "os.system" in titles, what
    doubled = whole.replace(b"a/more.pkl", b"a/data.pkl")
    assert "has the name of another member" in " ".join(
        f.title for f in scanned(tmp_path, "m.pt", doubled)
    )


def test_other_formats_are_named_and_unknown_ones_are_not_clean(tmp_path) -> None:
    from safetensors.numpy import save

    found = scanned(tmp_path, "w.safetensors", save({"a": np.arange(3.0)}))
    assert [f.severity for f in found] == [Severity.INFO]
    assert "safetensors" in found[0].detail
    assert worst(scanned(tmp_path, "w.dat", b"\xfe no letter to the reader")) == Severity.MEDIUM


def test_a_verdict_depends_on_the_bytes_alone_and_needs_no_torch(tmp_path) -> None:
    (tmp_path / "m.pkl").write_bytes(EVIL)
    script = (
        "import sys\nfrom pathlib import Path\nfrom holdfast.supply.files import scan_file\n"
        f"found = scan_file(Path({str(tmp_path / 'm.pkl')!r})).findings\n"
        "assert not {'torch', 'numpy', 'sklearn', 'joblib', 'scipy'} & set(sys.modules)\n"
        "print([(f.rule, f.where, f.title) for f in found])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=where, capture_output=True, text=True, check=True
        ).stdout
        for where in (tmp_path, Path(sys.prefix))
    }
    assert told == {f"{[(f.rule, f.where, f.title) for f in scan_file(tmp_path / 'm.pkl')]}\n"}


def case(*files: Path) -> Case:
    return Case(None, None, ThreatModel("Nothing"), files=files)


def test_the_runner_counts_callables_over_what_was_read(tmp_path) -> None:
    (tmp_path / "bad.pkl").write_bytes(pickled(SYSTEM, call("lovely", "f"), b"0") + b"\x00")
    (tmp_path / "good.pkl").write_bytes(pickle.dumps(1))
    evidence = assess(PickleScan(), case(tmp_path / "bad.pkl", tmp_path / "good.pkl"), Run())
    counts = {m.name: (m.value, m.n) for m in evidence.measurements}
    assert counts["unsafe callables"] == (2, 2)
    assert counts["other findings"] == (1, 2)
    assert counts["files read"] == (2, 2)
    assert evidence.findings[0].severity == Severity.CRITICAL
    clean = assess(PickleScan(), case(tmp_path / "good.pkl"), Run())
    assert {m.name: m.value for m in clean.measurements}["unsafe callables"] == 0


def test_without_a_file_there_is_nothing_to_scan(tmp_path) -> None:
    with pytest.raises(NotApplicable):
        assess(PickleScan(), case(), Run())
    with pytest.raises(InputError):
        scan(PickleScan(), tmp_path / "none.pkl", Run())
    with pytest.raises(InputError):
        scan_file(tmp_path)
