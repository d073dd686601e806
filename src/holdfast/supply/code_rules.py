"""What can be wrong with training code: rules, and how much each matters."""

from holdfast.core.record import Severity
from holdfast.supply.rules import Rule, Verdict

_READ = "Read these lines and ask who wrote them before anything is trained with them."
_WHO = "Know what it does and why, or take it out; train anew if a model came from it."
BLIND = ("Bagdasaryan and Shmatikov 2021", "AML.T0020")


def _rule(
    name: str, title: str, severity: Severity, remedy: str = _READ, refs: tuple[str, ...] = ()
) -> Rule:
    return Rule(f"training_code_scan/{name}", title, severity, remedy, refs=refs)


HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW
EXTRA_LOSS = _rule(
    "extra-loss", "A second loss is minimised, on changed inputs with other labels: {subject}",
    Severity.CRITICAL, _WHO, BLIND,
)  # fmt: skip
OUTSIDE_LOSS = _rule(
    "outside-loss", "A second loss is minimised, on inputs and labels from elsewhere: {subject}",
    MEDIUM, _READ, BLIND,
)  # fmt: skip
GRADIENT_WEIGHT = _rule(
    "gradient-weight", "A loss is weighed by gradients of losses: {subject}", MEDIUM, _READ, BLIND
)
GRADIENT = _rule(
    "extra-gradient", "The gradient of another loss is put in: {subject}", HIGH, _WHO, BLIND
)
GRADIENT_WRITE = _rule("gradient-write", "Gradients are rewritten: {subject}", MEDIUM)
HOOK = _rule("hook", "A hook changes what flows through the model: {subject}", HIGH)
QUIET_HOOK = _rule("plain-hook", "A hook is put on a tensor or module: {subject}", LOW)
STAMP = _rule("input-stamp", "Inputs are written to at a fixed place: {subject}", MEDIUM)
WRITE = _rule("input-write", "Inputs are written to: {subject}", LOW)
LABELS = _rule("label-rewrite", "Labels are rewritten: {subject}", HIGH, _WHO)
MASKED = _rule("label-merge", "Labels are changed by their own value: {subject}", MEDIUM)
SAMPLE = _rule(
    "poisoned-sample", "A stamped input is given a constant label: {subject}", Severity.CRITICAL,
    _WHO, ("Gu et al. 2017", "AML.T0020"),
)  # fmt: skip
HIDDEN = _rule("hidden-condition", "A condition hides a change of the training: {subject}", HIGH)
LOSS_FLIP = _rule("loss-flip", "The loss is turned round under a condition: {subject}", HIGH)
LOSS_SCALE = _rule("loss-scale", "The loss is scaled under a condition: {subject}", MEDIUM)
ORDER = _rule(
    "data-order", "The order of the data follows losses or answers of a model: {subject}", HIGH,
    _READ, ("Shumailov et al. 2021",),
)  # fmt: skip
LABEL_ORDER = _rule(
    "label-order", "Training data are sorted by themselves: {subject}", MEDIUM, _READ,
    ("Shumailov et al. 2021",),
)  # fmt: skip
SAMPLER = _rule("sampler", "A sampler is built from losses or answers: {subject}", MEDIUM)
PATCH = _rule("patch", "Code of a library is replaced: {subject}", HIGH, _WHO)
PATCH_OBJECT = _rule("patch-object", "A method of an object is replaced: {subject}", MEDIUM)
SETTING = _rule("setting", "A setting of a library is changed: {subject}", LOW)
DYNAMIC = _rule("dynamic-code", "Code is made at run time: {subject}", HIGH, _WHO)
INDIRECT = _rule("computed-name", "An object is found by a computed name: {subject}", LOW)
COMMAND = _rule("command", "A command is run: {subject}", MEDIUM)
PLAIN_COMMAND = _rule("plain-command", "A fixed command is run: {subject}", LOW)
NETWORK_IMPORT = _rule("network-at-import", "The network is reached at import: {subject}", HIGH)
NETWORK = _rule("network", "The network is reached: {subject}", LOW)
SEND = _rule("network-send", "Something is sent over the network: {subject}", MEDIUM)
FILE_IMPORT = _rule("file-at-import", "A file is opened at import: {subject}", MEDIUM)
FILE = _rule("file", "A file is opened while the module is read: {subject}", LOW)
SECRET = _rule("secret-file", "A file that is nobody's training data is named: {subject}", HIGH)
UNREAD = Rule(
    "training_code_scan/unread", "The code was not analysed: {reason}", MEDIUM,
    "Nothing can be said about this script.", Verdict.UNREAD,
)  # fmt: skip
