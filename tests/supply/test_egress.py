"""The egress sensor: tables of the kernel, allow lists, and a real socket on this machine."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from holdfast.cli.watching import Pace, Places, run_watch
from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.record import Severity
from holdfast.core.run import Run
from holdfast.engine.scan import scan
from holdfast.supply import manifest, procfs
from holdfast.supply.egress import Policy, Sensor, allow
from holdfast.supply.procfs import parse
from holdfast.supply.scanners.egress_monitor import EgressMonitor
from holdfast.supply.watchlog import ENDING, load

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid inode\n"
LINUX = pytest.mark.skipif(not Path("/proc/self/net").is_dir(), reason="needs /proc of Linux")


def row(local: str, remote: str, state: int, inode: int) -> str:
    return f"   0: {local} {remote} {state:02X} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1\n"


def place(address: str, port: int) -> str:
    """As the kernel writes it on this machine: words of 32 bits in its own order."""
    raw = ip_address(address).packed
    words = [int.from_bytes(raw[i : i + 4], sys.byteorder) for i in range(0, len(raw), 4)]
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with a server (100), its child (101), a stranger (200), and no connection."""
    root = tmp_path / "proc"
    (root / "self" / "net").mkdir(parents=True)
    for pid, parent, name in ((100, 1, "serve"), (101, 100, "worker"), (200, 1, "other")):
        process(root, pid, parent, name)
    return root


def process(root: Path, pid: int, parent: int, name: str, started: int = 7) -> None:
    for folder in ("fd", "net", "ns"):
        (root / str(pid) / folder).mkdir(parents=True, exist_ok=True)
    (root / str(pid) / "comm").write_text(name + "\n")
    numbers = " ".join(["0"] * 17)
    (root / str(pid) / "stat").write_text(
        f"{pid} (a) odd) name) S {parent} {numbers} {started} 0 0\n"
    )
    if not (root / str(pid) / "ns" / "net").is_symlink():
        (root / str(pid) / "ns" / "net").symlink_to("net:[1]")


def connect(
    root: Path, pid: int, remote: str, port: int, *, inode: int, table: str = "tcp",
    local: str = "10.0.0.5", local_port: int = 40000, state: int = 1,
) -> None:  # fmt: skip
    """A socket of a process; every process of the machine sees it in its tables."""
    for each in root.iterdir():
        path = each / "net" / table
        old = path.read_text() if path.is_file() else HEAD
        line = row(place(local, local_port), place(remote, port), state, inode)
        path.write_text(old + line)
    if pid:
        (root / str(pid) / "fd" / str(inode)).symlink_to(f"socket:[{inode}]")


def polled(root: Path, *allowed: str, **words) -> list[tuple[int, str, int, bool]]:
    sensor = Sensor(100, Policy(tuple(map(allow, allowed)), words.pop("loopback", "allow")),
                    proc=root, **words)  # fmt: skip
    return [(c.pid, c.remote, c.port, c.allowed) for c in sensor.poll() or ()]


def test_a_line_of_the_kernel_is_read_as_its_documentation_says() -> None:
    line = "   0: 0100007F:1F90 0101A8C0:01BB 01 0:0 00:0 0 1000 0 4711 1\n"
    if sys.byteorder == "little":
        (found,) = parse(HEAD + line, "tcp")
        assert (str(found.local), found.local_port) == ("127.0.0.1", 8080)
        assert (str(found.remote), found.port) == ("192.168.1.1", 443)
        assert (found.state, found.inode) == (1, 4711)
        mapped = "0000000000000000FFFF00000100007F:0016"
        six = f"   0: B80D01200000000067452301EFCDAB89:0050 {mapped} 0A 0 0 0 0 0 9 1"
        (found,) = parse(HEAD + six, "tcp6")
        assert str(found.local) == "2001:db8::123:4567:89ab:cdef"
        assert str(found.remote) == "127.0.0.1"
    assert list(parse("", "tcp")) == list(parse(HEAD + "\n  odd\n", "tcp")) == []


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::5", "::1", "::ffff:203.0.113.9"])
def test_addresses_come_out_as_they_went_in(address: str) -> None:
    (found,) = parse(HEAD + row(place("10.0.0.1", 1), place(address, 65535), 1, 5), "tcp6")
    assert str(found.remote) == address.removeprefix("::ffff:")
    assert found.port == 65535


def test_a_connection_of_the_process_or_its_child_is_seen_and_a_strangers_is_not(proc) -> None:
    connect(proc, 100, "203.0.113.9", 443, inode=1)
    connect(proc, 101, "2001:db8::5", 8443, inode=2, table="tcp6", local="2001:db8::1")
    connect(proc, 200, "203.0.113.77", 443, inode=3)
    assert polled(proc) == [
        (100, "203.0.113.9", 443, False), (101, "2001:db8::5", 8443, False),
    ]  # fmt: skip


ENTRIES = [
    ("203.0.113.9", True), ("203.0.113.9:443", True), ("203.0.113.9:444", False),
    ("203.0.113.0/24", True), ("203.0.113.0/24:443", True), ("203.0.113.10/31", False),
    ("*:443", True), ("*", True), ("*:80", False), ("2001:db8::/32", False), ("[::]/0", False),
    ("0.0.0.0/0", True),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "allowed"), ENTRIES)
def test_an_entry_allows_for_its_network_and_port_only(proc, entry: str, allowed: bool) -> None:
    connect(proc, 100, "203.0.113.9", 443, inode=1)
    assert polled(proc, entry) == [(100, "203.0.113.9", 443, allowed)]


def test_entries_for_the_newer_protocol_are_written_in_brackets_or_without_a_port() -> None:
    assert allow("[2001:db8::]/32:443").networks == ("2001:db8::/32",)
    assert allow("[2001:db8::]/32:443").port == 443
    assert allow("2001:db8::1").networks == ("2001:db8::1/128",)
    assert allow("[::1]:80").has(ip_address("::1"), 80)


def test_a_name_stands_for_the_addresses_that_it_has_at_the_start() -> None:
    entry = allow("host.example:443", names=lambda host: ["203.0.113.9", "fe80::1%eth0"])
    assert entry.networks == ("203.0.113.9/32", "fe80::1/128")
    with pytest.raises(InputError, match="may be connected to"):
        allow("none.invalid", names=lambda host: (_ for _ in ()).throw(OSError("unknown")))


@pytest.mark.parametrize(
    "entry", ["", ":443", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:99999", "10.0.0.1:x", "10.0.0.0/33",
              "[::1", "[::1]x:4", "1.2.3", "*:-1"],
)  # fmt: skip
def test_an_odd_entry_is_an_error(entry: str) -> None:
    with pytest.raises(InputError, match="may be connected to"):
        allow(entry)


def test_what_stays_within_the_machine_is_allowed_or_judged_as_asked(proc) -> None:
    connect(proc, 100, "127.0.0.1", 5000, inode=1, local="127.0.0.1")
    connect(proc, 101, "::1", 5000, inode=2, table="tcp6", local="::1")
    assert [allowed for *_, allowed in polled(proc)] == [True, True]
    assert [allowed for *_, allowed in polled(proc, loopback="judge")] == [False, False]
    assert [a for *_, a in polled(proc, "127.0.0.0/8", loopback="judge")] == [True, False]
    with pytest.raises(InputError, match="loopback"):
        Policy(loopback="never")


def test_requests_that_come_in_are_no_egress(proc) -> None:
    connect(proc, 100, "0.0.0.0", 0, inode=1, local="0.0.0.0", local_port=8000, state=0x0A)
    connect(proc, 101, "198.51.100.7", 51000, inode=2, local_port=8000)
    assert polled(proc) == []
    connect(proc, 101, "198.51.100.7", 8000, inode=3, local_port=51000)
    assert polled(proc) == [(101, "198.51.100.7", 8000, False)]


def test_an_attempt_counts_before_it_succeeds(proc) -> None:
    connect(proc, 100, "203.0.113.9", 443, inode=1, state=2)  # SYN_SENT
    assert polled(proc) == [(100, "203.0.113.9", 443, False)]


def test_connected_datagrams_are_judged_and_others_are_told_as_unseen(proc) -> None:
    connect(proc, 100, "203.0.113.53", 53, inode=1, table="udp")
    connect(proc, 101, "0.0.0.0", 0, inode=2, table="udp", local="0.0.0.0", state=7)
    connect(proc, 101, "0.0.0.0", 0, inode=3, table="raw", local="0.0.0.0", state=7)
    assert polled(proc, "203.0.113.53:53") == [
        (100, "203.0.113.53", 53, True), (101, "", 0, False), (101, "", 0, False),
    ]  # fmt: skip
    assert all(allowed for *_, allowed in polled(proc, "*"))


def test_the_place_where_clouds_hand_out_credentials_is_named(proc) -> None:
    connect(proc, 100, "169.254.169.254", 80, inode=1)
    (found,) = Sensor(100, proc=proc).poll() or ()
    assert not found.allowed
    assert "credentials" in found.reason


def test_what_nobody_holds_any_more_counts_when_asked_for(proc) -> None:
    connect(proc, 0, "203.0.113.9", 443, inode=0, state=6)  # TIME_WAIT
    assert polled(proc) == []
    assert polled(proc, orphans=True) == [(0, "203.0.113.9", 443, False)]


def test_a_connection_is_told_once_and_counted(proc) -> None:
    connect(proc, 100, "203.0.113.9", 443, inode=1)
    sensor = Sensor(100, proc=proc)
    assert [len(sensor.poll() or ()) for _ in range(3)] == [1, 0, 0]
    assert [c.rounds for c in sensor.seen.values()] == [3]


def test_a_child_whose_parent_ended_is_still_watched(proc) -> None:
    sensor = Sensor(100, proc=proc)
    assert sensor.poll() == ()
    (proc / "100" / "stat").unlink()
    process(proc, 101, 1, "worker")  # its parent is now the first process
    connect(proc, 101, "203.0.113.9", 443, inode=1)
    assert [c.pid for c in sensor.poll() or ()] == [101]
    (proc / "101" / "stat").unlink()
    assert sensor.poll() is None


def test_another_process_with_the_same_number_is_not_watched(proc) -> None:
    sensor = Sensor(100, proc=proc)
    sensor.poll()
    (proc / "101" / "stat").unlink()
    process(proc, 100, 1, "newcomer", started=8)
    connect(proc, 100, "203.0.113.9", 443, inode=1)
    assert sensor.poll() is None


def test_on_other_systems_it_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="only Linux has"):
        Sensor(1, proc=tmp_path)


@LINUX
def test_a_process_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match="a running process"):
        Sensor(2**22 + 1)


CLIENT = """
import socket, subprocess, sys
if sys.argv[2] == "child":
    sys.exit(subprocess.run([sys.executable, "-c", sys.argv[3], sys.argv[1], "self"]).returncode)
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sys.stdin.read()
"""


@pytest.fixture
def port() -> Iterator[int]:
    """A server on this machine that only listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def client(port: int, request) -> Iterator[int]:
    """A process that connects to it by itself or through a child."""
    words = [sys.executable, "-c", CLIENT, str(port), getattr(request, "param", "self"), CLIENT]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate()


@LINUX
@pytest.mark.parametrize("client", ["self", "child"], indirect=True)
def test_a_real_connection_is_seen_and_judged(client: int, port: int) -> None:
    sensor, end, found = Sensor(client, Policy(loopback="judge")), time.monotonic() + 10, ()
    while not found and time.monotonic() < end:
        found = sensor.poll()
        time.sleep(0.02)
    assert [(c.remote, c.port, c.allowed, c.protocol) for c in found] == [
        ("127.0.0.1", port, False, "tcp")
    ]
    assert "python" in found[0].program
    assert sensor.policy.judge(ip_address("127.0.0.1"), port + 1) == (False, "not on the list")


@LINUX
def test_the_server_itself_connects_to_nobody(client: int, port: int) -> None:
    own = Sensor(os.getpid(), Policy(loopback="judge"))
    time.sleep(0.3)
    mine = [c for c in own.poll() or () if c.pid == os.getpid() and c.remote]
    assert port not in [c.port for c in mine]


def watch(client: int, folder: Path, *allowed: str, files: tuple[Path, ...] = ()) -> int:
    log = folder / f"run{ENDING}"
    return run_watch(client, Places(allowed, "judge"), files, (), Pace(0.05, 0.1, 0.8), log)


@LINUX
def test_the_command_ends_with_one_on_an_alarm_and_writes_it_down(
    client, port, tmp_path, capsys
) -> None:
    assert watch(client, tmp_path) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().out
    log = load(tmp_path / f"run{ENDING}")
    assert [(c.remote, c.port) for c in log.alarms] == [("127.0.0.1", port)]
    assert log.rounds > 3
    assert load_again(log, tmp_path) == log
    assert watch(client, tmp_path, f"127.0.0.1:{port}") == 0


def load_again(log, folder: Path):
    (folder / "again.json").write_text(log.text())
    return load(folder / "again.json")


@LINUX
def test_the_command_names_a_file_that_changes_meanwhile(client, port, tmp_path, capsys) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(100))
    manifest.beside(model).write_text(manifest.build(model).text())
    allowed = f"127.0.0.1:{port}"
    assert watch(client, tmp_path, allowed, files=(model,)) == 0
    model.write_bytes(bytes(99) + b"x")
    assert watch(client, tmp_path, allowed, files=(model,)) == 1
    (event,) = load(tmp_path / f"run{ENDING}").events
    assert (event.name, event.kind) == ("model.bin: model.bin", "changed")
    assert "ALARM" in capsys.readouterr().out


def test_the_scanner_judges_a_log_by_its_list_and_not_by_its_word(proc, tmp_path) -> None:
    connect(proc, 100, "203.0.113.9", 443, inode=1)
    connect(proc, 101, "0.0.0.0", 0, inode=2, table="udp", local="0.0.0.0", state=7)
    model = tmp_path / "model.bin"
    model.write_bytes(b"x")
    with pytest.raises(NotApplicable, match="holdfast watch"):
        scan(EgressMonitor(), model, Run())
    node = {
        "format": "holdfast-watch/1", "pid": 100, "program": "serve", "started": "2026-01-01",
        "seconds": 5.0, "period": 1.0, "rounds": 5, "events": [],
        "policy": {"allowed": [], "loopback": "allow"},
        "connections": [
            {"pid": 100, "program": "serve", "protocol": "tcp", "remote": "203.0.113.9",
             "port": 443, "allowed": True, "reason": "a lie", "rounds": 5},
            {"pid": 101, "program": "w\x1b[2J", "protocol": "udp", "remote": "", "port": 0,
             "allowed": False, "reason": "unseen", "rounds": 5},
        ],
    }  # fmt: skip
    path = tmp_path / f"model.bin{ENDING}"
    path.write_text(json.dumps(node))
    found = scan(EgressMonitor(), model, Run())
    assert [(f.rule.rpartition("/")[2], f.severity) for f in found] == [
        ("connection", Severity.HIGH), ("unseen", Severity.MEDIUM), ("read", Severity.INFO),
    ]  # fmt: skip
    assert "203.0.113.9 port 443" in found[0].title
    assert "\x1b" not in found[1].detail
    assert [f.rule for f in scan(EgressMonitor(), path, Run())] == [f.rule for f in found]
    lists = EgressMonitor(allow="203.0.113.0/24:443, 10.0.0.0/8")
    assert [f.severity for f in scan(lists, model, Run())] == [Severity.MEDIUM, Severity.INFO]
    node["events"] = [{"name": "layer.weight", "kind": "changed", "detail": "1 of 1 chunks"}]
    path.write_text(json.dumps(node))
    assert scan(EgressMonitor(), model, Run())[0].rule == "supply/egress_monitor/changed"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "holdfast-watch/2"}', "[" * 50_000])
def test_what_is_no_log_is_an_error_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"x{ENDING}"
    path.write_text(text)
    with pytest.raises(InputError, match="a log of `watch`"):
        scan(EgressMonitor(), path, Run())


def test_a_program_that_ended_has_a_name_all_the_same(proc) -> None:
    assert procfs.program(999, proc) == "ended"
    assert procfs.program(100, proc) == "serve"
