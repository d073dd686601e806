"""Processes and their sockets, from the files in /proc of Linux (The Linux kernel documentation,
Documentation/networking/proc_net_tcp.rst; proc(5)).
"""

import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from holdfast.core.errors import InputError
from holdfast.supply.pickle_values import show

Address = IPv4Address | IPv6Address
PROTOCOLS = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")
LISTENING = 0x0A
PROC = Path("/proc")


@dataclass(frozen=True)
class Socket:
    """One line of a table of sockets; `remote` is unspecified where it is not connected."""

    protocol: str
    local: Address
    local_port: int
    remote: Address
    port: int
    state: int
    inode: int


@dataclass(frozen=True)
class Process:
    """One process.

    Attributes:
        pid: its number, used again after its end.
        parent: number of its parent.
        started: when, in ticks since the machine started; with the number it names one process.
    """

    pid: int
    parent: int
    started: int


def process(pid: int, proc: Path = PROC) -> Process | None:
    """A process that runs, or None."""
    fields = _text(proc / str(pid) / "stat").rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):  # it ended, and its parent was not told yet
        return None
    return Process(pid, int(fields[1]), int(fields[19]))


def descendants(known: Set[Process], proc: Path = PROC) -> frozenset[Process]:
    """Those of the known processes that still run, and all that they and theirs started."""
    numbers = (int(each.name) for each in proc.iterdir() if each.name.isdigit())
    every = [found for number in numbers if (found := process(number, proc))]
    names = {(each.pid, each.started) for each in known}  # a parent changes when the old one ends
    family = {each for each in every if (each.pid, each.started) in names}
    while True:
        pids = {each.pid for each in family}
        new = {each for each in every if each.parent in pids} - family
        if not new:
            return frozenset(family)
        family |= new


def program(pid: int, proc: Path = PROC) -> str:
    """Name of its program, safe to print."""
    return show(_text(proc / str(pid) / "comm").strip(), 40) or "ended"


def namespace(pid: int, proc: Path = PROC) -> str:
    """Which network it is in; processes of one container share one."""
    try:
        return str((proc / str(pid) / "ns" / "net").readlink())
    except OSError:
        return ""


def sockets(pid: int, proc: Path = PROC) -> Iterator[Socket]:
    """Every socket of the network that the process is in, whoever holds it."""
    for protocol in PROTOCOLS:
        yield from parse(_text(proc / str(pid) / "net" / protocol), protocol)


def held(pid: int, proc: Path = PROC) -> Iterator[int]:
    """Numbers (inodes) of the sockets that the process holds.

    Raises:
        InputError: it belongs to another user.
    """
    try:
        for each in (proc / str(pid) / "fd").iterdir():
            try:
                target = str(each.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                yield int(target[8:-1])
    except (FileNotFoundError, ProcessLookupError):
        return
    except PermissionError as error:
        fix = "watch as its user, or as root"
        raise InputError("a process whose files may be looked at", got=pid, fix=fix) from error


def parse(text: str, protocol: str) -> Iterator[Socket]:
    """Sockets of a table such as /proc/net/tcp."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 10:
            (local, local_port), (remote, port) = map(_place, words[1:3])
            state, inode = int(words[3], 16), int(words[9])
            yield Socket(protocol, local, local_port, remote, port, state, inode)


def _place(word: str) -> tuple[Address, int]:
    """An address in words of 32 bits, each in this machine's order of bytes, and a port."""
    host, _, port = word.partition(":")
    raw = bytes.fromhex(host)
    if sys.byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    found = ip_address(raw)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found, int(port, 16)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
