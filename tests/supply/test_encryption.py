"""Sealed files against the primitives they are made of, and against every kind of tampering."""

import hashlib
import json
import os
import stat
import struct
import sys
import tracemalloc
from itertools import permutations
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cli.sealing import Secret, run_decrypt, run_encrypt
from holdfast.core.errors import InputError
from holdfast.core.record import Severity
from holdfast.core.run import Run
from holdfast.engine.scan import scan
from holdfast.supply import envelope, sealed
from holdfast.supply.envelope import seal, unseal
from holdfast.supply.files import scan_bytes
from holdfast.supply.keys import KeyFile, Passphrase, Program
from holdfast.supply.pickle_values import Malformed
from holdfast.supply.rules import Verdict
from holdfast.supply.scanners.encryption import Encryption

KEY = KeyFile(bytes(range(32)))
CHUNK = 64
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 3 * CHUNK, 5 * CHUNK + 7)
SWAP = """
import sys
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(bytes(b ^ 0x5a for b in data))
"""
GOLDEN = (
    "8948465345414c0a000001657b2261656164223a224145532d3235362d47434d222c226368756e6b223a36342c"
    "22636f6d6d69746d656e74223a2234333065623133633633333261376462353736663839633739343661353164"
    "393838373438383738646161313137666534616239366231646635643231633038222c22666f726d6174223a22"
    "686f6c64666173742d7365616c65642f31222c226b6579223a7b226964223a2233343966633831646132383735"
    "623532222c226e6f6e6365223a22303136313130326133353566323964643439666431626334222c2277617922"
    "3a2266696c65222c2277726170706564223a223035633463326239613539613561363161663734363961353838"
    "346239373636626662646133386238616538366364653539613964333332313432313037396631643237626138"
    "65656566333630363366636365346663393932366163336635227d2c22707265666978223a2266373864393235"
    "39383634303631227df3393ef225b024dea6791b4524a87c5b027f36ff323de497810e2ef5fadcf12550d62817"
    "e2be80138cd03bdd72b91c0fe818656b47d07f4824707e70a390d6994d723a5e3d8d47c8293bbd0d1a0fdca350"
    "8356026327c1984df07dc61dabd371303ea03c9ebef324360bc7f739b3055c7c1c6e31aeb06e36b00ea3dd6ca0"
    "08948cd60f43"
)
"""Sealed by version 1 with that key."""


def content(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


def sealing(folder: Path, size: int, keeper=KEY) -> bytes:
    """What sealing `size` bytes gives."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open").write_bytes(content(size))
    seal(folder / "open", folder / "shut", keeper, chunk=CHUNK, replace=True)
    return (folder / "shut").read_bytes()


def opening(folder: Path, data: bytes, keeper=KEY) -> bytes:
    """What the bytes open to; an error must leave nothing behind."""
    folder.mkdir(parents=True, exist_ok=True)
    shut, target = folder / "given", folder / "out"
    target.unlink(missing_ok=True)
    shut.write_bytes(data)
    before = set(folder.iterdir())
    try:
        unseal(shut, target, keeper)
    except InputError:
        assert set(folder.iterdir()) == before
        with pytest.raises(InputError):
            envelope.read(shut, keeper)
        raise
    return target.read_bytes()


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """Header and chunks."""
    start = sealed.length(data[:12])
    step = CHUNK + sealed.TAG
    return data[:start], [data[at : at + step] for at in range(start, len(data), step)]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_sealed_opens_to_the_same_bytes(tmp_path: Path, size: int) -> None:
    data = sealing(tmp_path, size)
    assert opening(tmp_path, data) == content(size)
    assert envelope.read(tmp_path / "shut", KEY) == content(size)
    assert sealed.parse(cut(data)[0]).content(len(data)) == size
    assert size < 40 or content(size)[:40] not in data


def test_the_primitive_gives_the_published_answer() -> None:
    # NIST: "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, test case 16
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    text = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    with_it = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    assert AESGCM(key).encrypt(nonce, text, with_it).hex() == (
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b"
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_sealed_file_is_what_the_primitives_give_by_hand(tmp_path: Path, size: int) -> None:
    head, chunks = cut(sealing(tmp_path, size))
    told = json.loads(head[12:])
    assert head[:12] == b"\x89HFSEAL\n" + struct.pack(">I", len(head) - 12)
    nonce, wrapped = (bytes.fromhex(told["key"][name]) for name in ("nonce", "wrapped"))
    key = AESGCM(KEY.key).decrypt(nonce, wrapped, b"holdfast-sealed/1 data key")
    made = HKDF(SHA256(), 64, None, b"holdfast-sealed/1").derive(key)
    assert made[32:].hex() == told["commitment"]
    box, out, context = AESGCM(made[:32]), b"", hashlib.sha256(head).digest()
    for number, chunk in enumerate(chunks):
        last = b"\1" if number == len(chunks) - 1 else b"\0"
        nonce = bytes.fromhex(told["prefix"]) + number.to_bytes(4, "big") + last
        out += box.decrypt(nonce, chunk, context)
    assert out == content(size)
    assert len(chunks) == max(1, -(-size // CHUNK))


def test_no_key_nonce_or_prefix_is_used_twice(tmp_path: Path) -> None:
    heads = [json.loads(cut(sealing(tmp_path, 10))[0][12:]) for _ in range(20)]
    for name in (("prefix",), ("commitment",), ("key", "nonce"), ("key", "wrapped")):
        values = [head[name[0]] if len(name) == 1 else head["key"][name[1]] for head in heads]
        assert len(set(values)) == 20


def test_a_change_of_any_byte_of_the_header_is_found(tmp_path: Path) -> None:
    data = sealing(tmp_path, 2 * CHUNK + 5)
    size = sealed.length(data[:12])
    for at in range(size):
        for flip in (0x01, 0x20):
            changed = bytearray(data)
            changed[at] ^= flip
            with pytest.raises(InputError):
                opening(tmp_path, bytes(changed))


def test_a_change_of_any_byte_at_the_borders_of_chunks_is_found(tmp_path: Path) -> None:
    data = sealing(tmp_path, 3 * CHUNK)
    start, step = sealed.length(data[:12]), CHUNK + sealed.TAG
    for border in range(start, len(data) + 1, step):
        for at in range(max(start, border - sealed.TAG - 1), min(len(data), border + 2)):
            changed = bytearray(data)
            changed[at] ^= 1
            with pytest.raises(InputError, match="was changed after it was sealed"):
                opening(tmp_path, bytes(changed))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_flip_of_bits_opens(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.getbasetemp() / "flips"
    whole = bytearray(sealing(folder, data.draw(st.sampled_from(SIZES))))
    for at in data.draw(st.sets(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError):
        opening(folder, bytes(whole))


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK + 3])
def test_a_file_that_ends_anywhere_too_early_does_not_open(tmp_path: Path, size: int) -> None:
    data = sealing(tmp_path, size)
    for end in range(len(data)):
        with pytest.raises(InputError):
            opening(tmp_path, data[:end])


def test_chunks_in_another_order_or_number_do_not_open(tmp_path: Path) -> None:
    head, chunks = cut(sealing(tmp_path, 4 * CHUNK))
    orders = {order for length in range(6) for order in permutations([*range(4), 1, 3], length)}
    for order in orders:
        given_ = head + b"".join(chunks[i] for i in order)
        if order == (0, 1, 2, 3):
            assert opening(tmp_path, given_) == content(4 * CHUNK)
        else:
            with pytest.raises(InputError):
                opening(tmp_path, given_)


def test_bytes_behind_the_end_do_not_open(tmp_path: Path) -> None:
    for size in (0, CHUNK - 1, CHUNK):
        data = sealing(tmp_path, size)
        for tail in (b"\0", bytes(sealed.TAG), bytes(CHUNK + sealed.TAG), data):
            with pytest.raises(InputError):
                opening(tmp_path, data + tail)


def test_chunks_and_headers_of_another_file_do_not_fit(tmp_path: Path) -> None:
    one, two = cut(sealing(tmp_path, 3 * CHUNK)), cut(sealing(tmp_path, 3 * CHUNK))
    for head, chunks in ((one[0], two[1]), (two[0], [two[1][0], one[1][1], two[1][2]])):
        with pytest.raises(InputError):
            opening(tmp_path, head + b"".join(chunks))


def test_a_key_that_the_header_does_not_commit_to_opens_nothing(tmp_path: Path) -> None:
    head, chunks = cut(sealing(tmp_path, 5))
    told = json.loads(head[12:])
    other = os.urandom(32)
    told["key"] = dict(KEY.wrap(other))  # what an attacker who has the key file could write
    text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    forged = sealed.MAGIC + struct.pack(">I", len(text)) + text
    made = HKDF(SHA256(), 64, None, b"holdfast-sealed/1").derive(other)
    nonce = bytes.fromhex(told["prefix"]) + bytes(4) + b"\1"
    chunk = AESGCM(made[:32]).encrypt(nonce, b"hello", hashlib.sha256(forged).digest())
    assert len(chunk) == len(chunks[0])
    with pytest.raises(InputError, match="commits"):
        opening(tmp_path, forged + chunk)
    told["commitment"] = made[32:].hex()
    text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    honest = sealed.MAGIC + struct.pack(">I", len(text)) + text
    chunk = AESGCM(made[:32]).encrypt(nonce, b"hello", hashlib.sha256(honest).digest())
    assert opening(tmp_path, honest + chunk) == b"hello"


def test_a_file_of_this_format_opens_for_ever(tmp_path: Path) -> None:
    assert opening(tmp_path, bytes.fromhex(GOLDEN)) == b"The quick brown fox " * 5


@pytest.mark.parametrize(
    "other", [KeyFile(bytes(32)), Passphrase("x" * 20), Program(("a",), ("b",))]
)
def test_another_key_or_another_way_does_not_open(tmp_path: Path, other) -> None:
    with pytest.raises(InputError):
        opening(tmp_path, sealing(tmp_path, 10), other)


def test_a_passphrase_opens_what_it_sealed_however_it_was_typed(tmp_path: Path) -> None:
    composed, apart = "tr\u00e9s long secret", "tre\u0301s long secret"
    data = sealing(tmp_path, 100, Passphrase(composed, n=2**4))
    assert opening(tmp_path, data, Passphrase(apart)) == content(100)
    with pytest.raises(InputError, match="passphrase"):
        opening(tmp_path, data, Passphrase("tres long secret"))


def test_scrypt_gives_the_published_answer() -> None:
    made = Passphrase("pleaseletmein", n=16384, r=8, p=1)  # RFC 7914, section 12
    salt = b"SodiumChloride".hex()
    derived = made._derived({"salt": salt, "n": 16384, "r": 8, "p": 1})
    assert derived.hex().startswith("7023bdcb3afd7348461c06cd81fd38eb")


def test_a_short_passphrase_seals_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 12"):
        sealing(tmp_path, 10, Passphrase("short"))
    assert not (tmp_path / "shut").exists()


def test_the_default_cost_of_scrypt_is_strong_and_lower_ones_are_told() -> None:
    def header(**cost: int) -> sealed.Header:
        return sealed.Header(CHUNK, b"", b"", {"way": "passphrase", **cost})

    default = Passphrase("")
    assert not header(n=default.n, r=default.r, p=default.p).weaknesses()
    for n, p in ((2**17, 1), (2**16, 2), (2**15, 3), (2**14, 5), (2**13, 10)):
        assert not header(n=n, r=8, p=p).weaknesses()
    for n, r, p in ((2**16, 8, 1), (2**14, 8, 1), (2**17, 4, 1), (2**12, 8, 16)):
        assert "guessed" in header(n=n, r=r, p=p).weaknesses()[0]


def test_a_header_that_asks_for_much_memory_or_time_is_refused(tmp_path: Path) -> None:
    data = sealing(tmp_path, 10, Passphrase("a long passphrase", n=2**4))
    told = json.loads(cut(data)[0][12:])
    for name, value in (("n", 2**21), ("n", 2**20 + 1), ("n", 0), ("n", -2), ("r", 2**30), ("p", 17),
                        ("p", 0), ("n", True), ("n", 16.0), ("n", "16"), ("r", None)):  # fmt: skip
        changed = {**told, "key": {**told["key"], name: value}}
        text = json.dumps(changed, sort_keys=True, separators=(",", ":")).encode()
        with pytest.raises(Malformed):
            sealed.parse(sealed.MAGIC + struct.pack(">I", len(text)) + text)
    both = {**told, "key": {**told["key"], "n": 2**20, "r": 32}}  # 4 GiB together
    text = json.dumps(both, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(Malformed, match="scrypt"):
        sealed.parse(sealed.MAGIC + struct.pack(">I", len(text)) + text)


def test_a_header_has_one_form(tmp_path: Path) -> None:
    told = json.loads(cut(sealing(tmp_path, 10))[0][12:])
    for text in (json.dumps(told), json.dumps({**told, "more": 1}, sort_keys=True)):
        raw = text.encode()
        with pytest.raises(Malformed):
            sealed.parse(sealed.MAGIC + struct.pack(">I", len(raw)) + raw)


def program(folder: Path, text: str = SWAP) -> tuple[str, ...]:
    path = folder / "kms.py"
    path.write_text(text)
    return (sys.executable, str(path))


def test_a_program_wraps_the_key_and_is_never_taken_from_the_file(tmp_path: Path) -> None:
    words = program(tmp_path)
    data = sealing(tmp_path / "a", 100, Program(words, words))
    assert opening(tmp_path / "a", data, Program(words, words)) == content(100)
    head = cut(data)[0]
    assert b"kms.py" not in head
    assert sealed.parse(head).way == "kms"


def test_words_are_never_read_by_a_shell(tmp_path: Path) -> None:
    words = program(tmp_path, "import sys; sys.stdout.write(sys.argv[1] * 3)")
    keeper = Program((*words, "$(touch x); `y` *"), words)
    assert bytes.fromhex(keeper.wrap(bytes(32))["wrapped"]) == b"$(touch x); `y` *" * 3


FAILURES = {
    "fails": ("import sys; sys.exit('no\\x1b[2J access')", "exit code 1"),
    "says nothing": ("", "0 bytes"),
    "gives the key back": (
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())",
        "key in",
    ),
    "talks too much": ("print('x' * 5000)", "5001 bytes"),
}


@pytest.mark.parametrize(("text", "told"), FAILURES.values(), ids=FAILURES)
def test_a_program_that_fails_seals_nothing(tmp_path: Path, text: str, told: str) -> None:
    words = program(tmp_path, text)
    with pytest.raises(InputError, match=told) as error:
        sealing(tmp_path / "a", 100, Program(words, words))
    assert "\x1b" not in str(error.value)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["open"]


def test_a_program_that_hangs_or_is_not_there_is_an_error(tmp_path: Path) -> None:
    slow = program(tmp_path, "import time; time.sleep(9)")
    with pytest.raises(InputError, match="TimeoutExpired"):
        Program(slow, slow, seconds=0.2).wrap(bytes(32))
    with pytest.raises(InputError, match="No such file"):
        Program(("./none-such",), ("x",)).wrap(bytes(32))
    words = program(tmp_path, "print('short')")
    with pytest.raises(InputError, match="32 bytes"):
        Program(words, words).unwrap({"way": "kms", "wrapped": "00" * 20})


def test_a_description_of_a_program_is_a_list_of_words(tmp_path: Path) -> None:
    path = tmp_path / "kms.json"
    path.write_text('{"wrap": ["gpg", "-e"], "unwrap": ["gpg", "-d"], "encoding": "base64"}')
    assert Program.read(path) == Program(("gpg", "-e"), ("gpg", "-d"), "base64")
    for text in ("", "[]", "null", '{"wrap": "gpg -e", "unwrap": ["gpg"]}', '{"wrap": ["a"]}',
                 '{"wrap": [], "unwrap": ["a"]}', '{"wrap": [1], "unwrap": ["a"]}',
                 '{"wrap": ["a"], "unwrap": ["a"], "encoding": "hex"}'):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match="KMS"):
            Program.read(path)


def test_base64_answers_are_decoded(tmp_path: Path) -> None:
    text = "import sys, base64; print(base64.b64encode(sys.stdin.buffer.read()[::-1]).decode())"
    keeper = Program(program(tmp_path, text), program(tmp_path, text), "base64")
    key = bytes(range(32))
    told = keeper.wrap(key)
    assert bytes.fromhex(told["wrapped"]) == key[::-1]
    assert keeper.unwrap(told) == key


def test_key_files_are_made_private_once_and_read_in_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = KeyFile.make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyFile.read(path) == made
    with pytest.raises(InputError, match="File exists"):
        KeyFile.make(path)
    (tmp_path / "raw").write_bytes(made.key)
    assert KeyFile.read(tmp_path / "raw") == made
    for odd in (b"", b"0" * 63, bytes(31), bytes(64), "ä".encode() * 32):
        (tmp_path / "odd").write_bytes(odd)
        with pytest.raises(InputError, match="64 hexadecimal"):
            KeyFile.read(tmp_path / "odd")
    assert made.key.hex() not in repr(made)
    assert "secret" not in repr(Passphrase("secret secret"))


def test_an_error_while_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "open").write_bytes(content(10 * CHUNK))

    class Breaking:
        def __init__(self, key: bytes) -> None:
            self.left = 3

        def encrypt(self, *_: bytes) -> bytes:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return b""

    monkeypatch.setattr(envelope, "_derived", lambda key: (Breaking(key), bytes(32)))
    with pytest.raises(KeyboardInterrupt):
        seal(tmp_path / "open", tmp_path / "shut", KEY, chunk=CHUNK)
    assert [p.name for p in tmp_path.iterdir()] == ["open"]


def test_nothing_is_written_over_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"new")
    (tmp_path / "shut").write_bytes(b"old")
    with pytest.raises(InputError, match="exists"):
        seal(tmp_path / "open", tmp_path / "shut", KEY)
    assert (tmp_path / "shut").read_bytes() == b"old"
    with pytest.raises(InputError, match="exists"):
        seal(tmp_path / "open", tmp_path / "open", KEY, replace=True)
    seal(tmp_path / "open", tmp_path / "shut", KEY, replace=True)
    with pytest.raises(InputError):
        unseal(tmp_path / "shut", tmp_path / "none" / "out", KEY)
    with pytest.raises(InputError, match="No such file"):
        unseal(tmp_path / "none", tmp_path / "out", KEY)


def test_an_open_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"x")
    (tmp_path / "open").chmod(0o644)
    seal(tmp_path / "open", tmp_path / "shut", KEY)
    assert stat.S_IMODE((tmp_path / "shut").stat().st_mode) == 0o644
    unseal(tmp_path / "shut", tmp_path / "out", KEY)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as file:
        file.truncate(48 * 2**20)
    tracemalloc.start()
    seal(tmp_path / "open", tmp_path / "shut", KEY)
    unseal(tmp_path / "shut", tmp_path / "out", KEY)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20
    assert (tmp_path / "out").stat().st_size == 48 * 2**20


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_no_header_is_an_error_of_another_kind(data: bytes) -> None:
    for head in (data, sealed.MAGIC + struct.pack(">I", len(data)) + data):
        with pytest.raises(Malformed):
            sealed.parse(head)


def test_the_scanner_tells_open_sealed_weak_and_cut_files_apart(tmp_path: Path) -> None:
    plain = tmp_path / "model.bin"
    plain.write_bytes(b"weights")
    found = scan(Encryption(), plain, Run())
    assert [(f.rule, f.severity) for f in found] == [
        ("supply/encryption/open", Severity.LOW), ("supply/encryption/read", Severity.INFO),
    ]  # fmt: skip
    good, weak = tmp_path / "good.sealed", tmp_path / "weak.sealed"
    seal(plain, good, KEY)
    assert [f.rule for f in scan(Encryption(), good, Run())][:1] == ["supply/encryption/sealed"]
    seal(plain, weak, Passphrase("a long passphrase", n=2**10))
    assert "supply/encryption/weak" in [f.rule for f in scan(Encryption(), weak, Run())]
    good.write_bytes(good.read_bytes()[:-20])
    assert "supply/encryption/cut" in [f.rule for f in scan(Encryption(), good, Run())]


def test_a_sealed_file_is_never_clean(tmp_path: Path) -> None:
    data = sealing(tmp_path, 100)
    assert scan_bytes(data, "m.sealed").verdict is Verdict.UNREAD
    for end in range(len(data)):
        assert scan_bytes(data[:end], "m.sealed").verdict is not Verdict.CLEAN


def test_the_commands_seal_and_open_a_folder(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "shards").mkdir(parents=True)
    for name in ("config.json", "shards/0.bin"):
        (model / name).write_bytes(name.encode() * 20)
    key, shut, out = tmp_path / "key", tmp_path / "shut", tmp_path / "out"
    assert run_encrypt([model], shut, Secret(key=key), True, False) == 0
    assert sorted(p.name for p in shut.rglob("*.sealed")) == ["0.bin.sealed", "config.json.sealed"]
    assert run_decrypt([shut], out, Secret(key=key), False) == 0
    for name in ("config.json", "shards/0.bin"):
        assert (out / name).read_bytes() == (model / name).read_bytes()
    with pytest.raises(InputError, match="one way"):
        run_decrypt([shut], out, Secret(), False)
    with pytest.raises(InputError, match="exists"):
        run_encrypt([model], shut, Secret(key=key), False, False)


def test_the_tag_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    data = bytearray(sealing(tmp_path, CHUNK))
    data[-1] ^= 1
    with pytest.raises(InputError) as error:
        opening(tmp_path, bytes(data))
    assert isinstance(error.value.__cause__, InvalidTag)
