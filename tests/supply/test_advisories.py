"""Dependencies: ranges of advisories by hand, names, pins, addresses, and pip-audit's answers."""

import json
import zipfile

import pytest
from packaging.version import Version

from holdfast.cli.auditing import run_audit
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity
from holdfast.supply import advisories, requirements
from holdfast.supply.scanners.dependency_audit import DependencyAudit


def entry(id_="GHSA-a", package="foo", events=(), versions=(), **more):
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}
    return {"id": id_, "affected": [affected | {"versions": list(versions)}], **more}


def written(folder, *entries):
    for each in entries:
        (folder / f"{each['id']}.json").write_text(json.dumps(each))
    return folder


def listing(tmp_path, text):
    (tmp_path / "requirements.txt").write_text(text)
    return requirements.read(tmp_path / "requirements.txt")


def kinds(found):
    return {d.rule.id.split("/")[1] for d in found}


@pytest.mark.parametrize(
    ("version", "hit"),
    [("0.9", False), ("1.0", True), ("1.4.9", True), ("1.5", False), ("2.0rc1", False),
     ("2.0", True), ("2.2", True), ("2.2.1", False), ("3.0", True), ("1.5rc1", True)],
)  # fmt: skip
def test_ranges_open_at_introduced_and_close_at_fixed_or_after_the_last_affected(
    version, hit
) -> None:
    events = (
        {"introduced": "2.0"},
        {"last_affected": "2.2"},
        {"introduced": "1.0"},
        {"fixed": "1.5"},
    )
    (hole,) = advisories.holes(entry(events=events, versions=["3.0"]))
    assert hole.affected(Version(version)) is hit


def test_introduced_at_zero_holds_for_every_version() -> None:
    (hole,) = advisories.holes(entry(events=({"introduced": "0"}, {"fixed": "2"})))
    assert hole.affected(Version("0.0.1.dev1"))
    assert not hole.affected(Version("2"))


def test_withdrawn_advisories_are_skipped_and_aliases_are_one(tmp_path) -> None:
    one = entry("PYSEC-1", events=({"introduced": "0"}, {"fixed": "2"}), aliases=["CVE-1"])
    two = entry("GHSA-1", events=({"introduced": "0"}, {"fixed": "3"}), aliases=["CVE-1"])
    gone = entry("GHSA-2", events=({"introduced": "0"},), withdrawn="2024-01-01T00:00:00Z")
    found = advisories.dump(written(tmp_path, one, two, gone))
    assert [hole.names for hole in found] == [("CVE-1", "GHSA-1", "PYSEC-1")]
    assert found[0].id == "CVE-1"
    assert found[0].affected(Version("2.5"))


def test_a_zip_and_yaml_are_read_as_well(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a/PYSEC-1.yaml", json.dumps(entry("PYSEC-1", versions=["1.0"])))
    (hole,) = advisories.dump(tmp_path / "all.zip")
    assert hole.affected(Version("1.0"))
    with pytest.raises(InputError):
        advisories.dump(tmp_path / "none.zip")


@pytest.mark.parametrize(
    ("line", "hit"),
    [("torch==2.5.1", True), ("torch==2.6.0", True), ("torch==2.10.0", False),
     ("keras==3.8.0", True), ("keras==3.11.3", False), ("onnx==1.20.1", True),
     ("onnx==1.21.0", False), ("numpy==1.16.2", True), ("numpy==1.16.3", False),
     ("skops==0.12.0", True), ("skops==0.13.0", False)],
)  # fmt: skip
def test_model_loading_holes_are_known_without_a_dump(tmp_path, line, hit) -> None:
    assert ("model-loader" in kinds(advisories.audit(listing(tmp_path, line), []))) is hit


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("--extra-index-url https://a.invalid/simple", "extra-index"),
        ("--index-url http://a.invalid/simple", "insecure-index"),
        ("foo @ https://a.invalid/foo-1.0.whl", "direct-url"),
        ("foo @ git+https://a.invalid/foo@main", "vcs"),
        ("-e git+https://a.invalid/foo#egg=foo", "vcs"),
        ("foo>=1", "unpinned"),
        ("foo==1.*", "unpinned"),
        ("tensroflow==2.0", "name"),
        ("pytorch==1.0", "name"),
        ("foo bar baz", "unread"),
        ("-r ../other.txt", "unread"),
    ],
)
def test_loose_ends_of_a_requirements_file_are_told(tmp_path, line, kind) -> None:
    assert kinds(listing(tmp_path, f"# head\n{line}  # why\n").doubts) == {kind}


@pytest.mark.parametrize(
    "line",
    ["foo==1.0 \\\n  --hash=sha256:00", "numpy==2.0.0", "foo==1.0; python_version > '3'",
     f"foo @ git+https://a.invalid/foo@{'0' * 40}", "-r more.txt"],
)  # fmt: skip
def test_what_is_pinned_is_left_in_peace(tmp_path, line) -> None:
    (tmp_path / "more.txt").write_text("bar==2.0")
    assert listing(tmp_path, line).doubts == ()


def test_passwords_of_addresses_are_not_repeated(tmp_path) -> None:
    (doubt,) = listing(tmp_path, "--extra-index-url https://me:secret@a.invalid/x").doubts
    assert "secret" not in doubt.subject


def test_known_packages_are_no_confusion_of_each_other() -> None:
    assert not [n for n in requirements.KNOWN if list(requirements._named(n, 0))]


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [("torch", "torhc", True), ("torch", "toch", True), ("torch", "torchh", True),
     ("torch", "tarch", True), ("torch", "torch", False), ("torch", "trhoc", False)],
)  # fmt: skip
def test_one_step_is_an_insertion_a_removal_a_change_or_a_swap(a, b, near) -> None:
    assert requirements.close(a, b) is requirements.close(b, a) is near


def test_an_answer_of_pip_audit_is_read() -> None:
    vulns = [{"id": "PYSEC-9", "aliases": ["CVE-2025-32434"], "fix_versions": ["2.6.0"]}]
    answer = {"dependencies": [{"name": "torch", "version": "2.5.1", "vulns": vulns}]}
    (doubt,) = advisories.reported(answer)
    assert doubt.rule is advisories.LOADER_HOLE
    assert "CVE-2025-32434" in doubt.reason


def test_the_environment_is_read_without_importing(tmp_path) -> None:
    (tmp_path / "foo-1.0.dist-info").mkdir()
    (tmp_path / "foo-1.0.dist-info" / "METADATA").write_text("Name: Foo\nVersion: 1.0\n")
    (package,) = requirements.environment([str(tmp_path)]).packages
    assert (package.name, package.version) == ("foo", "1.0")


def test_the_scanner_and_the_command_agree(tmp_path) -> None:
    (tmp_path / "requirements.txt").write_text("torch==2.5.1\nfoo==1.0\n")
    dump = tmp_path / "dump"
    dump.mkdir()
    written(dump, entry(versions=["1.0"]))
    method = DependencyAudit(advisories=str(dump))
    found = list(method.scan(tmp_path / "model.pt"))
    rules = {f.rule for f in found if f.severity >= Severity.MEDIUM}
    assert rules == {"supply/dependency_audit/model-loader", "supply/dependency_audit/vulnerable"}
    told = tmp_path / "told.json"
    assert run_audit(tmp_path / "requirements.txt", dump, json=told) == 1
    assert {each["rule"] for each in json.loads(told.read_text())} == rules
    (tmp_path / "requirements.txt").unlink()
    with pytest.raises(NotApplicable):
        list(method.scan(tmp_path / "model.pt"))


def test_the_command_says_file_and_line_of_every_doubt(tmp_path, capsys) -> None:
    from holdfast.cli.auditing import run_audit

    (tmp_path / "requirements.txt").write_text("torch==2.0.0\nrequests\n")
    assert run_audit(tmp_path / "requirements.txt") == 1
    told = capsys.readouterr().out
    assert "requirements.txt, line 1" in told
    assert "requirements.txt, line 2" in told
    assert " , line" not in told


def test_a_package_of_an_included_file_is_told_with_that_file(tmp_path, capsys) -> None:
    from holdfast.cli.auditing import run_audit

    (tmp_path / "requirements.txt").write_text("-r more.txt\n")
    (tmp_path / "more.txt").write_text("torch==2.0.0\n")
    assert run_audit(tmp_path / "requirements.txt") == 1
    assert "more.txt, line 1. CVE-2025-32434" in " ".join(capsys.readouterr().out.split())
