"""What was seen of a running process, as JSON: its connections, and its files and weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import InputError
from holdfast.supply.egress import Allowed, Connection, Policy
from holdfast.supply.pickle_values import show

FORMAT = "holdfast-watch/1"
ENDING = ".watch.json"
_LARGEST = 2**26


@dataclass(frozen=True)
class Event:
    """A file or tensor that changed while it was watched."""

    name: str
    kind: str
    detail: str


@dataclass(frozen=True)
class Log:
    """One watch.

    Attributes:
        pid: the process.
        program: its name.
        started: ISO 8601, UTC.
        seconds: how long it was watched.
        period: seconds between two looks.
        rounds: looks.
        policy: where it could connect to.
        connections: everything that was seen, allowed or not.
        events: changed files and tensors.
    """

    pid: int
    program: str
    started: str
    seconds: float
    period: float
    rounds: int
    policy: Policy
    connections: tuple[Connection, ...]
    events: tuple[Event, ...] = ()

    @property
    def alarms(self) -> tuple[Connection, ...]:
        """Connections that the policy does not allow."""
        return tuple(each for each in self.connections if not each.allowed)

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=True) + "\n"


def load(path: Path) -> Log:
    """Read a log.

    Raises:
        InputError: it is none.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        return _read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        got = show(f"{path.name}: {type(error).__name__} {error}", 200)
        raise InputError("a log of `watch`", got=got, fix="record it again") from error


def _read(node: Mapping[str, Any]) -> Log:
    if node["format"] != FORMAT:
        raise ValueError(f"format {node['format']!r}")
    allowed = tuple(
        Allowed(str(a["text"]), tuple(map(str, a["networks"])), int(a["port"]))
        for a in node["policy"]["allowed"]
    )
    policy = Policy(allowed, node["policy"]["loopback"])
    connections = tuple(_connection(each) for each in node["connections"])
    events = tuple(Event(*(str(e[k]) for k in ("name", "kind", "detail"))) for e in node["events"])
    seconds, period = float(node["seconds"]), float(node["period"])
    return Log(
        int(node["pid"]), str(node["program"]), str(node["started"]), seconds, period,
        int(node["rounds"]), policy, connections, events,
    )  # fmt: skip


def _connection(node: Mapping[str, Any]) -> Connection:
    return Connection(
        int(node["pid"]), str(node["program"]), str(node["protocol"]), str(node["remote"]),
        int(node["port"]), node["allowed"] is True, str(node["reason"]), int(node["rounds"]),
    )  # fmt: skip
