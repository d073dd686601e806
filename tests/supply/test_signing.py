"""Signatures by OpenSSF model-signing: what holds, and everything that must not."""

import base64
import json
import stat
from importlib.resources import files
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from model_signing import hashing as peer_hashing
from model_signing import signing as peer_signing
from model_signing import verifying as peer_verifying

from holdfast.cli.sealing import Identity, run_sign, run_verify
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity
from holdfast.core.run import Run
from holdfast.engine.scan import scan
from holdfast.supply.scanners.signing import Signing
from holdfast.supply.signing import beside, new_key, sign, verify


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """A folder with two pairs: mine, mine.pub, other, other.pub."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        new_key(folder / name, folder / f"{name}.pub")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "shards").mkdir(parents=True)
    for number in range(3):
        (folder / "shards" / f"{number}.safetensors").write_bytes(bytes([number]) * 1000)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def bundle(model: Path, keys: Path) -> Path:
    sign(model, beside(model), keys / "mine")
    return beside(model)


def test_a_signature_holds_for_the_files_that_were_signed(model, bundle, keys) -> None:
    proof = verify(model, bundle, keys / "mine.pub")
    assert proof.holds
    assert proof.name == "model"
    assert sorted(proof.files) == ["config.json", *(f"shards/{i}.safetensors" for i in range(3))]
    assert proof.uncovered == ()


def test_the_bundle_is_ecdsa_over_the_hashes_by_hand(model, bundle, keys) -> None:
    envelope = json.loads(bundle.read_text())["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    told = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    key = load_pem_public_key((keys / "mine.pub").read_bytes())
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), told, ec.ECDSA(hashes.SHA256()))
    resources = json.loads(payload)["predicate"]["resources"]
    for each in resources:
        digest = hashes.Hash(hashes.SHA256())
        digest.update((model / each["name"]).read_bytes())
        assert digest.finalize().hex() == each["digest"]


def test_another_key_does_not_verify(model, bundle, keys) -> None:
    assert "Key mismatch" in verify(model, bundle, keys / "other.pub").reason
    told = json.loads(bundle.read_text())  # who replaces the hint has no signature yet
    other = tmp_bundle(model, keys)
    hint = json.loads(other.read_text())["verificationMaterial"]
    told["verificationMaterial"] = hint
    bundle.write_text(json.dumps(told))
    proof = verify(model, bundle, keys / "other.pub")
    assert not proof.holds
    assert "another key" in proof.reason


def tmp_bundle(model: Path, keys: Path) -> Path:
    other = model.parent / "other.sig"
    sign(model, other, keys / "other")
    return other


@pytest.mark.parametrize("at", [0, 500, 999])
def test_one_flipped_bit_breaks_it(model, bundle, keys, at: int) -> None:
    shard = model / "shards" / "1.safetensors"
    content = bytearray(shard.read_bytes())
    content[at] ^= 1
    shard.write_bytes(content)
    proof = verify(model, bundle, keys / "mine.pub")
    assert not proof.holds
    assert proof.reason == "changed shards/1.safetensors"


def test_an_added_a_missing_and_a_renamed_file_break_it(model, bundle, keys) -> None:
    (model / "evil.py").write_text("pass")
    assert verify(model, bundle, keys / "mine.pub").reason == "added evil.py"
    (model / "evil.py").unlink()
    assert verify(model, bundle, keys / "mine.pub").holds
    (model / "config.json").rename(model / "configs.json")
    told = verify(model, bundle, keys / "mine.pub").reason
    assert told == "added configs.json; missing config.json"
    (model / "configs.json").unlink()
    assert "missing config.json" in verify(model, bundle, keys / "mine.pub").reason


def test_a_cut_bundle_never_holds(model, bundle, keys) -> None:
    whole = bundle.read_bytes()
    for end in [*range(0, len(whole), 97), len(whole) - 1]:
        bundle.write_bytes(whole[:end])
        assert not verify(model, bundle, keys / "mine.pub").holds


def test_no_flipped_bit_of_signature_or_payload_holds(model, bundle, keys) -> None:
    told = json.loads(bundle.read_text())
    envelope = told["dsseEnvelope"]
    for owner, name in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        whole = owner[name]
        raw = base64.b64decode(whole)
        for at in range(0, len(raw), 1 + len(raw) // 24):
            changed = bytearray(raw)
            changed[at] ^= 1
            owner[name] = base64.b64encode(changed).decode()
            bundle.write_text(json.dumps(told))
            assert not verify(model, bundle, keys / "mine.pub").holds
        owner[name] = whole
    bundle.write_text(json.dumps(told))
    assert verify(model, bundle, keys / "mine.pub").holds


ODD = ["", "null", "[]", "{}", '{"dsseEnvelope": {}}', '{"dsseEnvelope": {"payload": "e30="}}',
       '{"dsseEnvelope": {"payload": "####"}}', "[" * 50_000]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_what_is_no_bundle_never_holds(model, keys, text: str) -> None:
    beside(model).write_text(text)
    assert not verify(model, beside(model), keys / "mine.pub").holds


def test_a_statement_without_signatures_never_holds(model, bundle, keys) -> None:
    told = json.loads(bundle.read_text())
    told["dsseEnvelope"]["signatures"] = []
    bundle.write_text(json.dumps(told))
    assert not verify(model, bundle, keys / "mine.pub").holds


def test_what_the_signer_left_out_does_not_pass_for_signed(model, keys) -> None:
    (model / "hidden.py").write_text("pass")
    config = peer_hashing.Config().set_ignored_paths(paths=["hidden.py"])
    signer = peer_signing.Config().use_elliptic_key_signer(private_key=keys / "mine")
    signer.set_hashing_config(config).sign(model, beside(model))
    proof = verify(model, beside(model), keys / "mine.pub")
    assert not proof.holds
    assert proof.uncovered == ("hidden.py",)
    assert verify(model, beside(model), keys / "mine.pub", ["hidden.py"]).holds
    (model / "more.py").write_text("pass")
    assert not verify(model, beside(model), keys / "mine.pub", ["hidden.py"]).holds
    (model / "more.py").unlink()
    sign(model, beside(model), keys / "mine")
    (model / "README.md").write_text("came later")
    assert not verify(model, beside(model), keys / "mine.pub").holds
    assert verify(model, beside(model), keys / "mine.pub", ["README.md"]).holds


def test_files_of_git_may_change_and_are_named(model, keys) -> None:
    (model / ".git").mkdir()
    sign(model, beside(model), keys / "mine")
    (model / ".git" / "HEAD").write_text("ref")
    proof = verify(model, beside(model), keys / "mine.pub")
    assert proof.holds
    assert proof.uncovered == (".git/HEAD",)


@pytest.mark.parametrize("sharded", [False, True])
def test_bundles_of_the_reference_program_verify_here_and_ours_there(model, keys, sharded) -> None:
    config = peer_hashing.Config()
    if sharded:
        config.use_shard_serialization(shard_size=300)
    signer = peer_signing.Config().use_elliptic_key_signer(private_key=keys / "mine")
    signer.set_hashing_config(config).sign(model, beside(model))
    proof = verify(model, beside(model), keys / "mine.pub")
    assert proof.holds
    assert len(proof.files) == 4
    sign(model, beside(model), keys / "mine")
    verifier = peer_verifying.Config().use_elliptic_key_verifier(public_key=keys / "mine.pub")
    verifier.verify(model, beside(model))


def test_a_bundle_within_the_folder_does_not_cover_itself(model, keys) -> None:
    inside = model / "model.sig"
    for _ in range(2):  # the second one writes over the first
        sign(model, inside, keys / "mine")
        assert verify(model, inside, keys / "mine.pub").holds
    assert sorted(p.name for p in model.iterdir()) == ["config.json", "model.sig", "shards"]
    (model / "shards" / "model.sig").write_text("x")
    assert not verify(model, inside, keys / "mine.pub").holds


def test_a_single_file_is_signed_by_its_content(tmp_path: Path, keys) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * 100)
    sign(path, beside(path), keys / "mine")
    proof = verify(path, beside(path), keys / "mine.pub")
    assert proof.holds
    assert proof.name == "model.safetensors"
    path.write_bytes(b"y" * 100)
    assert not verify(path, beside(path), keys / "mine.pub").holds


def test_keys_are_private_and_a_password_is_asked_for(tmp_path: Path, model) -> None:
    new_key(tmp_path / "k", tmp_path / "k.pub", "pass word")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert b"ENCRYPTED" in (tmp_path / "k").read_bytes()
    sign(model, beside(model), tmp_path / "k", "pass word")
    assert verify(model, beside(model), tmp_path / "k.pub").holds
    for password in ("", "wrong"):
        with pytest.raises(InputError, match="a private key"):
            sign(model, beside(model), tmp_path / "k", password)
    with pytest.raises(InputError, match="exists"):
        new_key(tmp_path / "k2", tmp_path / "k.pub")
    with pytest.raises(InputError, match="File exists"):
        new_key(tmp_path / "k", tmp_path / "k3.pub")
    assert not (tmp_path / "k2").exists()


def test_what_is_not_there_is_an_error_and_no_verdict(tmp_path, model, bundle, keys) -> None:
    with pytest.raises(InputError, match="neither"):
        verify(tmp_path / "none", bundle, keys / "mine.pub")
    with pytest.raises(InputError, match="a bundle"):
        verify(model, tmp_path / "none.sig", keys / "mine.pub")
    with pytest.raises(InputError, match="a public key"):
        verify(model, bundle, tmp_path / "none.pub")
    with pytest.raises(InputError, match="a public key"):
        verify(model, bundle, keys / "mine")
    (model / "link").symlink_to(model / "config.json")
    with pytest.raises(InputError, match="could not be signed"):
        sign(model, bundle, keys / "mine")


def test_the_scanner_judges_only_where_a_key_is_configured(model, bundle, keys) -> None:
    path = model / "shards" / "0.safetensors"
    mine = Signing(public_key=str(keys / "mine.pub"))
    with pytest.raises(NotApplicable, match="public key"):
        scan(Signing(), path, Run())
    assert [f.severity for f in scan(mine, model / "config.json", Run())] == [Severity.INFO]
    other = Signing(public_key=str(keys / "other.pub"))
    assert scan(other, model / "config.json", Run())[0].rule == "supply/signing/broken"
    (missing, _) = scan(mine, path, Run())  # the folder that it lies in is another one
    assert missing.rule == "supply/signing/missing"
    assert missing.severity == Severity.HIGH
    sign(path, beside(path), keys / "mine")
    assert [f.rule for f in scan(mine, path, Run())] == ["supply/signing/read"]
    path.write_bytes(b"other")
    assert scan(mine, path, Run())[0].severity == Severity.CRITICAL


def test_the_commands_say_holds_or_broken(tmp_path, model, capsys) -> None:
    key, public = tmp_path / "release.pem", tmp_path / "release.pem.pub"
    nobody = Identity()
    assert run_sign(model, key, None, True, False, nobody) == 0
    assert run_verify(model, public, None, False, nobody) == 0
    assert "holds" in capsys.readouterr().out
    (model / "config.json").write_text("[]")
    assert run_verify(model, public, None, False, nobody) == 1
    assert "broken" in capsys.readouterr().out


def test_keyless_is_asked_for_by_name_and_for_one_identity(model, bundle, keys) -> None:
    with pytest.raises(InputError, match="network"):
        run_sign(model, None, None, False, False, Identity())
    with pytest.raises(InputError, match="both"):
        run_sign(model, keys / "mine", None, False, True, Identity())
    with pytest.raises(InputError, match="who vouches"):
        run_verify(model, None, bundle, True, Identity())


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """Roots of trust as the sigstore package carries them: no network is asked."""
    store = files("sigstore") / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
    node = {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": json.loads((store / "trusted_root.json").read_text()),
        "signingConfig": json.loads((store / "signing_config.v0.2.json").read_text()),
    }
    path = tmp_path / "trust.json"
    path.write_text(json.dumps(node))
    return path


def test_a_signature_by_a_key_does_not_pass_for_one_by_an_identity(model, bundle, trust) -> None:
    who = Identity("signer@example.org", "https://issuer.example", None, trust)
    assert run_verify(model, None, bundle, True, who) == 1
    trust.write_text("{}")
    with pytest.raises(InputError, match="roots of trust"):
        run_verify(model, None, bundle, True, who)
