"""Logs of `holdfast watch`: where a serving process connected to (proc_net_tcp of the kernel)."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from holdfast.core.errors import InputError, NotApplicable
from holdfast.core.kinds import Scanner
from holdfast.core.method import hyper, method
from holdfast.core.record import Finding, Severity
from holdfast.supply import watchlog
from holdfast.supply.egress import Policy, allow
from holdfast.supply.pickle_values import show
from holdfast.supply.procfs import Address
from holdfast.supply.rules import Issue, Rule
from holdfast.supply.scanners.telling import told

OUTSIDE = Rule(
    "egress_monitor/connection", "The process connected to {subject}", Severity.HIGH,
    "Find out what it sent there, and stop it at the firewall; or put the place on the list.",
    refs=("AML.T0072", "AML.T0025"),
)  # fmt: skip
UNSEEN = Rule(
    "egress_monitor/unseen", "{subject} may send anywhere", Severity.MEDIUM,
    "Find out what it is for; a firewall sees its packets.", refs=("AML.T0025",),
)  # fmt: skip
CHANGED = Rule(
    "egress_monitor/changed", "{subject} changed while the model was served", Severity.CRITICAL,
    "Stop serving, and load it again from a file that was verified.", refs=("AML.T0018",),
)  # fmt: skip


@method(cites="linuxproc", where="networking/proc_net_tcp; what is judged is ours")
@dataclass(frozen=True)
class EgressMonitor(Scanner):
    """Outbound connections and changes at run time.

    Judges what `holdfast watch` wrote down: each connection of the process and its children that
    no entry of the allow list has, each socket whose targets cannot be seen, and each file or
    tensor that changed. The log is the file itself, or lies beside it as `<file>.watch.json`.
    """

    allow: str = hyper("", "ours: the list in the log; else entries with commas between them")

    def scan(self, path: Path) -> Iterator[Finding]:
        own = path.name.endswith(watchlog.ENDING)
        log_path = path if own else path.with_name(path.name + watchlog.ENDING)
        if not log_path.is_file():
            raise NotApplicable(f"needs {log_path.name}, recorded by `holdfast watch`")
        log = watchlog.load(log_path)
        policy, file = log.policy, show(log_path.name, 200)
        if self.allow:
            policy = Policy(tuple(map(allow, self.allow.split(","))), policy.loopback)
        for each in log.connections:
            if not each.remote:
                judged = (each.allowed or any(a.anything for a in policy.allowed), each.reason)
            else:
                judged = policy.judge(_address(each.remote), each.port)
            if not judged[0]:
                rule = OUTSIDE if each.remote else UNSEEN
                place = f"{each.remote} port {each.port}" if each.remote else each.protocol
                subject = show(place if each.remote else f"A socket ({place})", 80)
                reason = f"{show(each.program, 40)} ({each.pid}): {judged[1]}"
                yield Issue(rule, file, "", 0, reason, subject).finding()
        for event in log.events:
            reason = f"{show(event.kind, 20)}: {show(event.detail, 200)}"
            yield Issue(CHANGED, file, "", 0, reason, show(event.name, 100)).finding()
        title = f"{len(log.connections)} connections in {log.rounds} looks over {log.seconds:.0f} s"
        yield told("egress_monitor/read", title, file, max(1, log.rounds), log_path.stat().st_size)


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        fix = "record it again"
        raise InputError("a log of `watch`", got=show(text, 60), fix=fix) from error
