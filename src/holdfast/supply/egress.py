"""Where a process and its children connect to, against an allow list: polled, nothing captured.

The kernel tells of every socket in the network of a process, and which of them are its own. No
content is seen, and no rights are needed but those of its user. What polling cannot see:
connections that are shorter than the time between two looks, where unconnected UDP and raw sockets
send to, what goes through other processes, and children that leave the family between two looks.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal, get_args

from holdfast.core.errors import InputError, NotApplicable
from holdfast.supply import procfs
from holdfast.supply.pickle_values import show
from holdfast.supply.procfs import LISTENING, PROC, Address, Process, Socket

Resolve = Callable[[str], Iterable[str]]
Loopback = Literal["allow", "judge"]
_METADATA = ip_address("169.254.169.254")
_EVERYWHERE = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True)
class Connection:
    """An outbound connection, or a socket whose targets cannot be seen: then `remote` is "".

    Attributes:
        pid: process that holds it, 0 where none does any more.
        program: its name.
        protocol: tcp, tcp6, udp ...
        remote: address it goes to.
        port: port it goes to.
        allowed: whether the policy allows it.
        reason: why, as part of a sentence.
        rounds: how many looks saw it.
    """

    pid: int
    program: str
    protocol: str
    remote: str
    port: int
    allowed: bool
    reason: str
    rounds: int = 1

    def __str__(self) -> str:
        host = f"[{self.remote}]" if ":" in self.remote else self.remote
        to = f"to {host}:{self.port}" if self.remote else "socket"
        return f"{self.program} ({self.pid}), {self.protocol} {to}: {self.reason}"


@dataclass(frozen=True)
class Allowed:
    """An entry of the allow list: networks and a port, 0 for any."""

    text: str
    networks: tuple[str, ...]
    port: int = 0

    def has(self, remote: Address, port: int) -> bool:
        """Whether it allows for a connection to that place."""
        inside = any(remote in ip_network(each) for each in self.networks)
        return inside and self.port in (0, port)

    @property
    def anything(self) -> bool:
        """Whether nothing is forbidden."""
        return not self.port and set(_EVERYWHERE) <= set(self.networks)


@dataclass(frozen=True)
class Policy:
    """Where connections may go to.

    Attributes:
        allowed: the allow list.
        loopback: whether those within the machine are allowed, or judged like all others.
    """

    allowed: tuple[Allowed, ...] = ()
    loopback: Loopback = "allow"

    def __post_init__(self) -> None:
        if self.loopback not in get_args(Loopback):
            raise InputError("loopback", got=self.loopback, fix="say allow or judge")

    def judge(self, remote: Address, port: int) -> tuple[bool, str]:
        """Whether a connection to a place is allowed, and why."""
        if remote.is_loopback and self.loopback == "allow":
            return True, "within this machine"
        for each in self.allowed:
            if each.has(remote, port):
                return True, f"allowed by {show(each.text, 80)}"
        if remote == _METADATA:
            return False, "clouds hand out credentials there, and it is not on the list"
        return False, "not on the list"

    def judge_unseen(self, local: Address) -> tuple[bool, str]:
        """The same for a socket that is not connected and may send anywhere."""
        if local.is_loopback and self.loopback == "allow":
            return True, "bound to this machine"
        if any(each.anything for each in self.allowed):
            return True, "everything is allowed"
        return False, "it is not connected, so where it sends to cannot be seen"


def resolve(host: str) -> list[str]:
    """Addresses of a name, asked for now and from here."""
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None)})


def allow(text: str, names: Resolve = resolve) -> Allowed:
    """Read `10.0.0.0/8`, `10.1.2.3:443`, `[2001:db8::]/32`, `[::1]:80`, `host.example:443`, `*:53`.

    A name is resolved once, now: what the process gets for it later may be another address.

    Raises:
        InputError: it is none of these, or a name that is not known.
    """
    host, number = text.strip(), ""
    try:
        if host.startswith("["):
            inner, closed, rest = host[1:].partition("]")
            bits, colon, number = rest.partition(":")
            host = inner + bits if closed else ""
        else:
            colon = ":" if host.count(":") == 1 else ""
            host, number = host.split(":") if colon else (host, "")
        port = int(number) if number.isascii() and number.isdigit() else 0
        if not host or bool(colon) != bool(number) or (number and not 1 <= port <= 65535):
            raise ValueError("no host, or no port")
        return Allowed(text, _networks(host, names), port)
    except (ValueError, OSError) as error:
        raise InputError(
            "an address, network or name that may be connected to",
            got=f"{show(text, 80)} ({error})", fix="write such as 10.0.0.0/8 or host.example:443",
        ) from error  # fmt: skip


def _networks(host: str, names: Resolve) -> tuple[str, ...]:
    if host == "*":
        return _EVERYWHERE
    if "/" in host or ":" in host or host.replace(".", "").isdigit():
        return (str(ip_network(host, strict=False)),)
    return tuple(str(ip_network(each.partition("%")[0])) for each in names(host))


@dataclass
class Sensor:
    """Watches one process and all that it starts.

    Attributes:
        pid: the process.
        policy: where it may connect to.
        orphans: also count connections of its network that no process holds any more; of use where
            the network is the process's own, as in a container.
        proc: where the kernel's files are.
        rounds: looks so far.
        seen: every connection that was seen.
    """

    pid: int
    policy: Policy = Policy()
    orphans: bool = False
    proc: Path = PROC
    rounds: int = 0
    seen: dict[tuple[object, ...], Connection] = field(default_factory=dict)
    _family: frozenset[Process] = frozenset()

    def __post_init__(self) -> None:
        if not (self.proc / "self" / "net").is_dir():
            raise NotApplicable("connections are read from /proc, which only Linux has")
        first = procfs.process(self.pid, self.proc)
        if first is None:
            raise InputError("a running process", got=self.pid, fix="give the number of one")
        self._family = frozenset([first])

    def poll(self) -> tuple[Connection, ...] | None:
        """Look once: connections that were not seen before, or None when no process is left.

        Raises:
            InputError: a process of another user.
        """
        self._family = procfs.descendants(self._family, self.proc)
        if not self._family:
            return None
        self.rounds += 1
        tables: dict[str, tuple[Socket, ...]] = {}
        owners: dict[str, dict[int, int]] = {}
        for pid in sorted(each.pid for each in self._family):
            place = procfs.namespace(pid, self.proc)
            if place not in tables:
                tables[place] = tuple(procfs.sockets(pid, self.proc))
            inodes = procfs.held(pid, self.proc)
            owners.setdefault(place, {}).update(dict.fromkeys(inodes, pid))
        found = [c for place, t in tables.items() for c in self._outbound(t, owners[place])]
        return tuple(self._fresh(found))

    def _fresh(self, found: Iterable[Connection]) -> Iterator[Connection]:
        """Write down what was found; what is new."""
        for key, one in {(c.pid, c.protocol, c.remote, c.port): c for c in found}.items():
            before = self.seen.get(key)
            self.seen[key] = replace(before, rounds=before.rounds + 1) if before else one
            if before is None:
                yield one

    def _outbound(
        self, table: tuple[Socket, ...], owners: Mapping[int, int]
    ) -> Iterator[Connection]:
        """Sockets of the family, or of nobody, that did not come in."""
        served = {s.local_port for s in table if _tcp(s) and s.state == LISTENING}
        for each in table:
            nobody = self.orphans and not each.inode
            if not (nobody or each.inode in owners) or (_tcp(each) and each.local_port in served):
                continue
            if each.remote.is_unspecified and (nobody or _tcp(each)):
                continue  # made but not used yet
            pid = owners.get(each.inode, 0)
            name = procfs.program(pid, self.proc) if pid else "nobody"
            if each.remote.is_unspecified:
                judged = self.policy.judge_unseen(each.local)
                yield Connection(pid, name, each.protocol, "", 0, *judged)
            else:
                judged = self.policy.judge(each.remote, each.port)
                yield Connection(pid, name, each.protocol, str(each.remote), each.port, *judged)


def _tcp(one: Socket) -> bool:
    return one.protocol.startswith("tcp")
