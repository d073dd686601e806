"""Scans of files and folders: verdicts, what was read, JSON and SARIF."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from holdfast.core.errors import InputError
from holdfast.supply.exports import as_json, as_sarif
from holdfast.supply.files import scan_bytes, scan_file, walk
from holdfast.supply.rules import Verdict
from tests.supply.bypasses import EVIL, P2, zipped

GOOD = pickle.dumps({"a": [1, 2]})
SCANS = [scan_bytes(GOOD, "good.pkl"), scan_bytes(EVIL, "bad.pkl"), scan_bytes(b"", "empty")]


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (GOOD, Verdict.CLEAN), (EVIL, Verdict.FLAGGED), (EVIL[:-1], Verdict.FLAGGED),
        (P2 + b"K\x01", Verdict.MALFORMED), (b"\xfe\xfc", Verdict.UNREAD), (b"", Verdict.UNREAD),
        (b"\x89PNG\r\n\x1a\n", Verdict.UNREAD),
    ],
)  # fmt: skip
def test_each_of_the_four_verdicts_is_given(content, verdict) -> None:
    assert scan_bytes(content, "m.dat").verdict is verdict


def test_a_clean_file_says_which_members_and_bytes_were_read() -> None:
    scan = scan_bytes(zipped({"a/data.pkl": GOOD, "a/data/0": b"\x00" * 40}), "m.pt")
    assert scan.verdict is Verdict.CLEAN
    assert [(p.member, p.format, p.size) for p in scan.pieces] == [
        ("a/data.pkl", "pickle", len(GOOD)), ("a/data/0", "numbers", 40),
    ]  # fmt: skip
    assert "a/data.pkl (pickle" in scan.read


def test_an_exhausted_allowance_is_never_clean() -> None:
    inner = zipped({"x.pkl": GOOD})
    for _ in range(9):
        inner = zipped({"x.zip": inner})
    scan = scan_bytes(inner, "deep.zip")
    assert scan.verdict is Verdict.UNREAD
    assert any("too deep" in issue.reason for issue in scan.issues)


def test_folders_are_walked_in_order_and_links_are_left_alone(tmp_path) -> None:
    for name in ("b/2.pkl", "a.pkl", "b/1.pkl"):
        (tmp_path / "r" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "r" / name).write_bytes(GOOD)
    (tmp_path / "r" / "link.pkl").symlink_to("/etc/passwd")
    assert [name for _, name in walk([tmp_path / "r"])] == ["r/a.pkl", "r/b/1.pkl", "r/b/2.pkl"]
    with pytest.raises(InputError, match="file or folder"):
        list(walk([tmp_path / "none"]))
    with pytest.raises(InputError, match="model file to scan"):
        scan_file(tmp_path / "none")


def test_json_has_rule_place_reason_remedy_and_references() -> None:
    told = json.loads(as_json([scan_bytes(zipped({"a/data.pkl": EVIL}), "m.pt")]))
    (issue,) = told["files"][0]["issues"]
    assert told["counts"] == {"flagged": 1, "malformed": 0, "not analysed": 0, "clean": 0}
    assert issue["rule"] == "supply/pickle_scan/executing-callable"
    assert (issue["member"], issue["offset"]) == ("a/data.pkl", 2)
    assert "safetensors" in issue["remedy"]
    assert "AML.T0011.000" in issue["references"]


def test_sarif_names_every_rule_and_only_clean_files_pass() -> None:
    log = json.loads(as_sarif(SCANS))
    results = log["runs"][0]["results"]
    passed = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
              for r in results if r["kind"] == "pass"]  # fmt: skip
    assert passed == ["good.pkl"]
    ids = [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]]
    assert all(ids[r["ruleIndex"]] == r["ruleId"] for r in results)


def test_sarif_keeps_to_the_official_schema() -> None:
    path = os.environ.get("HOLDFAST_SARIF_SCHEMA", "")
    if not path:
        pytest.skip("HOLDFAST_SARIF_SCHEMA does not name a copy of the official schema")
    for scans in (SCANS, []):
        jsonschema.validate(json.loads(as_sarif(scans)), json.loads(Path(path).read_text("utf-8")))


def test_a_fingerprint_outlives_a_shift_of_bytes() -> None:
    def marks(content: bytes) -> list[str]:
        log = json.loads(as_sarif([scan_bytes(content, "m.pkl")]))
        return [r["partialFingerprints"]["holdfast/v1"] for r in log["runs"][0]["results"]]

    assert marks(EVIL) == marks(EVIL[:2] + b"N0" + EVIL[2:])
    assert marks(EVIL) != marks(EVIL.replace(b"system", b"popenx"))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_command_gives_the_same_json_everywhere(tmp_path, jobs) -> None:
    (tmp_path / "m").mkdir()
    for name, content in (("good.pkl", GOOD), ("bad.pkl", EVIL), ("deep.zip", zipped({"a": EVIL}))):
        (tmp_path / "m" / name).write_bytes(content)
    command = [sys.executable, "-m", "holdfast", "scan", str(tmp_path / "m"), "--json", "-"]
    told = set()
    for where, seed, language in ((tmp_path, "1", "C"), (Path("/"), "2", "C.UTF-8")):
        done = subprocess.run(
            [*command, "--jobs", jobs], cwd=where, capture_output=True, check=False,
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": language},
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        told.add(done.stdout)
    assert len(told) == 1
    files = {f["file"]: f["verdict"] for f in json.loads(told.pop())["files"]}
    assert files == {"m/bad.pkl": "flagged", "m/deep.zip": "flagged", "m/good.pkl": "clean"}


def test_many_small_faults_do_not_crowd_out_the_one_that_counts() -> None:
    members = {f"{i}.png": b"\x89PNG\r\n\x1a\n" for i in range(3000)} | {"z.pkl": EVIL}
    scan = scan_bytes(zipped(members), "m.zip")
    assert scan.verdict is Verdict.FLAGGED
    assert scan.issues[0].rule.id == "pickle_scan/executing-callable"
    assert len(scan.issues) < 500
